//! Morton (Z-order) codes: the bits of the coordinates interleaved, axis 0 first.
//!
//! Bit `b` of coordinate `i` of `n` is bit `b * n + (n - 1 - i)` of the code, so that codes of one-bit coordinates run
//! in raster order. G. M. Morton, 1966.

use super::codec;
use super::interleave::{deinterleave, interleave};
use super::lattice::{Curve, Integer, Rows, check_cells, check_size};
use crate::error::{KernelError, Result};
use crate::memory;
use crate::simd::Run;

/// Codes of points, shape (n, ndim), each coordinate below `2**order`, into `out` (n).
pub fn encode<T: Integer, U: Integer>(run: Run<'_>, coords: Rows<'_, T>, order: u32, out: &mut [U]) -> Result<()> {
    codec::encode(run, Curve::Morton, coords, order, out, |point| interleave(point))
}

/// Points of codes, shape (n, 1), each below `2**(ndim * order)`, into `out` (n, ndim).
pub fn decode<T: Integer, U: Integer>(
    run: Run<'_>,
    index: Rows<'_, T>,
    ndim: usize,
    order: u32,
    out: &mut [U],
) -> Result<()> {
    codec::decode(run, Curve::Morton, index, ndim, order, out, deinterleave)
}

/// Raster offsets of the cells of a box, by Morton code: a permutation of `0 .. cells`.
pub fn order(shape: &[usize]) -> Result<Vec<i64>> {
    let cells = check_cells(shape)?;
    if shape.is_empty() {
        return Err(KernelError::shape("shape", "0 axes", "1 axis or more"));
    }
    let longest = shape.iter().copied().max().unwrap_or(0).max(1);
    check_size(shape.len(), (longest - 1).checked_ilog2().map_or(0, |b| b + 1))
        .map_err(|_| KernelError::value("shape", format!("{shape:?}"), "ndim * bits of the longest axis <= 64"))?;
    let mut point = vec![0; shape.len()];
    let mut coded: Vec<(u64, i64)> = memory::with_capacity("shape", cells)?;
    for offset in 0..cells {
        crate::interrupt::check_each(offset, 1 << 16);
        let mut rest = offset;
        for (x, side) in point.iter_mut().zip(shape).rev() {
            *x = (rest % side) as u64;
            rest /= side;
        }
        coded.push((interleave(&point), offset as i64));
    }
    coded.sort_unstable();
    memory::collected("shape", coded.into_iter().map(|(_, offset)| offset))
}
