//! The global allocator: the system's, except that large blocks are mapped separately.

use crate::kept::fresh;
use crate::mapping::{HUGE_PAGE, Mapping};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;

/// The system's allocator; large blocks begin at a huge page where the system has them.
#[derive(Clone, Copy, Debug)]
pub struct HugePages;

/// Whether a block is mapped separately.
fn large(layout: Layout) -> bool {
    cfg!(target_os = "linux") && layout.size() >= 2 * HUGE_PAGE && layout.align() <= HUGE_PAGE
}

/// A block whose mapping lies right before it.
#[allow(clippy::cast_ptr_alignment, reason = "a block is aligned to a huge page")]
fn mapped(size: usize) -> *mut u8 {
    fresh(size).map_or(null_mut(), |mapping| {
        let block = mapping.start();
        // SAFETY: at least a page before the block belongs to the mapping, and the block is aligned to a huge page.
        unsafe { block.cast::<Mapping>().sub(1).write(mapping) };
        block
    })
}

/// # Safety
/// `block` came from [`mapped`] and is not used again.
#[allow(clippy::cast_ptr_alignment, reason = "a block is aligned to a huge page")]
unsafe fn unmap(block: *mut u8) {
    // SAFETY: [`mapped`] wrote it there, and it is read once.
    drop(unsafe { block.cast::<Mapping>().sub(1).read() });
}

// SAFETY: large blocks are mapped and unmapped here, by their size; every other call is passed to the system's
// allocator unchanged.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if large(layout) {
            return mapped(layout.size());
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if large(layout) {
            return mapped(layout.size());
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !large(layout) && !large(new) {
            // SAFETY: the caller's promise.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the caller's promise; the blocks do not overlap and hold what is copied.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                to.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            to
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if large(layout) {
            // SAFETY: the caller's promise; large blocks are mapped.
            return unsafe { unmap(block) };
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}
