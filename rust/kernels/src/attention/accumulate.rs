//! Weighted rows added to the rows of a tile.

use super::element::Accumulator;
use super::gathered_rows::GatheredRows;
use super::micro::{by_term, load, store};
use crate::plan::TILE;
use fearless_simd::{Simd, prelude::*};

/// Adds weighted rows to the four rows of a quad of lanes, which count as 0 if `fresh`; `NC` native vectors of columns
/// at a time.
#[inline(always)]
pub(crate) fn add_terms<S: Simd, A: Accumulator, const NC: usize>(
    simd: S,
    acc: &mut [A],
    fresh: bool,
    weights: &[[A; TILE]],
    quad: usize,
    rows: GatheredRows<'_, A>,
) {
    let lanes = A::N::<S>::LEN;
    let width = acc.len() / 4;
    let mut column = 0;
    while column + NC * lanes <= width {
        columns::<S, A, NC>(simd, acc, fresh, weights, quad, rows, column);
        column += NC * lanes;
    }
    while column < width {
        columns::<S, A, 1>(simd, acc, fresh, weights, quad, rows, column);
        column += lanes;
    }
}

#[inline(always)]
fn columns<S: Simd, A: Accumulator, const C: usize>(
    simd: S,
    acc: &mut [A],
    fresh: bool,
    weights: &[[A; TILE]],
    quad: usize,
    rows: GatheredRows<'_, A>,
    column: usize,
) {
    let width = acc.len() / 4;
    let mut sums = [[A::N::<S>::splat(simd, A::default()); C]; 4];
    if !fresh {
        for r in 0..4 {
            sums[r] = load::<S, A, C>(simd, acc, r * width + column);
        }
    }
    let sums = by_term::<S, A, C>(simd, sums, weights, quad, rows, column);
    for r in 0..4 {
        store::<S, A, C>(acc, r * width + column, sums[r]);
    }
}
