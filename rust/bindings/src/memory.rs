//! Large blocks in huge pages: a fault for each 4 KiB of a fresh array costs more than most kernels spend on it.
//!
//! A huge page serves an aligned 2 MiB alone, so a block has to begin at one: half of a 4 MiB block that begins anywhere
//! is faulted in by 4 KiB.

use huge::{large, map, unmap};
use numpy::PyArray1;
use numpy::ndarray::ArrayView1;
use pyo3::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;

/// The system's allocator; large blocks are mapped by themselves.
pub(crate) struct HugePages;

// SAFETY: large blocks are mapped and unmapped here, by their size; every other call goes to the system's allocator as
// it came.
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
        // SAFETY: the caller's promise; the blocks are apart and hold what is copied.
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
        // SAFETY: the caller's promise; a large block was mapped with this size.
        unsafe {
            if large(layout) {
                unmap(block, layout.size());
            } else {
                System.dealloc(block, layout);
            }
        }
    }
}

/// A large block that is not the allocator's.
struct Mapping {
    memory: *mut u8,
    size: usize,
}

// SAFETY: it is one piece of memory; who reads and writes it is the business of the array over it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this size, and nobody else has it.
        unsafe { unmap(self.memory, self.size) };
    }
}

/// Mappings that nobody uses, the latest last: a loop that drops its gradients would have the system clear their pages
/// again at every step. The system may take their pages back at any time.
static KEPT: Mutex<Vec<Mapping>> = Mutex::new(Vec::new());

/// Bytes that are kept.
const KEPT_BYTES: usize = 256 << 20;

/// [`map`], with the memory of the mappings that nobody uses if there is no other.
fn mapped(size: usize) -> *mut u8 {
    let memory = map(size);
    if !memory.is_null() {
        return memory;
    }
    // Whoever holds the lock may be the one that asks.
    let Ok(mut kept) = KEPT.try_lock() else { return memory };
    if kept.is_empty() {
        return memory;
    }
    kept.clear();
    map(size)
}

/// Memory of an array that something else will fill.
#[pyclass(frozen)]
struct Block(Option<Mapping>);

impl Block {
    /// `None` where the system's own allocation is as good, or where there is no memory.
    fn new(size: usize) -> Option<Self> {
        if !huge::worth(size) {
            return None;
        }
        // Nobody waits here: a child process may have been forked off a thread that held the lock.
        if let Ok(mut kept) = KEPT.try_lock()
            && let Some(at) = kept.iter().rposition(|mapping| mapping.size == size)
        {
            return Some(Self(Some(kept.remove(at))));
        }
        let memory = mapped(size);
        if memory.is_null() { None } else { Some(Self(Some(Mapping { memory, size }))) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(mapping) = self.0.take() else { return };
        let Ok(mut kept) = KEPT.try_lock() else { return };
        huge::release(&mapping);
        kept.push(mapping);
        let mut bytes: usize = kept.iter().map(|mapping| mapping.size).sum();
        let mut surplus = 0;
        while bytes > KEPT_BYTES {
            bytes -= kept[surplus].size;
            surplus += 1;
        }
        kept.drain(..surplus);
    }
}

/// `size` bytes with no values in particular, in huge pages; None where the system's own allocation is as good.
#[pyfunction]
pub(crate) fn huge_block(py: Python<'_>, size: usize) -> PyResult<Option<Bound<'_, PyArray1<u8>>>> {
    let Some(block) = Block::new(size) else { return Ok(None) };
    let Some(memory) = block.0.as_ref().map(|mapping| mapping.memory) else { return Ok(None) };
    let owner = Bound::new(py, block)?;
    // SAFETY: the block has that many bytes and lives as long as its owner, which the array holds.
    unsafe {
        let bytes = ArrayView1::from_shape_ptr(size, memory.cast_const());
        Ok(Some(PyArray1::borrow_from_array(&bytes, owner.into_any())))
    }
}

#[cfg(target_os = "linux")]
mod huge {
    use std::alloc::Layout;
    use std::ptr::null_mut;

    const PAGE: usize = 2 << 20;

    /// Blocks that are mapped by themselves.
    pub(super) fn large(layout: Layout) -> bool {
        layout.size() >= 2 * PAGE && layout.align() <= PAGE
    }

    /// Zeros from a huge page's boundary on; null where there is no memory.
    pub(super) fn map(size: usize) -> *mut u8 {
        let Some(whole) = size.checked_add(2 * PAGE) else { return null_mut() };
        // SAFETY: a fresh private mapping; what is unmapped of it is before and behind the block.
        unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let first = libc::mmap(null_mut(), whole, access, kind, -1, 0);
            if first == libc::MAP_FAILED {
                return null_mut();
            }
            let first: *mut u8 = first.cast();
            let before = first.align_offset(PAGE);
            let block = first.add(before);
            if before > 0 {
                libc::munmap(first.cast(), before);
            }
            let size = rounded(size);
            if before + size < whole {
                libc::munmap(block.add(size).cast(), whole - before - size);
            }
            advise(block, size);
            block
        }
    }

    /// Ends with a whole page: a huge one if more than half of it is needed.
    fn rounded(size: usize) -> usize {
        // SAFETY: asks for a constant of the system.
        let small = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        size.next_multiple_of(if size % PAGE > PAGE / 2 { PAGE } else { small })
    }

    /// # Safety
    /// `block` came from [`map`] with this size and is used no more.
    pub(super) unsafe fn unmap(block: *mut u8, size: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(block.cast(), rounded(size)) };
    }

    /// So large that faulting it in is worth avoiding.
    pub(super) fn worth(size: usize) -> bool {
        size >= PAGE
    }

    /// Lets the system take the pages back when it needs them.
    pub(super) fn release(mapping: &super::Mapping) {
        // SAFETY: the whole mapping, which nobody uses; its bytes may become zeros.
        unsafe { libc::madvise(mapping.memory.cast(), rounded(mapping.size), libc::MADV_FREE) };
    }

    /// Asks for huge pages; a kernel that has none says no, which is fine.
    fn advise(block: *mut u8, size: usize) {
        // SAFETY: whole pages that belong to the block, as far as they are whole; the advice changes no byte.
        unsafe { libc::madvise(block.cast(), size & !(PAGE - 1), libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
mod huge {
    use std::alloc::Layout;
    use std::ptr::null_mut;

    pub(super) fn large(_: Layout) -> bool {
        false
    }

    pub(super) fn map(_: usize) -> *mut u8 {
        null_mut()
    }

    /// # Safety
    /// Never called, as no block is large.
    pub(super) unsafe fn unmap(_: *mut u8, _: usize) {}

    pub(super) fn worth(_: usize) -> bool {
        false
    }

    pub(super) fn release(_: &super::Mapping) {}
}
