//! The keys that the lanes of a tile read: row keys, lane by lane, and the range of a block that each quad of lanes
//! uses.

use crate::memory::{self, OrLeave};
use crate::plan::{Plan, RowEdges, TILE, TileKeys, Transposed};
use std::ops::Range;

/// The row keys of a tile's lanes.
#[derive(Debug, Default)]
pub(crate) struct LaneKeys {
    /// Keys of all lanes, one lane after the other.
    keys: Vec<u32>,
    /// Where each lane's keys begin, and the end.
    ptr: Vec<usize>,
    /// Edge number of each key; empty unless asked for.
    edges: Vec<usize>,
    /// Whether the edge numbers of each lane are consecutive.
    consecutive: bool,
    longest: usize,
    buffer: Vec<u32>,
    /// The tile, or the first key, that was read last.
    last_read: Option<usize>,
}

impl LaneKeys {
    /// Reads a tile's row keys, with their edge numbers if `numbered`.
    pub(crate) fn fill(&mut self, plan: &Plan, tile: usize, numbered: bool) {
        let before = self.last_read.replace(tile);
        if before.is_some_and(|before| before + 1 == tile)
            && let Some(step) = plan.row_step(tile)
        {
            return self.advance(step);
        }
        self.clear();
        self.consecutive = true;
        for lane in 0..plan.lanes(tile) {
            let (keys, numbers) = plan.row_keys(tile, lane, &mut self.buffer);
            self.longest = self.longest.max(keys.len());
            memory::reserve("index_set", &mut self.keys, keys.len()).or_leave();
            self.keys.extend_from_slice(keys);
            self.ptr.push(self.keys.len());
            memory::reserve("index_set", &mut self.edges, if numbered { keys.len() } else { 0 }).or_leave();
            match numbers {
                _ if !numbered => {}
                RowEdges::From(first) => self.edges.extend(first..first + keys.len()),
                RowEdges::Slots(base, slots) => {
                    self.edges.extend(slots.iter().map(|&slot| base + slot as usize));
                    self.consecutive = false;
                }
            }
        }
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.ptr.clear();
        self.edges.clear();
        self.longest = 0;
        self.ptr.push(0);
    }

    /// Adds 16 to each key, and `step` to its edge number.
    fn advance(&mut self, step: usize) {
        self.keys.iter_mut().for_each(|key| *key += TILE as u32);
        self.edges.iter_mut().for_each(|edge| *edge += step);
    }

    /// Reads the queries of some keys' row edges, with the keys as lanes.
    pub(crate) fn fill_transposed(
        &mut self,
        transposed: &Transposed,
        keys: impl ExactSizeIterator<Item = usize> + Clone,
    ) {
        let (count, first) = (keys.len(), keys.clone().next());
        let before = std::mem::replace(&mut self.last_read, first);
        if let (Some(before), Some(first), TILE) = (before, first, count)
            && before + TILE == first
            && let Some(step) = transposed.step(first)
        {
            return self.advance(step);
        }
        self.clear();
        for key in keys {
            let before = self.keys.len();
            transposed.of_key(key, &mut self.keys, &mut self.edges);
            self.longest = self.longest.max(self.keys.len() - before);
            self.ptr.push(self.keys.len());
        }
    }

    /// Whether the edge numbers of each lane are consecutive.
    #[inline(always)]
    pub(crate) fn consecutive(&self) -> bool {
        self.consecutive
    }

    /// Number of lanes.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.ptr.len() - 1
    }

    /// Up to `N` keys of a lane from the given one on; `None` where there are none.
    #[inline(always)]
    pub(crate) fn part<const N: usize>(&self, lane: usize, at: usize) -> Option<&[u32]> {
        let (first, end) = (self.ptr[lane] + at, self.ptr[lane + 1]);
        (first < end).then(|| &self.keys[first..end.min(first + N)])
    }

    /// Edge numbers of `count` keys of a lane from the given one on; empty if they were not asked for.
    #[inline(always)]
    pub(crate) fn edges(&self, lane: usize, at: usize, count: usize) -> &[usize] {
        self.edges.get(self.ptr[lane] + at..self.ptr[lane] + at + count).unwrap_or(&[])
    }

    #[inline(always)]
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }
}

/// For each quad of lanes, the range of a block's keys that any of them uses.
#[inline(always)]
pub(crate) fn quad_ranges(block: &TileKeys) -> [Range<usize>; TILE / 4] {
    let mut ranges = [const { 0..0 }; TILE / 4];
    for (quad, range) in ranges.iter_mut().enumerate() {
        let used = |m: &u16| m >> (4 * quad) & 0xf != 0;
        range.start = block.masks.iter().position(used).unwrap_or(block.masks.len());
        range.end = block.masks.iter().rposition(used).map_or(range.start, |i| i + 1);
    }
    ranges
}
