//! Codes of the plane's points, many points at a time, a lane a point.

use crate::error::Result;
use crate::executor::{Executor, for_each_chunk};
use crate::lattice::{Curve, Integer, PIECE, Rows, check_out, check_range, check_room, check_size, low_bits};
use crate::plane_digits::{BLOCK, Direction, convert};
use fearless_simd::{Level, dispatch};
use std::sync::atomic::{AtomicU64, Ordering};

/// Points as `y | x << 16` or codes, 16 bits a coordinate; of wider ones the rest in `high`.
struct Block {
    low: [u32; BLOCK],
    high: [u32; BLOCK],
    states: [u8; BLOCK],
    wide: bool,
}

/// Codes of points (n, 2) into `out` (n).
pub(crate) fn encode<T: Integer, U: Integer>(
    level: Level,
    curve: Curve,
    coords: Rows<'_, T>,
    order: u32,
    out: &mut [U],
    executor: &dyn Executor,
) -> Result<()> {
    check_size(2, order)?;
    check_room::<U>("out", 2 * order)?;
    check_out(coords.len(), 1, out.len())?;
    let used = AtomicU64::new(0);
    for_each_chunk(executor, out, PIECE, |task, out| {
        let mut block = Block::new(order);
        for (i, out) in out.chunks_mut(BLOCK).enumerate() {
            let first = task * PIECE + i * BLOCK;
            let bits = block.load_points(level, coords, first, out.len());
            used.fetch_or(bits, Ordering::Relaxed);
            block.convert(level, curve, Direction::Encode, out.len());
            block.store_codes(level, out);
        }
    });
    // Only a bit out of range, or a sign, is worth a second look at the coordinates.
    if used.into_inner() > low_bits(order) {
        check_range("coords", coords, order)?;
    }
    Ok(())
}

/// Points of codes (n, 1) into `out` (n, 2).
pub(crate) fn decode<T: Integer, U: Integer>(
    level: Level,
    curve: Curve,
    index: Rows<'_, T>,
    order: u32,
    out: &mut [U],
    executor: &dyn Executor,
) -> Result<()> {
    check_size(2, order)?;
    check_room::<U>("out", order)?;
    check_out(index.len(), 2, out.len())?;
    let used = AtomicU64::new(0);
    for_each_chunk(executor, out, 2 * PIECE, |task, out| {
        let mut block = Block::new(order);
        for (i, out) in out.chunks_mut(2 * BLOCK).enumerate() {
            let first = task * PIECE + i * BLOCK;
            let bits = block.load_codes(level, index, first, out.len() / 2);
            used.fetch_or(bits, Ordering::Relaxed);
            block.convert(level, curve, Direction::Decode, out.len() / 2);
            block.store_points(level, out);
        }
    });
    // At 64 bits a sign looks like a value.
    if used.into_inner() > low_bits(2 * order).min(i64::MAX as u64) {
        check_range("index", index, 2 * order)?;
    }
    Ok(())
}

// A function for each dtype and level, none for a pair of dtypes: the compiler would make 64 of each.
impl Block {
    fn new(order: u32) -> Self {
        Self { low: [0; BLOCK], high: [0; BLOCK], states: [0; BLOCK], wide: order > 16 }
    }

    /// Points from row `first` on, and all bits that any coordinate has.
    fn load_points<T: Integer>(&mut self, level: Level, coords: Rows<'_, T>, first: usize, n: usize) -> u64 {
        let Some(coords) = coords.in_place(first, n) else {
            let mut copy = [T::default(); 2 * BLOCK];
            coords.copy(first, &mut copy[..2 * n]);
            return self.read_points(level, &copy[..2 * n]);
        };
        self.read_points(level, coords)
    }

    fn read_points<T: Integer>(&mut self, level: Level, coords: &[T]) -> u64 {
        if self.wide {
            dispatch!(level, _simd => load_points(coords, &mut self.high, 16));
        }
        dispatch!(level, _simd => load_points(coords, &mut self.low, 0));
        dispatch!(level, _simd => union(coords))
    }

