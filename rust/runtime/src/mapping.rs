//! A large block that begins at a huge page: a page fault for every 4 KiB of a fresh array costs more than most kernels
//! that fill it, and a huge page takes one fault for an aligned 2 MiB.
//!
//! Linux only; elsewhere there are no such blocks. `docs/decisions/0008-who-owns-memory.md` has the measurements.

#[cfg(target_os = "linux")]
pub(crate) use linux::Mapping;
#[cfg(not(target_os = "linux"))]
pub(crate) use missing::Nothing as Mapping;

/// Bytes of a huge page.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

#[cfg(target_os = "linux")]
mod linux {
    use super::HUGE_PAGE;
    use memmap2::{Advice, MmapMut, MmapRaw, UncheckedAdvice};

    /// Memory from the system, with one owner.
    #[derive(Debug)]
    pub(crate) struct Mapping {
        pages: MmapRaw,
        before: usize,
        size: usize,
    }

    impl Mapping {
        /// Zeros, from a huge page boundary on; `None` where there is no memory.
        ///
        /// At least a page lies before the block and belongs to the same owner. Pages that are never touched cost no
        /// memory.
        pub(crate) fn new(size: usize) -> Option<Self> {
            let pages = MmapRaw::from(MmapMut::map_anon(size.checked_add(2 * HUGE_PAGE)?).ok()?);
            let before = HUGE_PAGE - pages.as_ptr().addr() % HUGE_PAGE;
            // Fails on a kernel without huge pages, which does no harm.
            let _ = pages.advise_range(Advice::NoHugePage, 0, before);
            let _ = pages.advise_range(Advice::HugePage, before, in_huge_pages(size));
            Some(Self { pages, before, size })
        }

        pub(crate) fn start(&self) -> *mut u8 {
            self.pages.as_mut_ptr().wrapping_add(self.before)
        }

        pub(crate) fn size(&self) -> usize {
            self.size
        }

        /// Lets the system reclaim the pages when it needs them: the bytes stay as they are or become zeros.
        pub(crate) fn release(&mut self) {
            // SAFETY: nothing else uses the bytes, as this is their only owner. A failure leaves them as they are.
            let _ = unsafe { self.pages.unchecked_advise_range(UncheckedAdvice::Free, self.before, self.size) };
        }
    }

    /// Bytes of a block to be served by huge pages: the last page counts if more than half of it is needed.
    fn in_huge_pages(size: usize) -> usize {
        (size + HUGE_PAGE / 2 - 1) / HUGE_PAGE * HUGE_PAGE
    }
}

#[cfg(not(target_os = "linux"))]
mod missing {
    /// The mapping of a system without any: there are no values of it.
    #[derive(Debug)]
    pub(crate) enum Nothing {}

    impl Nothing {
        pub(crate) fn new(_: usize) -> Option<Self> {
            None
        }

        pub(crate) fn start(&self) -> *mut u8 {
            match *self {}
        }

        pub(crate) fn size(&self) -> usize {
            match *self {}
        }

        pub(crate) fn release(&mut self) {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_block_begins_at_a_huge_page_and_is_zeros() {
        for size in [1, 4096, HUGE_PAGE, HUGE_PAGE + 1, 5 * HUGE_PAGE - 1, 7_654_321] {
            let block = Mapping::new(size).unwrap();
            assert_eq!(block.start().addr() % HUGE_PAGE, 0);
            assert_eq!(block.size(), size);
            // SAFETY: the block has that many bytes, and a page before it, and nothing else uses them.
            let (before, bytes) = unsafe {
                let before = std::slice::from_raw_parts_mut(block.start().sub(4096), 4096);
                (before, std::slice::from_raw_parts_mut(block.start(), size))
            };
            assert!(before.iter().chain(bytes.iter()).all(|&byte| byte == 0));
            before.fill(1);
            bytes.fill(1);
        }
    }

    #[test]
    fn sizes_beyond_the_address_space_are_refused() {
        for size in [usize::MAX, usize::MAX - HUGE_PAGE, 1 << 60] {
            assert!(Mapping::new(size).is_none());
        }
    }

    #[test]
    fn released_bytes_are_as_they_were_or_zeros() {
        let mut block = Mapping::new(HUGE_PAGE).unwrap();
        // SAFETY: within the block, which nothing else uses.
        unsafe { block.start().write(7) };
        block.release();
        // SAFETY: as above.
        let byte = unsafe { block.start().read() };
        assert!([0, 7].contains(&byte));
    }
}
