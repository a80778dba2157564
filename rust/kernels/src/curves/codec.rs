//! Codecs that work on blocks of points: arrays of any integers in and out, piece by piece.

use super::block::{Block, Direction};
use super::lattice::{
    Curve, Integer, PIECE, Rows, check_out, check_range, check_room, check_size, decode_rows, encode_rows, low_bits,
};
use super::plane::Plane;
use super::space::Space;
use crate::error::Result;
use crate::executor::for_each_chunk;
use crate::simd::Run;
use fearless_simd::{Level, dispatch};
use std::sync::atomic::{AtomicU64, Ordering};

/// Codes of points, (n, ndim), into `out`, (n,): in blocks for the plane and space, else point by point with `code`, which
/// may scribble on the point it is given.
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
        _ => encode_rows(coords, order, out, run.executor, code),
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
        _ => decode_rows(index, ndim, order, out, run.executor, point),
    }
}

/// Codes of points, (n, AXES), into `out`, (n,).
fn encode_blocks<B: Block, T: Integer, U: Integer>(
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
    for_each_chunk(run.executor, out, PIECE, |task, out| {
        let (mut block, mut copy) = (B::new(order), Vec::new());
        for (i, out) in out.chunks_mut(B::POINTS).enumerate() {
            let coords = coords.read(task * PIECE + i * B::POINTS, out.len(), &mut copy);
            used.fetch_or(union(run.level, coords), Ordering::Relaxed);
            block.load_points(run.level, coords);
            block.convert(run.level, curve, Direction::Encode, out.len());
            block.store_codes(run.level, out);
        }
    });
    // Only a bit out of range, or a sign, is worth a second look at the coordinates.
    if used.into_inner() > low_bits(order) {
        check_range("coords", coords, order)?;
    }
    Ok(())
}

/// Points of codes, (n, 1), into `out`, (n, AXES).
fn decode_blocks<B: Block, T: Integer, U: Integer>(
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
    for_each_chunk(run.executor, out, B::AXES * PIECE, |task, out| {
        let (mut block, mut copy) = (B::new(order), Vec::new());
        for (i, out) in out.chunks_mut(B::AXES * B::POINTS).enumerate() {
            let n = out.len() / B::AXES;
            let index = index.read(task * PIECE + i * B::POINTS, n, &mut copy);
            used.fetch_or(union(run.level, index), Ordering::Relaxed);
            block.load_codes(run.level, index);
            block.convert(run.level, curve, Direction::Decode, n);
            block.store_points(run.level, out);
        }
    });
    // At 64 bits a sign looks like a value.
    if used.into_inner() > low_bits(B::AXES as u32 * order).min(i64::MAX as u64) {
        check_range("index", index, B::AXES as u32 * order)?;
    }
    Ok(())
}

/// All bits that any value has.
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
