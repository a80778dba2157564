//! Codecs over arrays of any integers: blocks of points in the plane and in space, point by point elsewhere.

use super::block::{Direction, PointBlock};
use super::lattice::{
    Curve, Integer, PIECE, Rows, check_out, check_range, check_room, check_size, decode_rows, encode_rows, low_bits,
};
use super::plane::Plane;
use super::space::Space;
use crate::error::Result;
use crate::simd::{Run, dispatch};
use fearless_simd::Level;
use std::sync::atomic::{AtomicU64, Ordering};

/// Codes of points, (n, ndim), into `out`, (n,): in blocks for the plane and space, else point by point with `code`,
/// which may overwrite its point.
pub(crate) fn encode<T: Integer, U: Integer>(
    run: Run<'_>,
    curve: Curve,
    coords: Rows<'_, T>,
    order: u32,
    out: &mut [U],
    code: impl Fn(&mut [u64]) -> u64 + Sync,
) -> Result<()> {
    match coords.width() {
        2 => encode_blocks::<Plane, _, _>(run, curve, coords, order, out),
        3 => encode_blocks::<Space, _, _>(run, curve, coords, order, out),
        _ => encode_rows(coords, order, out, run.executor(), code),
    }
}

/// Points of codes, (n, 1), into `out`, (n, ndim): in blocks for the plane and space, else code by code with `point`.
pub(crate) fn decode<T: Integer, U: Integer>(
    run: Run<'_>,
    curve: Curve,
    index: Rows<'_, T>,
    ndim: usize,
    order: u32,
    out: &mut [U],
    point: impl Fn(u64, &mut [u64]) + Sync,
) -> Result<()> {
    match ndim {
        2 => decode_blocks::<Plane, _, _>(run, curve, index, order, out),
        3 => decode_blocks::<Space, _, _>(run, curve, index, order, out),
        _ => decode_rows(index, ndim, order, out, run.executor(), point),
    }
}

/// Codes of points, (n, AXES), into `out`, (n,).
fn encode_blocks<B: PointBlock, T: Integer, U: Integer>(
    run: Run<'_>,
    curve: Curve,
    coords: Rows<'_, T>,
    order: u32,
    out: &mut [U],
) -> Result<()> {
    check_size(B::AXES, order)?;
    check_room::<U>("out", B::AXES as u32 * order)?;
    check_out(coords.len(), 1, out.len())?;
    let used = AtomicU64::new(0);
    run.for_each_chunk(out, PIECE, |level, task, out| {
        let (mut block, mut copy) = (B::new(order), Vec::new());
        for (i, out) in out.chunks_mut(B::POINTS).enumerate() {
            let coords = coords.read(task * PIECE + i * B::POINTS, out.len(), &mut copy);
            used.fetch_or(union(level, coords), Ordering::Relaxed);
            block.load_points(level, coords);
            block.convert(level, curve, Direction::Encode, out.len());
            block.store_codes(level, out);
        }
    });
    // Coordinates are checked one by one only where some bit is out of range or some sign is set.
    if used.into_inner() > low_bits(order) {
        check_range("coords", coords, order)?;
    }
    Ok(())
}

/// Points of codes, (n, 1), into `out`, (n, AXES).
fn decode_blocks<B: PointBlock, T: Integer, U: Integer>(
    run: Run<'_>,
    curve: Curve,
    index: Rows<'_, T>,
    order: u32,
    out: &mut [U],
) -> Result<()> {
    check_size(B::AXES, order)?;
    check_room::<U>("out", order)?;
    check_out(index.len(), B::AXES, out.len())?;
    let used = AtomicU64::new(0);
    run.for_each_chunk(out, B::AXES * PIECE, |level, task, out| {
        let (mut block, mut copy) = (B::new(order), Vec::new());
        for (i, out) in out.chunks_mut(B::AXES * B::POINTS).enumerate() {
            let n = out.len() / B::AXES;
            let index = index.read(task * PIECE + i * B::POINTS, n, &mut copy);
            used.fetch_or(union(level, index), Ordering::Relaxed);
            block.load_codes(level, index);
            block.convert(level, curve, Direction::Decode, n);
            block.store_points(level, out);
        }
    });
    // With 64 bits a sign looks like the highest bit of a code.
    if used.into_inner() > low_bits(B::AXES as u32 * order).min(i64::MAX as u64) {
        check_range("index", index, B::AXES as u32 * order)?;
    }
    Ok(())
}

/// The bits that are set in any value.
fn union<T: Integer>(level: Level, values: &[T]) -> u64 {
    dispatch!(level, _simd => values_union(values))
}

#[inline(always)]
fn values_union<T: Integer>(values: &[T]) -> u64 {
    let mut union = T::default();
    for &value in values {
        union = union | value;
    }
    union.bits()
}
