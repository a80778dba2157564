//! Memory of large results, reused: otherwise the system would clear the pages of fresh gradients at every training
//! step.

use crate::mapping::{HUGE_PAGE, Mapping};
use std::sync::Mutex;

/// Most bytes that are kept for reuse.
pub const MOST: usize = 256 << 20;

static KEPT: Mutex<FreeList> = Mutex::new(FreeList { mappings: Vec::new(), most: MOST });

/// Free mappings, the latest last. The system may reclaim their pages at any time.
struct FreeList {
    mappings: Vec<Mapping>,
    most: usize,
}

impl FreeList {
    /// The latest mapping of a size.
    fn take(&mut self, size: usize) -> Option<Mapping> {
        let at = self.mappings.iter().rposition(|mapping| mapping.size() == size)?;
        Some(self.mappings.remove(at))
    }

    /// Keeps a mapping, and unmaps the oldest ones beyond the bound.
    fn keep(&mut self, mut mapping: Mapping) {
        mapping.release();
        self.mappings.push(mapping);
        let mut bytes: usize = self.mappings.iter().map(Mapping::size).sum();
        let mut surplus = 0;
        while bytes > self.most {
            bytes -= self.mappings[surplus].size();
            surplus += 1;
        }
        self.mappings.drain(..surplus);
    }
}

/// A fresh mapping; if memory is short, the kept ones are unmapped first.
pub(crate) fn fresh(size: usize) -> Option<Mapping> {
    Mapping::new(size).or_else(|| {
        // The caller may hold the lock itself.
        let mut kept = KEPT.try_lock().ok()?;
        if kept.mappings.is_empty() {
            return None;
        }
        kept.mappings.clear();
        Mapping::new(size)
    })
}

/// Memory for an array that the caller will fill; until then its bytes are arbitrary.
#[derive(Debug)]
pub struct Block(Option<Mapping>);

impl Block {
    /// `None` where the system's allocator does as well, or where there is no memory.
    pub fn new(size: usize) -> Option<Self> {
        if size < HUGE_PAGE {
            return None;
        }
        // Never waits: this process may have been forked while another thread held the lock.
        let kept = KEPT.try_lock().ok().and_then(|mut kept| kept.take(size));
        kept.or_else(|| fresh(size)).map(|mapping| Self(Some(mapping)))
    }

    /// Its first byte, at a huge page boundary.
    pub fn start(&self) -> *mut u8 {
        self.0.as_ref().map_or(std::ptr::null_mut(), Mapping::start)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let (Some(mapping), Ok(mut kept)) = (self.0.take(), KEPT.try_lock()) {
            kept.keep(mapping);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_a_size_is_reused() {
        let mut kept = FreeList { mappings: Vec::new(), most: 8 * HUGE_PAGE };
        let starts = [1, 1, 2].map(|pages| {
            let mapping = Mapping::new(pages * HUGE_PAGE).unwrap();
            let start = mapping.start().addr();
            kept.keep(mapping);
            start
        });
        assert!(kept.take(3 * HUGE_PAGE).is_none());
        let taken = [kept.take(HUGE_PAGE).unwrap(), kept.take(HUGE_PAGE).unwrap()];
        assert_eq!(taken.each_ref().map(|mapping| mapping.start().addr()), [starts[1], starts[0]]);
        assert!(kept.take(HUGE_PAGE).is_none());
    }

    #[test]
    fn the_oldest_beyond_the_bound_are_unmapped() {
        let mut kept = FreeList { mappings: Vec::new(), most: 4 * HUGE_PAGE };
        for pages in [2, 1, 1, 2] {
            kept.keep(Mapping::new(pages * HUGE_PAGE).unwrap());
        }
        let sizes: Vec<_> = kept.mappings.iter().map(|mapping| mapping.size() / HUGE_PAGE).collect();
        assert_eq!(sizes, [1, 1, 2]);
        kept.keep(Mapping::new(5 * HUGE_PAGE).unwrap());
        assert!(kept.mappings.is_empty());
    }

    #[test]
    fn blocks_are_of_whole_huge_pages_and_more() {
        assert!(Block::new(HUGE_PAGE - 1).is_none());
        assert!(Block::new(1 << 60).is_none());
        let size = 3 * HUGE_PAGE + 12_345;
        let first = Block::new(size).unwrap();
        let start = first.start().addr();
        assert_eq!(start % HUGE_PAGE, 0);
        let second = Block::new(size).unwrap();
        assert_ne!(second.start().addr(), start);
        drop(first);
        assert_eq!(Block::new(size).unwrap().start().addr(), start);
    }
}
