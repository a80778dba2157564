//! The softmax of one row of scores.

use super::element::Accumulator;
use super::micro::scale_row;
use fearless_simd::{Simd, prelude::*};

/// Turns scores, in whole native vectors, into weights that sum to 1; returns what was subtracted from the scores, and
/// the sum of the exponentials. Where all is hidden every weight is 0, and both are 0.
#[inline(always)]
pub(crate) fn softmax_row<S: Simd, A: Accumulator>(simd: S, scores: &mut [A]) -> (A, A) {
    let lanes = A::N::<S>::LEN;
    let mut tops = A::N::<S>::splat(simd, A::NEG_INFINITY);
    for s in scores.chunks_exact(lanes) {
        tops = tops.max(A::N::<S>::from_slice(simd, s));
    }
    let top = tops.reduce_max();
    // NaN compares false: it reaches the row through its weight.
    let base = if top > A::NEG_INFINITY { top } else { A::default() };
    let minus = A::N::<S>::splat(simd, base);
    let mut sums = A::N::<S>::splat(simd, A::default());
    for s in scores.chunks_exact_mut(lanes) {
        let e = A::exp_native(simd, A::N::<S>::from_slice(simd, s) - minus);
        sums += e;
        e.store_slice(s);
    }
    let sum = sums.reduce_sum();
    if sum != A::default() {
        scale_row(simd, scores, A::from_f64(1.0 / sum.to_f64()));
    }
    (base, sum)
}
