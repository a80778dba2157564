//! Morton (Z-order) codes: the bits of the coordinates interleaved, axis 0 first.
//!
//! Bit `b` of coordinate `i` of `n` is bit `b * n + (n - 1 - i)` of the code, so that codes of one-bit coordinates run
//! in raster order. G. M. Morton, 1966.

use crate::blocks;
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::lattice::{Curve, Integer, Rows, check_cells, check_size};
use crate::memory;
use fearless_simd::Level;

/// Codes of points, shape (n, ndim), each coordinate below `2**order`, into `out` (n).
pub fn encode<T: Integer, U: Integer>(
    level: Level,
    coords: Rows<'_, T>,
    order: u32,
    out: &mut [U],
    executor: &dyn Executor,
) -> Result<()> {
    blocks::encode(level, Curve::Morton, coords, order, out, executor, |point| interleave(point))
}

/// Points of codes, shape (n, 1), each below `2**(ndim * order)`, into `out` (n, ndim).
pub fn decode<T: Integer, U: Integer>(
    level: Level,
    index: Rows<'_, T>,
    ndim: usize,
    order: u32,
    out: &mut [U],
    executor: &dyn Executor,
) -> Result<()> {
    blocks::decode(level, Curve::Morton, index, ndim, order, out, executor, deinterleave)
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

/// The code of one point.
pub(crate) fn interleave(point: &[u64]) -> u64 {
    match *point {
        [x] => x,
        [y, x] => spread2(y) << 1 | spread2(x),
        [z, y, x] => spread3(z) << 2 | spread3(y) << 1 | spread3(x),
        _ => {
            let n = point.len();
            (0..u64::BITS as usize / n)
                .rev()
                .fold(0, |code, b| point.iter().fold(code, |code, x| code << 1 | x >> b & 1))
        }
    }
}

/// The point of one code.
pub(crate) fn deinterleave(code: u64, point: &mut [u64]) {
    match point {
        [x] => *x = code,
        [y, x] => (*y, *x) = (gather2(code >> 1), gather2(code)),
        [z, y, x] => (*z, *y, *x) = (gather3(code >> 2), gather3(code >> 1), gather3(code)),
        _ => {
            let n = point.len();
            for (i, x) in point.iter_mut().enumerate() {
                let shift = n - 1 - i;
                *x = (0..u64::BITS as usize / n).fold(0, |x, b| x | (code >> (b * n + shift) & 1) << b);
            }
        }
    }
}

const MASKS2: [u64; 6] = [
    0x5555_5555_5555_5555,
    0x3333_3333_3333_3333,
    0x0f0f_0f0f_0f0f_0f0f,
    0x00ff_00ff_00ff_00ff,
    0x0000_ffff_0000_ffff,
    0x0000_0000_ffff_ffff,
];

fn spread2(x: u64) -> u64 {
    (0..5).rev().fold(x & MASKS2[5], |x, i| (x | x << (1 << i)) & MASKS2[i])
}

fn gather2(x: u64) -> u64 {
    (0..5).fold(x & MASKS2[0], |x, i| (x | x >> (1 << i)) & MASKS2[i + 1])
}

const MASKS3: [u64; 6] = [
    0x1249_2492_4924_9249,
    0x10c3_0c30_c30c_30c3,
    0x100f_00f0_0f00_f00f,
    0x001f_0000_ff00_00ff,
    0x001f_0000_0000_ffff,
    0x0000_0000_001f_ffff,
];

#[inline(always)]
pub(crate) fn spread3(x: u64) -> u64 {
    (0..5).rev().fold(x & MASKS3[5], |x, i| (x | x << (2 << i)) & MASKS3[i])
}

#[inline(always)]
pub(crate) fn gather3(x: u64) -> u64 {
    (0..5).fold(x & MASKS3[0], |x, i| (x | x >> (2 << i)) & MASKS3[i + 1])
}
