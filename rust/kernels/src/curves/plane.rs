//! Points of the plane and their codes, one point to a lane.

use super::block::{Direction, PointBlock};
use super::lattice::{Curve, Integer};
use super::plane_digits::{BLOCK, convert};
use crate::simd::dispatch;
use fearless_simd::Level;

/// Points as `y | x << 16`, or codes: the low 16 bits of each coordinate, and of wider coordinates the others in
/// `high`.
pub(crate) struct Plane {
    low: [u32; BLOCK],
    high: [u32; BLOCK],
    states: [u8; BLOCK],
    wide: bool,
}

impl PointBlock for Plane {
    const AXES: usize = 2;
    const POINTS: usize = BLOCK;

    fn new(order: u32) -> Self {
        Self { low: [0; BLOCK], high: [0; BLOCK], states: [0; BLOCK], wide: order > 16 }
    }

    fn load_points<T: Integer>(&mut self, level: Level, coords: &[T]) {
        if self.wide {
            dispatch!(level, _simd => load_points(coords, &mut self.high, 16));
        }
        dispatch!(level, _simd => load_points(coords, &mut self.low, 0));
    }

    fn load_codes<T: Integer>(&mut self, level: Level, index: &[T]) {
        if self.wide {
            dispatch!(level, _simd => load_codes(index, &mut self.high, 32));
        }
        dispatch!(level, _simd => load_codes(index, &mut self.low, 0));
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

    fn convert(&mut self, level: Level, curve: Curve, direction: Direction, n: usize) {
        self.states.fill(0);
        if self.wide {
            dispatch!(level, simd => convert(simd, &mut self.high, &mut self.states, n, curve, direction));
        }
        dispatch!(level, simd => convert(simd, &mut self.low, &mut self.states, n, curve, direction));
    }
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
