//! A large block that begins at a huge page: a fault for each 4 KiB of a fresh array costs more than most kernels spend
//! on it, and a huge page serves an aligned 2 MiB alone.
//!
//! Linux alone; elsewhere there is no such block. `docs/decisions/0008-who-owns-memory.md` has the measurements.

use std::ptr::NonNull;

/// Bytes of a huge page.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Memory from the system, all of it its owner's.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: it is one piece of memory; who reads and writes it is the business of the array over it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeros from a huge page's boundary on; None where there is no memory.
    pub(crate) fn new(size: usize) -> Option<Self> {
        system::map(size).map(|start| Self { start, size })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Lets the system take the pages back when it needs them: the bytes stay as they are or become zeros.
    pub(crate) fn release(&mut self) {
        // SAFETY: the mapping is whole, and nobody uses its bytes, as they are this owner's alone.
        unsafe { system::release(self.start, self.size) };
    }

    /// The memory without its owner.
    pub(crate) fn into_start(self) -> *mut u8 {
        std::mem::ManuallyDrop::new(self).start()
    }

    /// # Safety
    /// `start` came from [`Mapping::into_start`] of a mapping of this size, and has no owner since.
    pub(crate) unsafe fn from_start(start: NonNull<u8>, size: usize) -> Self {
        Self { start, size }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this size, and nobody else has it.
        unsafe { system::unmap(self.start, self.size) };
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::HUGE_PAGE;
    use std::ptr::{NonNull, null_mut};

    pub(super) fn map(size: usize) -> Option<NonNull<u8>> {
        let whole = size.checked_add(2 * HUGE_PAGE)?;
        // SAFETY: a fresh private mapping; what is unmapped of it is before and behind the block.
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
            // A kernel that has no huge pages says no, which is fine.
            libc::madvise(block.cast(), size & !(HUGE_PAGE - 1), libc::MADV_HUGEPAGE);
            NonNull::new(block)
        }
    }

    /// Ends with a whole page: a huge one if more than half of it is needed.
    pub(super) fn rounded(size: usize) -> usize {
        // SAFETY: asks for a constant of the system.
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
            // SAFETY: the block has that many bytes, and nobody else has it.
            let bytes = unsafe { std::slice::from_raw_parts_mut(block.start(), size) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(1);
        }
    }

    #[test]
    fn what_no_address_reaches_is_refused() {
        for size in [usize::MAX, usize::MAX - HUGE_PAGE, 1 << 60] {
            assert!(Mapping::new(size).is_none());
        }
    }

    #[test]
    fn released_bytes_are_as_they_were_or_zeros() {
        let mut block = Mapping::new(HUGE_PAGE).unwrap();
        // SAFETY: within the block, which nobody else has.
        unsafe { block.start().write(7) };
        block.release();
        // SAFETY: as above.
        let byte = unsafe { block.start().read() };
        assert!([0, 7].contains(&byte));
    }
}
