//! A Hilbert-like order of the cells of any 2-D or 3-D box.
//!
//! A box with its three legs (the first, `a`, is the one that the path runs along: it starts at the box's corner and
//! ends at the far end of `a`) is cut into smaller boxes, each of which starts next to where the one before ended:
//!
//! * *halves*: a long box in two along `a`;
//! * *bridge*: out along half of `c`, across along `a` in the other half of `c`, and back: the plane's Hilbert step, with
//!   `b` whole;
//! * *tunnel*: `b`, `c`, `a`, `-c`, `-b`: the octants of the cube's Hilbert step, the two pairs that share an edge of the
//!   box joined.
//!
//! A path of unit steps visits the two colours of a checkerboard in turn, so one along `a` needs `a` even, or all
//! legs odd. Cuts are placed so that every part keeps that property: **every step of the order of every box is a unit
//! step**, in the plane and in space. If the longest leg is odd and another is even, the last part of the box (about a
//! cube) runs along the even one, and the order ends there.
//!
//! Squares and cubes of side `2**k` take the codec's curve ([`super::hilbert`]) itself.

use super::hilbert::decode_point;
use super::lattice::check_cells;
use crate::error::{KernelError, Result};
use crate::executor::{Executor, Serial, for_each_chunk};
use crate::memory::{self, OrLeave};
use std::sync::{Mutex, PoisonError};

/// One direction of a box: its raster stride with sign, and its length in cells.
#[derive(Clone, Copy)]
struct Leg {
    stride: i64,
    len: i64,
}

impl Leg {
    fn cut(self, at: i64) -> (Self, Self) {
        (Self { len: at, ..self }, Self { len: self.len - at, ..self })
    }

    fn back(self) -> Self {
        Self { stride: -self.stride, ..self }
    }

    /// From the first cell to the last.
    fn span(self) -> i64 {
        self.stride * (self.len - 1)
    }

    /// From the first cell to the one after the last.
    fn end(self) -> i64 {
        self.stride * self.len
    }
}

/// Raster offsets of the cells of a box of 2 or 3 axes, in curve order: a permutation of `0 .. cells`.
pub fn order(shape: &[usize]) -> Result<Vec<i64>> {
    order_on(shape, &Serial)
}

/// [`order`], on an executor.
pub fn order_on(shape: &[usize], executor: &dyn Executor) -> Result<Vec<i64>> {
    if !matches!(shape.len(), 2 | 3) {
        return Err(KernelError::shape("shape", format!("{} axes", shape.len()), "2 or 3 axes"));
    }
    let cells = check_cells(shape)?;
    if cells == 0 {
        return Ok(Vec::new());
    }
    if shape[0].is_power_of_two() && shape.iter().all(|&s| s == shape[0]) {
        return codec_order(shape[0], shape.len(), cells, executor);
    }
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>() as i64;
    let mut legs = [Leg { stride: 0, len: 1 }; 3];
    for (axis, leg) in legs.iter_mut().take(shape.len()).enumerate() {
        *leg = Leg { stride: stride(axis), len: shape[axis] as i64 };
    }
    // Stable: of equal legs the earlier axis leads.
    legs.sort_by_key(|leg| -leg.len);
    walk_order(legs, cells, executor)
}

/// The walk, cut into boxes of at most [`PIECE`] cells, one task each.
fn walk_order(legs: [Leg; 3], cells: usize, executor: &dyn Executor) -> Result<Vec<i64>> {
    let mut out = memory::zeros::<i64>("shape", cells)?;
    let mut boxes = Boxes(Vec::new());
    start(&mut boxes, legs);
    let (mut rest, mut tasks) = (&mut out[..], memory::with_capacity("shape", boxes.0.len())?);
    for part in boxes.0 {
        let (cells, after) = rest.split_at_mut(part.cells());
        tasks.push(Mutex::new((part, cells)));
        rest = after;
    }
    executor.run(tasks.len(), &|task| {
        let mut task = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
        let (Part { at, legs: [a, b, c] }, cells) = &mut *task;
        walk(&mut Cells(cells.iter_mut()), *at, *a, *b, *c);
    });
    drop(tasks);
    Ok(out)
}

/// Cells of a box that one task walks.
const PIECE: usize = 1 << 14;

/// A box of the walk: its first cell, and its legs.
struct Part {
    at: i64,
    legs: [Leg; 3],
}

impl Part {
    fn cells(&self) -> usize {
        self.legs.iter().map(|leg| leg.len as usize).product()
    }

    /// Whether only the first leg is longer than a cell.
    fn is_row(&self) -> bool {
        self.legs[1].len == 1 && self.legs[2].len == 1
    }
}

/// A visitor of the boxes of a walk; a box comes before its parts.
trait Visitor {
    /// Whether the box is handled, and need not be cut.
    fn takes(&mut self, part: &Part) -> bool;
}

/// Collects small boxes, in order.
struct Boxes(Vec<Part>);

impl Visitor for Boxes {
    fn takes(&mut self, part: &Part) -> bool {
        let small = part.cells() <= PIECE || part.is_row();
        if small {
            memory::push("shape", &mut self.0, Part { ..*part }).or_leave();
        }
        small
    }
}

/// Writes the cells of rows.
struct Cells<'a>(std::slice::IterMut<'a, i64>);

impl Visitor for Cells<'_> {
    fn takes(&mut self, part: &Part) -> bool {
        let lead = part.legs[0];
        if part.is_row() {
            for (i, cell) in (0..lead.len).zip(&mut self.0) {
                *cell = part.at + i * lead.stride;
            }
        }
        part.is_row()
    }
}

