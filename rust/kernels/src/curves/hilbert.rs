//! Hilbert curve in any number of dimensions: lattice point ↔ place on the curve.
//!
//! The transpose formulation of J. Skilling, "Programming the Hilbert curve", AIP Conf. Proc. 707 (2004): the point's
//! bits are first undone level by level (exchanges and inversions of the bits below), then Gray coded, then
//! interleaved.
//!
//! A level whose bits are all zero turns the axes by one place. Turning the axes by `order` places beforehand cancels
//! that, so the curve is *prefix-stable*: the first `2**(ndim * (order - 1))` places of order `k` are the curve of
//! order `k - 1`, in place and not mirrored or transposed. An index means the same point at every order that holds it.

use super::codec;
use super::interleave::{deinterleave, interleave};
use super::lattice::{Curve, Integer, Rows};
use crate::error::Result;
use crate::simd::Run;

/// Places on the curve of points, shape (n, ndim), each coordinate below `2**order`, into `out` (n).
pub fn encode<T: Integer, U: Integer>(run: Run<'_>, coords: Rows<'_, T>, order: u32, out: &mut [U]) -> Result<()> {
    codec::encode(run, Curve::Hilbert, coords, order, out, |point| encode_point(point, order))
}

/// Points at places of the curve, shape (n, 1), each below `2**(ndim * order)`, into `out` (n, ndim).
pub fn decode<T: Integer, U: Integer>(
    run: Run<'_>,
    index: Rows<'_, T>,
    ndim: usize,
    order: u32,
    out: &mut [U],
) -> Result<()> {
    codec::decode(run, Curve::Hilbert, index, ndim, order, out, |code, point| {
        decode_point(code, point, order);
    })
}

/// The place of one point, which is overwritten.
#[inline(never)]
pub(crate) fn encode_point(point: &mut [u64], order: u32) -> u64 {
    // Sizes known to the compiler unroll the loop over axes.
    if let Ok(point) = <&mut [u64; 2]>::try_from(&mut *point) {
        transpose(point, order);
    } else if let Ok(point) = <&mut [u64; 3]>::try_from(&mut *point) {
        transpose(point, order);
    } else {
        transpose(point, order);
    }
    interleave(point)
}

/// The point at one place.
#[inline(never)]
pub(crate) fn decode_point(code: u64, point: &mut [u64], order: u32) {
    deinterleave(code, point);
    if let Ok(point) = <&mut [u64; 2]>::try_from(&mut *point) {
        untranspose(point, order);
    } else if let Ok(point) = <&mut [u64; 3]>::try_from(&mut *point) {
        untranspose(point, order);
    } else {
        untranspose(point, order);
    }
}

/// Point → transposed place: the bits of the place, `ndim` to a level, axis 0 first.
#[inline(always)]
fn transpose(x: &mut [u64], order: u32) {
    let n = x.len();
    if n < 2 {
        return;
    }
    x.rotate_left(order as usize % n);
    for level in (1..order).rev() {
        for i in 0..n {
            turn(x, i, level);
        }
    }
    for i in 1..n {
        x[i] ^= x[i - 1];
    }
    // Bit j becomes the parity of the last axis's bits above j.
    let mut parity = x[n - 1] >> 1;
    for shift in [1, 2, 4, 8, 16, 32] {
        parity ^= parity >> shift;
    }
    for x in x {
        *x ^= parity;
    }
}

/// Transposed place → point.
#[inline(always)]
fn untranspose(x: &mut [u64], order: u32) {
    let n = x.len();
    if n < 2 {
        return;
    }
    let last = x[n - 1] >> 1;
    for i in (1..n).rev() {
        x[i] ^= x[i - 1];
    }
    x[0] ^= last;
    for level in 1..order {
        for i in (0..n).rev() {
            turn(x, i, level);
        }
    }
    x.rotate_right(order as usize % n);
}

/// Below `level`: inverts axis 0 where axis `i` has the level's bit, else exchanges the two axes. Its own inverse.
#[inline(always)]
fn turn(x: &mut [u64], i: usize, level: u32) {
    let below = (1 << level) - 1;
    let set = (x[i] >> level & 1).wrapping_neg();
    let exchange = (x[0] ^ x[i]) & below & !set;
    x[i] ^= exchange;
    x[0] ^= exchange | (below & set);
}
