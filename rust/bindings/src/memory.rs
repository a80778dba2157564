//! Memory of large arrays in huge pages, as NumPy asks for its own: a fault for each 4 KiB of a fresh array costs more than
//! most kernels spend on them.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, with advice to the kernel on large blocks.
pub(crate) struct HugePages;

/// Blocks from this size on, as in NumPy.
#[cfg(target_os = "linux")]
const LARGE: usize = 1 << 22;

/// Advises huge pages for the whole pages of a fresh block; a kernel that does not know them says no, which is fine.
#[cfg(target_os = "linux")]
pub(crate) fn advise(block: *mut u8, size: usize) {
    const PAGE: usize = 4096;
    if block.is_null() || size < LARGE {
        return;
    }
    let skip = block.align_offset(PAGE);
    // SAFETY: the range lies within the block, and the advice changes no byte of it.
    unsafe {
        libc::madvise(block.add(skip).cast(), (size - skip) & !(PAGE - 1), libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn advise(_block: *mut u8, _size: usize) {}

// SAFETY: every call goes to the system's allocator as it came; advice on a block changes nothing about it.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc(layout) };
        advise(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc_zeroed(layout) };
        advise(block, layout.size());
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.realloc(block, layout, size) };
        advise(block, size);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}