/// The codec's curve, written block by block: the blocks of one size are one path in a few orientations.
fn codec_order(side: usize, ndim: usize, cells: usize, executor: &dyn Executor) -> Result<Vec<i64>> {
    let mut out = memory::zeros::<i64>("shape", cells)?;
    let order = side.trailing_zeros();
    // 1024 or 512 cells.
    let low = order.min(if ndim == 2 { 5 } else { 3 });
    let block = 1 << (ndim as u32 * low);
    let offset = |point: [u64; 3]| point[..ndim].iter().fold(0, |offset, &x| offset << order | x as i64);
    let at = |place: usize| {
        let mut point = [0; 3];
        decode_point(place as u64, &mut point[..ndim], order);
        point
    };
    // A block's corner, and the order in which its own halves, quarters or octants come.
    let mut blocks = memory::zeros::<(i64, u32)>("shape", cells / block)?;
    for_each_chunk(executor, &mut blocks, 256, |task, blocks| {
        for (i, entry) in blocks.iter_mut().enumerate() {
            let first = (task * 256 + i) * block;
            let corner = at(first).map(|x| x >> low << low);
            let parts = if low == 0 { 0 } else { 1 << ndim };
            let orientation = (0..parts).fold(0_u32, |seen, part| {
                let point = at(first + part * (block >> ndim));
                point[..ndim].iter().fold(seen, |seen, x| seen << 1 | (x >> (low - 1) & 1) as u32)
            });
            *entry = (offset(corner), orientation);
        }
    });
    let mut paths: Vec<(u32, Vec<i64>)> = Vec::new();
    for (i, &(corner, orientation)) in blocks.iter().enumerate() {
        if paths.iter().all(|path| path.0 != orientation) {
            let path = (i * block..(i + 1) * block).map(|place| offset(at(place)) - corner).collect();
            paths.push((orientation, path));
        }
    }
    let blocks_per_task = 32;
    for_each_chunk(executor, &mut out, blocks_per_task * block, |task, out| {
        for (out, (corner, orientation)) in out.chunks_exact_mut(block).zip(&blocks[task * blocks_per_task..]) {
            let path = paths.iter().find(|path| path.0 == *orientation).map_or(&[][..], |path| &path.1);
            out.iter_mut().zip(path).for_each(|(out, step)| *out = corner + step);
        }
    });
    Ok(out)
}

/// Chooses the leading leg of the whole box; `legs` descend in length.
fn start(out: &mut impl Visitor, [a, b, c]: [Leg; 3]) {
    let even = |leg: &Leg| leg.len % 2 == 0;
    if even(&a) || !(even(&b) || even(&c)) {
        return walk(out, 0, a, b, c);
    }
    // The longest leg is odd and another is even: only the even one can lead.
    let (lead, other) = if even(&b) { (b, c) } else { (c, b) };
    if 2 * a.len <= 3 * b.len {
        return walk(out, 0, lead, a, other);
    }
    // Lead along `a` as far as an even number of cells goes, then turn.
    let last = b.len.min(a.len - 2) | 1;
    let (long, rest) = a.cut(a.len - last);
    walk(out, 0, long, b, c);
    walk(out, long.end(), lead, rest, other);
}

/// Visits the box at `at`: from its corner to the far end of `a`, which is even, or all legs are odd.
fn walk(out: &mut impl Visitor, at: i64, a: Leg, b: Leg, c: Leg) {
    let (b, c) = if b.len > c.len { (c, b) } else { (b, c) };
    if out.takes(&Part { at, legs: [a, b, c] }) {
        return;
    }
    if 2 * a.len > 3 * c.len {
        let (near, far) = a.cut(even_half(a.len));
        walk(out, at, near, b, c);
        return walk(out, at + near.end(), far, b, c);
    }
    let all_odd = a.len % 2 == 1;
    let flat = b.len == 1 || (b.len == 2 && c.len > 2) || 2 * c.len > 3 * b.len;
    if all_odd || flat {
        bridge(out, at, a, b, c);
    } else if c.len % 2 == 1 && b.len % 2 == 0 {
        tunnel(out, at, a, c, b);
    } else {
        tunnel(out, at, a, b, c);
    }
}

/// Out along half of `c`, across along `a`, and back.
fn bridge(out: &mut impl Visitor, at: i64, a: Leg, b: Leg, c: Leg) {
    let (near, far) = c.cut(even_half(c.len));
    let (first, second) = a.cut(a.len / 2);
    walk(out, at, near, first, b);
    walk(out, at + near.end(), a, far, b);
    walk(out, at + a.span() + near.span(), near.back(), second.back(), b);
}

/// Along `b`, then `c`, then `a`, then back `c` and `b`.
fn tunnel(out: &mut impl Visitor, at: i64, a: Leg, b: Leg, c: Leg) {
    let (b1, b2) = b.cut(even_half(b.len));
    let (c1, c2) = c.cut(c.len / 2);
    // With `c` odd, both halves of `a` must be odd.
    let (a1, a2) = a.cut(if c.len % 2 == 1 { (a.len / 2) | 1 } else { a.len / 2 });
    walk(out, at, b1, c1, a1);
    walk(out, at + b1.end(), c, a1, b2);
    walk(out, at + b1.span() + c.span(), a, b1.back(), c2.back());
    walk(out, at + a.span() + b1.end() + c.span(), c.back(), a2.back(), b2);
    walk(out, at + a.span() + b1.span(), b1.back(), c1, a2.back());
}

/// An even number near half of `len`, with at least one left; one for two.
fn even_half(len: i64) -> i64 {
    if len == 2 { 1 } else { ((len / 2 + 1) & !1).min((len - 1) & !1) }
}
