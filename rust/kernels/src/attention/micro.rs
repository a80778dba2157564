//! The vector loops: scores of a key block, small matrix products, gathered dots. All widths are multiples of 16.

use super::element::Real;
use crate::plan::TILE;
use fearless_simd::{Simd, prelude::*};

/// Equally wide rows inside of one slice, by their first elements.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) starts: &'a [usize],
    pub(crate) width: usize,
}

impl<'a, T> Rows<'a, T> {
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> &'a [T] {
        &self.data[self.starts[i]..][..self.width]
    }
}

/// Scores of `NK` keys against the 16 queries of a transposed tile `qt`: `NQ` vectors a key.
#[inline(always)]
pub(crate) fn scores<S: Simd, T: Real, const NK: usize, const NQ: usize>(
    simd: S,
    keys: [&[T]; NK],
    qt: &[T],
) -> [[T::V<S>; NQ]; NK] {
    let zero = T::V::<S>::splat(simd, T::default());
    let mut acc = [[zero; NQ]; NK];
    let width = qt.len() / TILE;
    let keys = keys.map(|k| k[..width].as_chunks::<4>().0);
    let (steps, _) = qt.as_chunks::<{ 4 * TILE }>();
    for (step, q) in steps.iter().enumerate() {
        let mut lanes = [[zero; NQ]; 4];
        for u in 0..4 {
            for n in 0..NQ {
                lanes[u][n] = T::V::<S>::from_slice(simd, &q[u * TILE + n * (TILE / NQ)..][..TILE / NQ]);
            }
        }
        for kk in 0..NK {
            let k = &keys[kk][step];
            for u in 0..4 {
                let x = T::V::<S>::splat(simd, k[u]);
                for n in 0..NQ {
                    acc[kk][n] = x.mul_add(lanes[u][n], acc[kk][n]);
                }
            }
        }
    }
    acc
}

/// `acc[r][c] += Σ_i coefficient(i)[r] · rows[i][column + c]` for `R` rows and `C` vectors of columns.
#[inline(always)]
pub(crate) fn product<'a, S: Simd, T: Real, const R: usize, const C: usize>(
    simd: S,
    mut acc: [[T::V<S>; C]; R],
    terms: std::ops::Range<usize>,
    coefficient: impl Fn(usize) -> [T; R],
    row: impl Fn(usize) -> &'a [T],
    column: usize,
) -> [[T::V<S>; C]; R] {
    let lanes = <T::V<S> as SimdBase<S>>::LEN;
    for i in terms {
        let x = coefficient(i);
        let row = &row(i)[column..column + C * lanes];
        let mut v = [T::V::<S>::splat(simd, T::default()); C];
        for c in 0..C {
            v[c] = T::V::<S>::from_slice(simd, &row[c * lanes..(c + 1) * lanes]);
        }
        for r in 0..R {
            let x = T::V::<S>::splat(simd, x[r]);
            for c in 0..C {
                acc[r][c] = x.mul_add(v[c], acc[r][c]);
            }
        }
    }
    acc
}

/// Loads `R` rows of `C` vectors from `column` on.
#[inline(always)]
pub(crate) fn load<S: Simd, T: Real, const R: usize, const C: usize>(
    simd: S,
    rows: [&[T]; R],
    column: usize,
) -> [[T::V<S>; C]; R] {
    let lanes = <T::V<S> as SimdBase<S>>::LEN;
    let mut out = [[T::V::<S>::splat(simd, T::default()); C]; R];
    for r in 0..R {
        for c in 0..C {
            out[r][c] = T::V::<S>::from_slice(simd, &rows[r][column + c * lanes..][..lanes]);
        }
    }
    out
}

/// Writes what [`load`] reads.
#[inline(always)]
pub(crate) fn store<S: Simd, T: Real, const C: usize>(row: &mut [T], column: usize, values: [T::V<S>; C]) {
    let lanes = <T::V<S> as SimdBase<S>>::LEN;
    for c in 0..C {
        values[c].store_slice(&mut row[column + c * lanes..][..lanes]);
    }
}

/// Dot products of one row with `N` others, `N` lanes: partial sums by lane, then one tree of interleaves.
#[inline(always)]
pub(crate) fn dots<S: Simd, T: Real, const N: usize>(simd: S, q: &[T], keys: [&[T]; N]) -> T::V<S> {
    let lanes = <T::V<S> as SimdBase<S>>::LEN;
    debug_assert_eq!(lanes, N);
    let mut acc = [T::V::<S>::splat(simd, T::default()); N];
    let width = q.len();
    let keys = keys.map(|k| &k[..width]);
    let mut at = 0;
    while at + lanes <= width {
        let x = T::V::<S>::from_slice(simd, &q[at..at + lanes]);
        for n in 0..N {
            acc[n] = x.mul_add(T::V::<S>::from_slice(simd, &keys[n][at..at + lanes]), acc[n]);
        }
        at += lanes;
    }
    reduce(acc)
}

/// The sum of each of `N` vectors of `N` lanes, as one vector: log₂ N rounds of interleaving row i with row i + half.
#[inline(always)]
fn reduce<S: Simd, V: SimdFloat<S>, const N: usize>(mut rows: [V; N]) -> V {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            rows[i] = rows[i].zip_low(rows[i + half]) + rows[i].zip_high(rows[i + half]);
        }
        half /= 2;
    }
    rows[0]
}

/// Writes up to 16 rows, scaled, as columns: `out[c * 16 + r] = rows[r][c] · factor`; missing rows are zeros.
#[inline(always)]
pub(crate) fn transpose<S: Simd, T: Real>(simd: S, rows: &[&[T]], factor: T, out: &mut [T]) {
    let lanes = <T::V<S> as SimdBase<S>>::LEN;
    if lanes == TILE && rows.len() == TILE {
        let factor = T::V::<S>::splat(simd, factor);
        for (block, out) in out.chunks_exact_mut(TILE * TILE).enumerate() {
            let mut v = [factor; TILE];
            for r in 0..TILE {
                v[r] = T::V::<S>::from_slice(simd, &rows[r][block * TILE..][..TILE]) * factor;
            }
            for _ in 0..4 {
                let from = v;
                for i in 0..TILE / 2 {
                    v[2 * i] = from[i].zip_low(from[i + TILE / 2]);
                    v[2 * i + 1] = from[i].zip_high(from[i + TILE / 2]);
                }
            }
            for (r, v) in v.iter().enumerate() {
                v.store_slice(&mut out[r * TILE..(r + 1) * TILE]);
            }
        }
        return;
    }
    for (c, out) in out.chunks_exact_mut(TILE).enumerate() {
        for (r, out) in out.iter_mut().enumerate() {
            *out = rows.get(r).map_or(T::default(), |row| row[c] * factor);
        }
    }
}
