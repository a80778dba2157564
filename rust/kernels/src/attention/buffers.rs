//! Buffers of a pass, and their sizes.

use super::element::Accumulator;
use crate::memory::{self, OrLeave};
use crate::plan::TILE;
use std::ops::Range;

/// Tile keys that are scored before a softmax step: their scores stay in L1.
pub(crate) const KEY_BLOCK: usize = 256;

/// Keys of a block when `keys` are scored at a time: a multiple, so that a full block needs no padding.
pub(crate) const fn whole_steps(keys: usize) -> usize {
    KEY_BLOCK / keys * keys
}

/// Row keys of one query that are scored before a softmax step.
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

impl<A: Accumulator> Aligned<A> {
    pub(crate) fn zeros(n: usize) -> Self {
        const LINE: usize = 64;
        let data = memory::zeros::<A>("q, k, v", n + LINE / size_of::<A>()).or_leave();
        // If the offset cannot be computed, any start is correct.
        let start = data.as_ptr().align_offset(LINE).min(LINE / size_of::<A>());
        Self { data, span: start..start + n }
    }

    /// The values as arrays of the 16 lanes of a tile.
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
