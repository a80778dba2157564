//! What one task keeps between tiles: panels for rows that must be converted, scores, accumulators.

use super::element::{Real, Storage};
use super::micro::Rows;
use super::problem::View;
use crate::plan::{TILE, TileKeys};
use fearless_simd::{Simd, prelude::*};

/// Keys of a tile that are scored before their softmax: their scores stay in L1.
pub(crate) const KEY_BLOCK: usize = 256;

/// Row keys of one query that are scored before their softmax.
pub(crate) const ROW_BLOCK: usize = 64;

/// A width rounded up to whole vectors.
pub(crate) fn padded(width: usize) -> usize {
    width.next_multiple_of(TILE)
}

/// Rows of a tensor as computed: in place where they can be read there, else converted and padded into a panel.
#[derive(Debug, Default)]
pub(crate) struct Panel<A> {
    data: Vec<A>,
    starts: Vec<usize>,
}

impl<A: Real> Panel<A> {
    /// The rows `rows` of one head.
    #[inline]
    pub(crate) fn gather<'s, T: Storage<Acc = A>>(
        &'s mut self,
        view: &View<'s, T>,
        batch: usize,
        head: usize,
        rows: impl Iterator<Item = usize>,
    ) -> Rows<'s, A> {
        let width = view.shape[3];
        let full = padded(width);
        self.starts.clear();
        if let (Some(data), true) = (T::as_acc(view.data), width == full) {
            let base = view.start(batch, head, 0) as isize;
            self.starts.extend(rows.map(|r| (base + r as isize * view.strides[2]) as usize));
            return Rows { data, starts: &self.starts, width };
        }
        let mut used = 0;
        for row in rows {
            if self.data.len() < used + full {
                self.data.resize(used + full, A::default());
            }
            let (row_out, pad) = self.data[used..used + full].split_at_mut(width);
            T::widen(view.row(batch, head, row), row_out);
            pad.fill(A::default());
            self.starts.push(used);
            used += full;
        }
        Rows { data: &self.data, starts: &self.starts, width: full }
    }
}

/// The row keys of a tile's lanes.
#[derive(Debug, Default)]
pub(crate) struct LaneKeys {
    /// Keys of all lanes, one lane after the other.
    pub(crate) keys: Vec<u32>,
    /// Where each lane's keys begin, and the end.
    pub(crate) ptr: Vec<usize>,
    /// Pair number of each lane's first key.
    pub(crate) pairs: Vec<usize>,
    buffer: Vec<u32>,
}

impl LaneKeys {
    pub(crate) fn fill(&mut self, plan: &crate::plan::Plan, tile: usize) {
        self.keys.clear();
        self.ptr.clear();
        self.pairs.clear();
        self.ptr.push(0);
        for lane in 0..plan.lanes(tile) {
            let (keys, first) = plan.row_keys(tile, lane, &mut self.buffer);
            self.keys.extend_from_slice(keys);
            self.pairs.push(first);
            self.ptr.push(self.keys.len());
        }
    }

    #[inline]
    pub(crate) fn lane(&self, lane: usize) -> &[u32] {
        &self.keys[self.ptr[lane]..self.ptr[lane + 1]]
    }

    pub(crate) fn longest(&self) -> usize {
        self.ptr.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0)
    }
}

/// For each group of four lanes, the keys of a block that any of them uses: `[first, last)`.
pub(crate) fn group_ranges(block: &TileKeys) -> [std::ops::Range<usize>; TILE / 4] {
    std::array::from_fn(|group| {
        let used = |m: &u16| m >> (4 * group) & 0xf != 0;
        let first = block.masks.iter().position(used).unwrap_or(block.masks.len());
        let last = block.masks.iter().rposition(used).map_or(first, |i| i + 1);
        first..last
    })
}

/// Lanes where a mask's bit is off become −∞.
#[inline(always)]
pub(crate) fn hide<S: Simd, T: Real, const NQ: usize>(simd: S, s: [T::V<S>; NQ], mask: u16) -> [T::V<S>; NQ] {
    if mask == u16::MAX {
        return s;
    }
    let lanes = TILE / NQ;
    let hidden = T::V::<S>::splat(simd, T::NEG_INFINITY);
    std::array::from_fn(|n| {
        let bits = u64::from(mask) >> (n * lanes) & ((1 << lanes) - 1);
        <T::V<S> as SimdBase<S>>::Mask::from_bitmask(simd, bits).select(s[n], hidden)
    })
}
