//! A process whose allocator is ours, as that of the extension.

use fractal_runtime::allocator::HugePages;

#[global_allocator]
static ALLOCATOR: HugePages = HugePages;

const HUGE_PAGE: usize = 2 << 20;

#[cfg(target_os = "linux")]
#[test]
fn large_blocks_begin_at_a_huge_page() {
    for size in [2 * HUGE_PAGE, 2 * HUGE_PAGE + 1, 9 * HUGE_PAGE + 5] {
        for block in [vec![0_u8; size], vec![1_u8; size], Vec::with_capacity(size)] {
            assert_eq!(block.as_ptr().addr() % HUGE_PAGE, 0);
        }
    }
}

#[test]
fn blocks_keep_their_bytes_as_they_grow_and_shrink() {
    let mut list: Vec<u64> = Vec::new();
    for i in 0..2_000_000 {
        list.push(i);
    }
    for n in [1_500_000, 600_000, 500_000, 10] {
        list.truncate(n);
        list.shrink_to_fit();
        assert!(list.iter().copied().eq(0..n as u64));
    }
    list.resize(1_000_000, 7);
    assert!(list[..10].iter().copied().eq(0..10));
    assert!(list[10..].iter().all(|&entry| entry == 7));
}

#[test]
fn fresh_blocks_are_zeros_whatever_was_there() {
    for _ in 0..3 {
        let mut list = vec![0_u32; 3 * HUGE_PAGE / 4];
        assert!(list.iter().all(|&entry| entry == 0));
        list.fill(u32::MAX);
    }
}

#[test]
fn what_there_is_no_memory_for_is_refused() {
    assert!(Vec::<u8>::new().try_reserve_exact(1 << 60).is_err());
}
