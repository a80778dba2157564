//! The vector loops: scores of a key block, small matrix products, gathered dots and sums. Widths are multiples of 16.
//!
//! Loops over constant counts are unrolled by the compiler, which keeps their arrays in registers; a closure that is
//! handed to a library function (`array::map`, `array::from_fn`) would be compiled without the level's instructions.

use super::element::Accumulator;
use super::gathered_rows::GatheredRows;
use crate::plan::TILE;
use fearless_simd::{Simd, prelude::*};

/// Columns of the queries and of each key in one step of [`scores`].
const STEP: usize = 4;

/// Scores of `NK` keys against the 16 queries of a transposed tile: `NQ` vectors a key.
#[inline(always)]
pub(crate) fn scores<S: Simd, T: Accumulator, const NK: usize, const NQ: usize>(
    simd: S,
    keys: GatheredRows<'_, T>,
    first: usize,
    qt: &[[T; TILE]],
) -> [[T::V<S>; NQ]; NK] {
    let zero = T::V::<S>::splat(simd, T::default());
    let mut acc = [[zero; NQ]; NK];
    let steps = qt.len() / STEP;
    let queries = &qt.as_chunks::<STEP>().0[..steps];
    let starts = &keys.starts[first..first + NK];
    let mut rows: [&[[T; STEP]]; NK] = [&[]; NK];
    for i in 0..NK {
        rows[i] = &keys.data[starts[i]..][..qt.len()].as_chunks::<STEP>().0[..steps];
    }
    for step in 0..steps {
        for u in 0..STEP {
            let mut lanes = [zero; NQ];
            for n in 0..NQ {
                lanes[n] = T::V::<S>::from_slice(simd, &queries[step][u][n * (TILE / NQ)..(n + 1) * (TILE / NQ)]);
            }
            for i in 0..NK {
                let x = T::V::<S>::splat(simd, rows[i][step][u]);
                for n in 0..NQ {
                    acc[i][n] = x.mul_add(lanes[n], acc[i][n]);
                }
            }
        }
    }
    acc
}

/// `acc[r][c] += Σ_i weights[i][lane + r] · rows[i][column + c]`: a quad of lanes gathers from a list of rows.
#[inline(always)]
pub(crate) fn by_term<S: Simd, T: Accumulator, const C: usize>(
    simd: S,
    mut acc: [[T::N<S>; C]; 4],
    weights: &[[T; TILE]],
    quad: usize,
    rows: GatheredRows<'_, T>,
    column: usize,
) -> [[T::N<S>; C]; 4] {
    let lanes = T::N::<S>::LEN;
    for (weights, &start) in weights.iter().zip(rows.starts) {
        let row = &rows.data[start + column..][..C * lanes];
        let weights = &weights.as_chunks::<4>().0[quad];
        let mut v = [T::N::<S>::splat(simd, T::default()); C];
        for c in 0..C {
            v[c] = T::N::<S>::from_slice(simd, &row[c * lanes..(c + 1) * lanes]);
        }
        for r in 0..4 {
            let x = T::N::<S>::splat(simd, weights[r]);
            for c in 0..C {
                acc[r][c] = x.mul_add(v[c], acc[r][c]);
            }
        }
    }
    acc
}

/// `acc[r][c] += Σ_lane weights[r][lane] · tile[lane][column + c]`: four keys sum over the lanes of a tile.
#[inline(always)]
pub(crate) fn by_lane<S: Simd, T: Accumulator, const C: usize>(
    simd: S,
    mut acc: [[T::N<S>; C]; 4],
    weights: &[[T; TILE]; 4],
    lanes: std::ops::Range<usize>,
    tile: &[T],
    width: usize,
    column: usize,
) -> [[T::N<S>; C]; 4] {
    let vector = T::N::<S>::LEN;
    for lane in lanes {
        let row = &tile[lane * width + column..][..C * vector];
        let mut v = [T::N::<S>::splat(simd, T::default()); C];
        for c in 0..C {
            v[c] = T::N::<S>::from_slice(simd, &row[c * vector..(c + 1) * vector]);
        }
        for r in 0..4 {
            let x = T::N::<S>::splat(simd, weights[r][lane % TILE]);
            for c in 0..C {
                acc[r][c] = x.mul_add(v[c], acc[r][c]);
            }
        }
    }
    acc
}

/// `C` native vectors from `column` on.
#[inline(always)]
pub(crate) fn load<S: Simd, T: Accumulator, const C: usize>(simd: S, row: &[T], column: usize) -> [T::N<S>; C] {
    let lanes = T::N::<S>::LEN;
    let row = &row[column..][..C * lanes];
    let mut out = [T::N::<S>::splat(simd, T::default()); C];
    for c in 0..C {
        out[c] = T::N::<S>::from_slice(simd, &row[c * lanes..(c + 1) * lanes]);
    }
    out
}

/// Writes what [`load`] reads.
#[inline(always)]
pub(crate) fn store<S: Simd, T: Accumulator, const C: usize>(row: &mut [T], column: usize, values: [T::N<S>; C]) {
    let lanes = T::N::<S>::LEN;
    let row = &mut row[column..][..C * lanes];
    for c in 0..C {
        values[c].store_slice(&mut row[c * lanes..(c + 1) * lanes]);
    }
}

