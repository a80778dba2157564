//! What the passes share beside their loops: sizes, a tile's row keys, biases.

use super::element::{Real, Storage};
use super::head::HeadContext;
use super::micro::load_lanes;
use crate::memory::{self, OrLeave};
use crate::plan::{Plan, RowPairs, TILE, TileKeys, Transposed};
use fearless_simd::Simd;
use std::ops::Range;

/// Keys of a tile that are scored before their softmax: their scores stay in L1.
pub(crate) const KEY_BLOCK: usize = 256;

/// As many keys of a block as whole steps of `keys` hold: a full block needs no padding.
pub(crate) const fn whole_steps(keys: usize) -> usize {
    KEY_BLOCK / keys * keys
}

/// Row keys of one query that are scored before their softmax.
pub(crate) const ROW_BLOCK: usize = 128;

/// A width rounded up to whole vectors.
pub(crate) fn padded(width: usize) -> usize {
    width.next_multiple_of(TILE)
}

/// Values that start at a cache line, so that no vector of them lies across two.
#[derive(Debug)]
pub(crate) struct Aligned<A> {
    data: Vec<A>,
    span: Range<usize>,
}

impl<A: Real> Aligned<A> {
    pub(crate) fn zeros(n: usize) -> Self {
        const LINE: usize = 64;
        let data = memory::zeros::<A>("q, k, v", n + LINE / size_of::<A>()).or_leave();
        // Where the address cannot be told, any start serves.
        let start = data.as_ptr().align_offset(LINE).min(LINE / size_of::<A>());
        Self { data, span: start..start + n }
    }

    /// The values by tile: one array of 16 lanes after the other.
    #[inline(always)]
    pub(crate) fn lanes(&self) -> &[[A; TILE]] {
        self.as_chunks().0
    }

    /// [`Self::lanes`], to write.
    #[inline(always)]
    pub(crate) fn lanes_mut(&mut self) -> &mut [[A; TILE]] {
        self.as_chunks_mut().0
    }
}

impl<A> std::ops::Deref for Aligned<A> {
    type Target = [A];

    #[inline(always)]
    fn deref(&self) -> &[A] {
        &self.data[self.span.clone()]
    }
}

impl<A> std::ops::DerefMut for Aligned<A> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [A] {
        &mut self.data[self.span.clone()]
    }
}

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

/// Adds the biases of one key of a block.
#[inline(always)]
pub(crate) fn biased<S: Simd, T: Storage, const NQ: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    block: &TileKeys,
    at: usize,
    pair: &mut usize,
    s: &mut [<T::Acc as Real>::V<S>; NQ],
) {
    let mut lanes = [head.key_bias.as_ref().map_or(T::Acc::default(), |b| b[block.keys[at] as usize]); TILE];
    if let Some(bias) = &head.pair_bias {
        for (lane, x) in lanes.iter_mut().enumerate() {
            if block.masks[at] >> lane & 1 == 1 {
                *x += bias[*pair];
                *pair += 1;
            }
        }
    }
    let bias = load_lanes::<S, T::Acc, NQ>(simd, &lanes);
    for n in 0..NQ {
        s[n] += bias[n];
    }
}

/// Adds the biases of row keys and of their pairs; the two first to each other, as in [`biased`], so that large ones that
/// cancel leave the score.
#[inline(always)]
pub(crate) fn row_biased<T: Storage>(head: &HeadContext<T::Acc>, keys: &[u32], pairs: &[usize], s: &mut [T::Acc]) {
    for (i, (s, &key)) in s.iter_mut().zip(keys).enumerate() {
        let mut bias = head.key_bias.as_ref().map_or(T::Acc::default(), |b| b[key as usize]);
        if let Some(of_pairs) = &head.pair_bias {
            bias += of_pairs[head.tile_pairs + pairs[i]];
        }
        *s += bias;
    }
}

/// What lies past a list becomes −∞.
#[inline(always)]
pub(crate) fn hide_rest<A: Real>(keys: usize, s: &mut [A]) {
    if keys < s.len() {
        s[keys..].fill(A::NEG_INFINITY);
    }
}
