//! Points of space and their codes, one point to a lane: the transpose formulation of [`super::hilbert`] on vectors.

use super::block::{Direction, PointBlock};
use super::interleave::{gather3, spread3};
use super::lattice::{Curve, Integer};
use crate::simd::dispatch;
use fearless_simd::{Level, Simd, prelude::*};

/// Points of a block.
const BLOCK: usize = 256;

/// Independent vectors of points in flight, since each level of a vector waits for the level before.
const WAYS: usize = 2;

/// Columns of coordinates, at most 21 bits each, and codes.
pub(crate) struct Space {
    axes: [[u32; BLOCK]; 3],
    codes: [u64; BLOCK],
    order: u32,
}

impl PointBlock for Space {
    const AXES: usize = 3;
    const POINTS: usize = BLOCK;

    fn new(order: u32) -> Self {
        Self { axes: [[0; BLOCK]; 3], codes: [0; BLOCK], order }
    }

    fn load_points<T: Integer>(&mut self, level: Level, coords: &[T]) {
        dispatch!(level, _simd => load_points(coords, &mut self.axes));
    }

    fn load_codes<T: Integer>(&mut self, level: Level, index: &[T]) {
        dispatch!(level, _simd => load_codes(index, &mut self.codes));
    }

    fn store_codes<U: Integer>(&self, level: Level, out: &mut [U]) {
        dispatch!(level, _simd => store_codes(&self.codes, out));
    }

    fn store_points<U: Integer>(&self, level: Level, out: &mut [U]) {
        dispatch!(level, _simd => store_points(&self.axes, out));
    }

    fn convert(&mut self, level: Level, curve: Curve, direction: Direction, n: usize) {
        dispatch!(level, simd => self.convert_on(simd, curve, direction, n));
    }
}

impl Space {
    #[inline(always)]
    fn convert_on<S: Simd>(&mut self, simd: S, curve: Curve, direction: Direction, n: usize) {
        let Self { axes, codes, order } = self;
        let [z, y, x] = axes;
        let lanes = S::u32s::LEN;
        let n = n.next_multiple_of(WAYS * lanes);
        if let Direction::Decode = direction {
            for (i, &code) in codes[..n].iter().enumerate() {
                (z[i], y[i], x[i]) = (gather3(code >> 2) as u32, gather3(code >> 1) as u32, gather3(code) as u32);
            }
        }
        if let Curve::Hilbert = curve {
            for start in (0..n).step_by(WAYS * lanes) {
                let mut points = [[S::u32s::splat(simd, 0); 3]; WAYS];
                for (way, point) in points.iter_mut().enumerate() {
                    let at = start + way * lanes..start + (way + 1) * lanes;
                    *point = [
                        S::u32s::from_slice(simd, &z[at.clone()]),
                        S::u32s::from_slice(simd, &y[at.clone()]),
                        S::u32s::from_slice(simd, &x[at]),
                    ];
                }
                match direction {
                    Direction::Encode => transpose::<S>(simd, &mut points, *order),
                    Direction::Decode => untranspose::<S>(simd, &mut points, *order),
                }
                for (way, [a, b, c]) in points.into_iter().enumerate() {
                    let at = start + way * lanes..start + (way + 1) * lanes;
                    a.store_slice(&mut z[at.clone()]);
                    b.store_slice(&mut y[at.clone()]);
                    c.store_slice(&mut x[at]);
                }
            }
        }
        if let Direction::Encode = direction {
            for (i, code) in codes[..n].iter_mut().enumerate() {
                *code = spread3(u64::from(z[i])) << 2 | spread3(u64::from(y[i])) << 1 | spread3(u64::from(x[i]));
            }
        }
    }
}