/// The 16 lanes of a tile as `NQ` vectors.
#[inline(always)]
pub(crate) fn load_lanes<S: Simd, T: Accumulator, const NQ: usize>(simd: S, lanes: &[T; TILE]) -> [T::V<S>; NQ] {
    let mut out = [T::V::<S>::splat(simd, T::default()); NQ];
    for n in 0..NQ {
        out[n] = T::V::<S>::from_slice(simd, &lanes[n * (TILE / NQ)..(n + 1) * (TILE / NQ)]);
    }
    out
}

/// Writes what [`load_lanes`] reads.
#[inline(always)]
pub(crate) fn store_lanes<S: Simd, T: Accumulator, const NQ: usize>(lanes: &mut [T; TILE], values: [T::V<S>; NQ]) {
    for n in 0..NQ {
        values[n].store_slice(&mut lanes[n * (TILE / NQ)..(n + 1) * (TILE / NQ)]);
    }
}

/// Lanes where a mask's bit is off become −∞.
#[inline(always)]
pub(crate) fn hide<S: Simd, T: Accumulator, const NQ: usize>(simd: S, s: &mut [T::V<S>; NQ], mask: u16) {
    cover::<S, T, NQ>(simd, s, mask, T::NEG_INFINITY);
}

/// Lanes where a mask's bit is off become `value`.
#[inline(always)]
pub(crate) fn cover<S: Simd, T: Accumulator, const NQ: usize>(simd: S, s: &mut [T::V<S>; NQ], mask: u16, value: T) {
    if mask == u16::MAX {
        return;
    }
    let lanes = TILE / NQ;
    let value = T::V::<S>::splat(simd, value);
    for n in 0..NQ {
        let bits = u64::from(mask) >> (n * lanes) & ((1 << lanes) - 1);
        s[n] = <T::V<S> as SimdBase<S>>::Mask::from_bitmask(simd, bits).select(s[n], value);
    }
}

/// Dot products of `q` with `N` rows, one in each lane: partial sums by lane, then one tree of interleaves.
#[inline(always)]
pub(crate) fn dots<S: Simd, T: Accumulator, const N: usize>(
    simd: S,
    q: &[T],
    data: &[T],
    starts: &[usize; N],
) -> T::N<S> {
    debug_assert_eq!(T::N::<S>::LEN, N);
    let mut acc = [T::N::<S>::splat(simd, T::default()); N];
    let width = q.len();
    // Eight rows at a time: their addresses stay in registers.
    for (part, starts) in starts.as_chunks::<8>().0.iter().enumerate().take(N / 8) {
        let sums = dots_of::<S, T, 8>(simd, q, data, starts, width);
        acc[part * 8..part * 8 + 8].copy_from_slice(&sums);
    }
    if N < 8 {
        for n in 0..N {
            acc[n] = dots_of::<S, T, 1>(simd, q, data, &[starts[n]], width)[0];
        }
    }
    fold_all::<S, T, N>(acc)
}

/// The sum of each of `N` vectors of `N` lanes, one in each lane: log2 N rounds of interleaving row i with row i + half.
#[inline(always)]
pub(crate) fn fold_all<S: Simd, T: Accumulator, const N: usize>(mut acc: [T::N<S>; N]) -> T::N<S> {
    if N >= 16 {
        fold::<S, T, N, 8>(&mut acc);
    }
    if N >= 8 {
        fold::<S, T, N, 4>(&mut acc);
    }
    if N >= 4 {
        fold::<S, T, N, 2>(&mut acc);
    }
    fold::<S, T, N, 1>(&mut acc);
    acc[0]
}

/// `q ∘ data[starts[n]..]`, summed lane by lane.
#[inline(always)]
fn dots_of<S: Simd, T: Accumulator, const N: usize>(
    simd: S,
    q: &[T],
    data: &[T],
    starts: &[usize; N],
    width: usize,
) -> [T::N<S>; N] {
    let lanes = T::N::<S>::LEN;
    let mut rows: [&[T]; N] = [&[]; N];
    for n in 0..N {
        rows[n] = &data[starts[n]..][..width];
    }
    let mut sums = [T::N::<S>::splat(simd, T::default()); N];
    for at in (0..width).step_by(lanes) {
        let x = T::N::<S>::from_slice(simd, &q[at..at + lanes]);
        for n in 0..N {
            sums[n] = x.mul_add(T::N::<S>::from_slice(simd, &rows[n][at..at + lanes]), sums[n]);
        }
    }
    sums
}

#[inline(always)]
fn fold<S: Simd, T: Accumulator, const N: usize, const HALF: usize>(acc: &mut [T::N<S>; N]) {
    for i in 0..HALF {
        acc[i] = acc[i].zip_low(acc[i + HALF]) + acc[i].zip_high(acc[i + HALF]);
    }
}

