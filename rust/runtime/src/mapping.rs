//! A large block that begins at a huge page: a page fault for every 4 KiB of a fresh array costs more than most kernels
//! that fill it, and a huge page takes one fault for an aligned 2 MiB.
//!
//! Linux only; elsewhere there are no such blocks. `docs/decisions/0008-who-owns-memory.md` has the measurements.

use std::ptr::NonNull;

/// Bytes of a huge page.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Memory from the system, with one owner.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: plain memory, reached by raw pointer only; the array built on it answers for the accesses.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeros, from a huge page boundary on; `None` where there is no memory.
    pub(crate) fn new(size: usize) -> Option<Self> {
        system::map(size).map(|start| Self { start, size })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Lets the system reclaim the pages when it needs them: the bytes stay as they are or become zeros.
    pub(crate) fn release(&mut self) {
        // SAFETY: the mapping is live, and nothing else uses its bytes, as this is their only owner.
        unsafe { system::release(self.start, self.size) };
    }

    /// Gives up the ownership of the memory.
    pub(crate) fn into_start(self) -> *mut u8 {
        std::mem::ManuallyDrop::new(self).start()
    }

    /// # Safety
    /// `start` came from [`Mapping::into_start`] of a mapping of this size, and has had no owner since.
    pub(crate) unsafe fn from_start(start: NonNull<u8>, size: usize) -> Self {
        Self { start, size }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this size, and owned by nothing else.
        unsafe { system::unmap(self.start, self.size) };
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::HUGE_PAGE;
    use std::ptr::{NonNull, null_mut};

    pub(super) fn map(size: usize) -> Option<NonNull<u8>> {
        let whole = size.checked_add(2 * HUGE_PAGE)?;
        // SAFETY: a fresh private mapping; only its parts before and after the block are unmapped.
        unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let first = libc::mmap(null_mut(), whole, access, kind, -1, 0);
            if first == libc::MAP_FAILED {
                return None;
            }
            let first: *mut u8 = first.cast();
            let before = first.align_offset(HUGE_PAGE);
            let block = first.add(before);
            if before > 0 {
                libc::munmap(first.cast(), before);
            }
            let size = rounded(size);
            if before + size < whole {
                libc::munmap(block.add(size).cast(), whole - before - size);
            }
            // Fails on a kernel without huge pages, which does no harm.
            libc::madvise(block.cast(), size & !(HUGE_PAGE - 1), libc::MADV_HUGEPAGE);
            NonNull::new(block)
        }
    }

    /// A size rounded up to whole pages: to a huge page if more than half of the last one is needed.
    pub(super) fn rounded(size: usize) -> usize {
        // SAFETY: reads a constant of the system.
        let small = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        size.next_multiple_of(if size % HUGE_PAGE > HUGE_PAGE / 2 { HUGE_PAGE } else { small })
    }

    /// # Safety
    /// `start` came from [`map`] with this size and is used no more.
    pub(super) unsafe fn unmap(start: NonNull<u8>, size: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(start.as_ptr().cast(), rounded(size)) };
    }

    /// # Safety
    /// `start` came from [`map`] with this size, and its bytes may become zeros.
    pub(super) unsafe fn release(start: NonNull<u8>, size: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::madvise(start.as_ptr().cast(), rounded(size), libc::MADV_FREE) };
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::ptr::NonNull;

    pub(super) fn map(_: usize) -> Option<NonNull<u8>> {
        None
    }

    /// # Safety
    /// Never called, as there is no mapping.
    pub(super) unsafe fn unmap(_: NonNull<u8>, _: usize) {}

    /// # Safety
    /// Never called, as there is no mapping.
    pub(super) unsafe fn release(_: NonNull<u8>, _: usize) {}
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
            // SAFETY: the block has that many bytes, and nothing else uses it.
            let bytes = unsafe { std::slice::from_raw_parts_mut(block.start(), size) };
            assert!(bytes.iter().all(|&byte| byte == 0));
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