/// Points to transposed places.
#[inline(always)]
fn transpose<S: Simd>(simd: S, points: &mut [[S::u32s; 3]; WAYS], order: u32) {
    for point in points.iter_mut() {
        *point = turned_axes::<S>(*point, order);
    }
    for level in (1..order).rev() {
        for [a, b, c] in points.iter_mut() {
            *a = invert::<S>(simd, *a, level);
            (*a, *b) = turn::<S>(simd, *a, *b, level);
            (*a, *c) = turn::<S>(simd, *a, *c, level);
        }
    }
    for [a, b, c] in points.iter_mut() {
        *b ^= *a;
        *c ^= *b;
        // Bit j becomes the parity of the last axis's bits above j.
        let mut parity = *c >> 1;
        parity ^= parity >> 1;
        parity ^= parity >> 2;
        parity ^= parity >> 4;
        parity ^= parity >> 8;
        parity ^= parity >> 16;
        (*a, *b, *c) = (*a ^ parity, *b ^ parity, *c ^ parity);
    }
}

/// Transposed places to points.
#[inline(always)]
fn untranspose<S: Simd>(simd: S, points: &mut [[S::u32s; 3]; WAYS], order: u32) {
    for [a, b, c] in points.iter_mut() {
        let last = *c >> 1;
        *c ^= *b;
        *b ^= *a;
        *a ^= last;
    }
    for level in 1..order {
        for [a, b, c] in points.iter_mut() {
            (*a, *c) = turn::<S>(simd, *a, *c, level);
            (*a, *b) = turn::<S>(simd, *a, *b, level);
            *a = invert::<S>(simd, *a, level);
        }
    }
    for point in points.iter_mut() {
        *point = turned_axes::<S>(*point, 2 * order);
    }
}

/// The axes rotated by `order` places; rotating by twice as many more undoes it.
#[inline(always)]
fn turned_axes<S: Simd>([a, b, c]: [S::u32s; 3], order: u32) -> [S::u32s; 3] {
    match order % 3 {
        0 => [a, b, c],
        1 => [b, c, a],
        _ => [c, a, b],
    }
}

/// Below `level`: inverts `a` where it has the level's bit.
#[inline(always)]
fn invert<S: Simd>(simd: S, a: S::u32s, level: u32) -> S::u32s {
    a ^ (has_bit::<S>(simd, a, level) & ((1 << level) - 1))
}

/// Below `level`: inverts `a` where `b` has the level's bit, else exchanges the two.
#[inline(always)]
fn turn<S: Simd>(simd: S, a: S::u32s, b: S::u32s, level: u32) -> (S::u32s, S::u32s) {
    let (set, below) = (has_bit::<S>(simd, b, level), (1 << level) - 1);
    let (exchange, invert) = ((a ^ b) & !set & below, set & below);
    (a ^ exchange ^ invert, b ^ exchange)
}

/// All ones where `a` has the level's bit.
#[inline(always)]
fn has_bit<S: Simd>(simd: S, a: S::u32s, level: u32) -> S::u32s {
    S::u32s::splat(simd, 0) - (a >> level & 1)
}

#[inline(always)]
fn load_points<T: Integer>(coords: &[T], [z, y, x]: &mut [[u32; BLOCK]; 3]) {
    for (((row, z), y), x) in coords.chunks_exact(3).zip(z).zip(y).zip(x) {
        (*z, *y, *x) = (row[0].bits() as u32, row[1].bits() as u32, row[2].bits() as u32);
    }
}

#[inline(always)]
fn load_codes<T: Integer>(index: &[T], codes: &mut [u64; BLOCK]) {
    for (code, given) in codes.iter_mut().zip(index) {
        *code = given.bits();
    }
}

#[inline(always)]
fn store_codes<U: Integer>(codes: &[u64; BLOCK], out: &mut [U]) {
    for (out, &code) in out.iter_mut().zip(codes) {
        *out = U::from_bits(code);
    }
}

#[inline(always)]
fn store_points<U: Integer>([z, y, x]: &[[u32; BLOCK]; 3], out: &mut [U]) {
    for (((row, &z), &y), &x) in out.chunks_exact_mut(3).zip(z).zip(y).zip(x) {
        row[0] = U::from_bits(u64::from(z));
        row[1] = U::from_bits(u64::from(y));
        row[2] = U::from_bits(u64::from(x));
    }
}
