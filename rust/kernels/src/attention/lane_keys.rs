//! The keys that a tile's lanes read: those of its rows, lane by lane, and which of a block's each group uses.

use crate::memory::{self, OrLeave};
use crate::plan::{Plan, RowPairs, TILE, TileKeys, Transposed};
use std::ops::Range;

/// The row keys of a tile's lanes.
#[derive(Debug, Default)]
pub(crate) struct LaneKeys {
    /// Keys of all lanes, one lane after the other.
    keys: Vec<u32>,
    /// Where each lane's keys begin, and the end.
    ptr: Vec<usize>,
    /// Pair number of each key; empty unless asked for.
    pairs: Vec<usize>,
    /// The pair numbers of each lane follow one another.
    consecutive: bool,
    longest: usize,
    buffer: Vec<u32>,
    /// The tile, or the first key, that these belong to.
    of: Option<usize>,
}

impl LaneKeys {
    /// Reads a tile's row keys, with their pair numbers if `pairs`.
    pub(crate) fn fill(&mut self, plan: &Plan, tile: usize, pairs: bool) {
        let before = self.of.replace(tile);
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
            memory::reserve("index_set", &mut self.pairs, if pairs { keys.len() } else { 0 }).or_leave();
            match numbers {
                _ if !pairs => {}
                RowPairs::From(first) => self.pairs.extend(first..first + keys.len()),
                RowPairs::Slots(base, slots) => {
                    self.pairs.extend(slots.iter().map(|&slot| base + slot as usize));
                    self.consecutive = false;
                }
            }
        }
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.ptr.clear();
        self.pairs.clear();
        self.longest = 0;
        self.ptr.push(0);
    }

    /// All keys 16 on, and their pairs as many on.
    fn advance(&mut self, pairs: usize) {
        self.keys.iter_mut().for_each(|key| *key += TILE as u32);
        self.pairs.iter_mut().for_each(|pair| *pair += pairs);
    }

    /// Reads the queries of some keys' row pairs, the keys as lanes.
    pub(crate) fn fill_transposed(
        &mut self,
        transposed: &Transposed,
        keys: impl ExactSizeIterator<Item = usize> + Clone,
    ) {
        let (count, first) = (keys.len(), keys.clone().next());
        let before = std::mem::replace(&mut self.of, first);
        if let (Some(before), Some(first), TILE) = (before, first, count)
            && before + TILE == first
            && let Some(step) = transposed.step(first)
        {
            return self.advance(step);
        }
        self.clear();
        for key in keys {
            let before = self.keys.len();
            transposed.of_key(key, &mut self.keys, &mut self.pairs);
            self.longest = self.longest.max(self.keys.len() - before);
            self.ptr.push(self.keys.len());
        }
    }

    /// The pair numbers of each lane follow one another.
    #[inline(always)]
    pub(crate) fn consecutive(&self) -> bool {
        self.consecutive
    }

    /// Number of lanes.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.ptr.len() - 1
    }

    /// Up to `N` keys of a lane from the given one on, if there are any.
    #[inline(always)]
    pub(crate) fn part<const N: usize>(&self, lane: usize, at: usize) -> Option<&[u32]> {
        let (first, end) = (self.ptr[lane] + at, self.ptr[lane + 1]);
        (first < end).then(|| &self.keys[first..end.min(first + N)])
    }

    /// Pair numbers of as many keys of a lane, if they were asked for.
    #[inline(always)]
    pub(crate) fn pairs(&self, lane: usize, at: usize, count: usize) -> &[usize] {
        self.pairs.get(self.ptr[lane] + at..self.ptr[lane] + at + count).unwrap_or(&[])
    }

    #[inline(always)]
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }
}

/// For each group of four lanes, the keys of a block that any of them uses: `[first, last)`.
#[inline(always)]
pub(crate) fn group_ranges(block: &TileKeys) -> [Range<usize>; TILE / 4] {
    let mut ranges = [const { 0..0 }; TILE / 4];
    for (group, range) in ranges.iter_mut().enumerate() {
        let used = |m: &u16| m >> (4 * group) & 0xf != 0;
        range.start = block.masks.iter().position(used).unwrap_or(block.masks.len());
        range.end = block.masks.iter().rposition(used).map_or(range.start, |i| i + 1);
    }
    ranges
}