/// `row += Σ_i weights[i] · data[starts[i]..]`, `C` native vectors at a time, two terms in flight.
#[inline(always)]
pub(crate) fn add_rows<S: Simd, T: Accumulator, const C: usize>(
    simd: S,
    row: &mut [T],
    weights: &[T],
    data: &[T],
    starts: &[usize],
) {
    let lanes = T::N::<S>::LEN;
    let mut column = 0;
    while column + C * lanes <= row.len() {
        add_columns::<S, T, _, C>(simd, row, column, weights, starts, |start| &data[start..]);
        column += C * lanes;
    }
    while column < row.len() {
        add_columns::<S, T, _, 1>(simd, row, column, weights, starts, |start| &data[start..]);
        column += lanes;
    }
}

/// `row += Σ_i weights[i] · term(keys[i])` for `C` native vectors from `column` on.
#[inline(always)]
pub(crate) fn add_columns<'a, S: Simd, T: Accumulator, K: Copy, const C: usize>(
    simd: S,
    row: &mut [T],
    column: usize,
    weights: &[T],
    keys: &[K],
    term: impl Fn(K) -> &'a [T],
) {
    let mut even = load::<S, T, C>(simd, row, column);
    let mut odd = [T::N::<S>::splat(simd, T::default()); C];
    let (twos, last) = weights.as_chunks::<2>();
    let (two_keys, last_key) = keys.as_chunks::<2>();
    for (w, key) in twos.iter().zip(two_keys) {
        let (a, b) = (load::<S, T, C>(simd, term(key[0]), column), load::<S, T, C>(simd, term(key[1]), column));
        let (x, y) = (T::N::<S>::splat(simd, w[0]), T::N::<S>::splat(simd, w[1]));
        for c in 0..C {
            even[c] = x.mul_add(a[c], even[c]);
            odd[c] = y.mul_add(b[c], odd[c]);
        }
    }
    if let (Some(&w), Some(&key)) = (last.first(), last_key.first()) {
        let (a, x) = (load::<S, T, C>(simd, term(key), column), T::N::<S>::splat(simd, w));
        for c in 0..C {
            even[c] = x.mul_add(a[c], even[c]);
        }
    }
    for c in 0..C {
        even[c] += odd[c];
    }
    store::<S, T, C>(row, column, even);
}

/// `row *= factor`.
#[inline(always)]
pub(crate) fn scale_row<S: Simd, T: Accumulator>(simd: S, row: &mut [T], factor: T) {
    let factor = T::N::<S>::splat(simd, factor);
    for x in row.chunks_exact_mut(T::N::<S>::LEN) {
        (T::N::<S>::from_slice(simd, x) * factor).store_slice(x);
    }
}

/// Dot product of two equally wide rows.
#[inline(always)]
pub(crate) fn dot<S: Simd, T: Accumulator>(simd: S, a: &[T], b: &[T]) -> T {
    let lanes = T::N::<S>::LEN;
    let mut sum = T::N::<S>::splat(simd, T::default());
    for (a, b) in a.chunks_exact(lanes).zip(b.chunks_exact(lanes)) {
        sum = T::N::<S>::from_slice(simd, a).mul_add(T::N::<S>::from_slice(simd, b), sum);
    }
    sum.reduce_sum()
}

/// Writes the first `lanes` rows, scaled, as columns: `out[c][r] = rows[r][c] · factor`; missing rows repeat the last.
#[inline(always)]
pub(crate) fn transpose<S: Simd, T: Accumulator>(simd: S, rows: GatheredRows<'_, T>, factor: T, out: &mut [[T; TILE]]) {
    let last = rows.starts.len() - 1;
    let mut source: [&[T]; TILE] = [&[]; TILE];
    for r in 0..TILE {
        source[r] = &rows.data[rows.starts[r.min(last)]..][..out.len()];
    }
    if T::V::<S>::LEN != TILE {
        for (c, out) in out.iter_mut().enumerate() {
            for r in 0..TILE {
                out[r] = source[r][c] * factor;
            }
        }
        return;
    }
    let factor = T::V::<S>::splat(simd, factor);
    for (block, out) in out.as_chunks_mut::<TILE>().0.iter_mut().enumerate() {
        let mut v = [factor; TILE];
        for r in 0..TILE {
            v[r] = T::V::<S>::from_slice(simd, &source[r][block * TILE..(block + 1) * TILE]) * factor;
        }
        // Four rounds of interleaving row i with row i + 8 transpose 16 x 16.
        v = interleave::<S, T>(v);
        v = interleave::<S, T>(v);
        v = interleave::<S, T>(v);
        v = interleave::<S, T>(v);
        for r in 0..TILE {
            v[r].store_slice(&mut out[r]);
        }
    }
}

#[inline(always)]
fn interleave<S: Simd, T: Accumulator>(from: [T::V<S>; TILE]) -> [T::V<S>; TILE] {
    let mut to = from;
    for i in 0..TILE / 2 {
        to[2 * i] = from[i].zip_low(from[i + TILE / 2]);
        to[2 * i + 1] = from[i].zip_high(from[i + TILE / 2]);
    }
    to
}