    /// Codes from row `first` on, and all bits that any of them has.
    fn load_codes<T: Integer>(&mut self, level: Level, index: Rows<'_, T>, first: usize, n: usize) -> u64 {
        let Some(index) = index.in_place(first, n) else {
            let mut copy = [T::default(); BLOCK];
            index.copy(first, &mut copy[..n]);
            return self.read_codes(level, &copy[..n]);
        };
        self.read_codes(level, index)
    }

    fn read_codes<T: Integer>(&mut self, level: Level, index: &[T]) -> u64 {
        if self.wide {
            dispatch!(level, _simd => load_codes(index, &mut self.high, 32));
        }
        dispatch!(level, _simd => load_codes(index, &mut self.low, 0));
        dispatch!(level, _simd => union(index))
    }

    fn store_codes<U: Integer>(&self, level: Level, out: &mut [U]) {
        if self.wide {
            dispatch!(level, _simd => store_wide_codes(&self.low, &self.high, out));
        } else {
            dispatch!(level, _simd => store_codes(&self.low, out));
        }
    }

    fn store_points<U: Integer>(&self, level: Level, out: &mut [U]) {
        if self.wide {
            dispatch!(level, _simd => store_wide_points(&self.low, &self.high, out));
        } else {
            dispatch!(level, _simd => store_points(&self.low, out));
        }
    }

    /// The first `n` points become codes, or codes points.
    fn convert(&mut self, level: Level, curve: Curve, direction: Direction, n: usize) {
        self.states.fill(0);
        if self.wide {
            dispatch!(level, simd => convert(simd, &mut self.high, &mut self.states, n, curve, direction));
        }
        dispatch!(level, simd => convert(simd, &mut self.low, &mut self.states, n, curve, direction));
    }
}

#[inline(always)]
fn union<T: Integer>(values: &[T]) -> u64 {
    let mut union = T::default();
    for &value in values {
        union = union | value;
    }
    union.bits()
}

#[inline(always)]
fn load_points<T: Integer>(coords: &[T], words: &mut [u32; BLOCK], shift: u32) {
    for (word, row) in words.iter_mut().zip(coords.chunks_exact(2)) {
        let half = [(row[0].bits() >> shift) as u16, (row[1].bits() >> shift) as u16];
        *word = u32::from(half[0]) | u32::from(half[1]) << 16;
    }
}

#[inline(always)]
fn load_codes<T: Integer>(index: &[T], words: &mut [u32; BLOCK], shift: u32) {
    for (word, code) in words.iter_mut().zip(index) {
        *word = (code.bits() >> shift) as u32;
    }
}

#[inline(always)]
fn store_codes<U: Integer>(words: &[u32; BLOCK], out: &mut [U]) {
    for (out, &word) in out.iter_mut().zip(words) {
        *out = U::from_bits(u64::from(word));
    }
}

#[inline(always)]
fn store_wide_codes<U: Integer>(low: &[u32; BLOCK], high: &[u32; BLOCK], out: &mut [U]) {
    for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
        *out = U::from_bits(u64::from(high) << 32 | u64::from(low));
    }
}

#[inline(always)]
fn store_points<U: Integer>(words: &[u32; BLOCK], out: &mut [U]) {
    for (row, &word) in out.chunks_exact_mut(2).zip(words) {
        row[0] = U::from_bits(u64::from(word & 0xffff));
        row[1] = U::from_bits(u64::from(word >> 16));
    }
}

#[inline(always)]
fn store_wide_points<U: Integer>(low: &[u32; BLOCK], high: &[u32; BLOCK], out: &mut [U]) {
    for ((row, &low), &high) in out.chunks_exact_mut(2).zip(low).zip(high) {
        row[0] = U::from_bits(u64::from(low & 0xffff | high << 16));
        row[1] = U::from_bits(u64::from(low >> 16 | high & 0xffff_0000));
    }
}
