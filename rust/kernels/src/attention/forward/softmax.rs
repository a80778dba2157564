//! The running softmax of a tile: maximum, sum and weighted values of each lane.

use crate::attention::buffers::Aligned;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::log_sums::LogSum;
use crate::attention::micro::{load_lanes, scale_row, store_lanes};
use crate::plan::TILE;
use fearless_simd::{Simd, prelude::*};

/// Maxima, sums and unnormalised outputs.
#[derive(Debug)]
pub(super) struct Softmax<A> {
    pub(super) max: [A; TILE],
    pub(super) sum: [A; TILE],
    /// Rows of `width` values, one for each lane.
    pub(super) out: Aligned<A>,
    pub(super) width: usize,
    fresh: bool,
}

impl<A: Accumulator> Softmax<A> {
    pub(super) fn new(width: usize) -> Self {
        let zero = A::default();
        Self { max: [zero; TILE], sum: [zero; TILE], out: Aligned::zeros(TILE * width), width, fresh: true }
    }

    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.max = [A::NEG_INFINITY; TILE];
        self.sum = [A::default(); TILE];
        self.fresh = true;
    }

    /// Whether nothing was summed yet; then `out` is undefined.
    #[inline(always)]
    pub(super) fn fresh(&self) -> bool {
        self.fresh
    }

    /// Raises the maxima to those of a new block, rescales what was summed under the old ones, and returns what to
    /// subtract from the block's scores: the maxima, or 0 where all is −∞, so that hidden keys weigh 0 and not NaN.
    #[inline(always)]
    pub(super) fn raise<S: Simd, const NQ: usize>(&mut self, simd: S, block: [A::V<S>; NQ]) -> [A::V<S>; NQ] {
        let old = load_lanes::<S, A, NQ>(simd, &self.max);
        let (mut new, mut base) = (old, old);
        let lowest = A::V::<S>::splat(simd, A::NEG_INFINITY);
        for n in 0..NQ {
            // NaN compares false and stays out: it reaches the row through its weights.
            new[n] = block[n].simd_gt(old[n]).select(block[n], old[n]);
            base[n] = new[n].simd_gt(lowest).select(new[n], A::V::<S>::splat(simd, A::default()));
        }
        store_lanes::<S, A, NQ>(&mut self.max, new);
        if self.fresh {
            return base;
        }
        let mut factor = [A::default(); TILE];
        let mut factors = base;
        let mut sums = load_lanes::<S, A, NQ>(simd, &self.sum);
        for n in 0..NQ {
            factors[n] = A::exp(simd, old[n] - base[n]);
            sums[n] *= factors[n];
        }
        store_lanes::<S, A, NQ>(&mut self.sum, sums);
        store_lanes::<S, A, NQ>(&mut factor, factors);
        for (row, &factor) in self.out.chunks_exact_mut(self.width).zip(&factor) {
            if factor != A::ONE {
                scale_row(simd, row, factor);
            }
        }
        base
    }

    /// Sets the output to 0 if nothing was summed yet.
    #[inline(always)]
    pub(super) fn begin<S: Simd>(&mut self, simd: S) {
        if self.fresh {
            let zero = A::N::<S>::splat(simd, A::default());
            self.out.chunks_exact_mut(A::N::<S>::LEN).for_each(|x| zero.store_slice(x));
            self.fresh = false;
        }
    }

    /// Notes that the caller writes the first sums itself.
    #[inline(always)]
    pub(super) fn begun(&mut self) {
        self.fresh = false;
    }

    /// Adds a logit without a value to every lane, after all keys.
    #[inline(always)]
    pub(super) fn add_sink<S: Simd>(&mut self, simd: S, sink: A) {
        self.begin(simd);
        let exp = |x: A| A::from_f64(x.to_f64().exp());
        for lane in 0..TILE {
            let (max, sum) = (self.max[lane], self.sum[lane]);
            if sink > max {
                let row = &mut self.out[lane * self.width..][..self.width];
                let factor = if max == A::NEG_INFINITY {
                    // Hidden values may be NaN: without a key the output is 0 all the same.
                    row.fill(A::default());
                    A::default()
                } else {
                    exp(max - sink)
                };
                scale_row(simd, row, factor);
                (self.max[lane], self.sum[lane]) = (sink, sum * factor + A::ONE);
            } else if sink > A::NEG_INFINITY {
                self.sum[lane] = sum + exp(sink - max);
            }
        }
    }

    /// Log-sum-exp of a lane.
    #[inline(always)]
    pub(super) fn log_sum(&self, lane: usize) -> LogSum<A> {
        LogSum::new(self.max[lane], self.sum[lane])
    }

    /// Writes a lane's output; a lane without keys gives 0.
    #[inline(always)]
    pub(super) fn write<S: Simd, T: Storage<Acc = A>>(&mut self, simd: S, lane: usize, to: &mut [T]) {
        let row = &mut self.out[lane * self.width..][..self.width];
        let sum = self.sum[lane];
        if sum == A::default() {
            return to.fill(T::default());
        }
        let factor = A::from_f64(1.0 / sum.to_f64());
        match T::as_acc_mut(to) {
            Some(to) if to.len() == row.len() => {
                let factor = A::N::<S>::splat(simd, factor);
                let vectors = row.chunks_exact(A::N::<S>::LEN).zip(to.chunks_exact_mut(A::N::<S>::LEN));
                vectors.for_each(|(x, to)| (A::N::<S>::from_slice(simd, x) * factor).store_slice(to));
            }
            _ => {
                scale_row(simd, row, factor);
                T::narrow(&row[..to.len()], to);
            }
        }
    }
}
