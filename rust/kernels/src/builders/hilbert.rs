//! Neighbourhoods of Hilbert cells: of a sequence laid along the curve, and of a raster box.

use super::block_order::{Side, block_order};
use super::span::Span;
use crate::curves::hilbert::{decode_point, encode_point};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::index_set::IndexSet;

/// Keys whose cells are within Chebyshev distance `radius` of the query's, position i being the i-th cell of the
/// plane's Hilbert curve. The curve does not turn as it grows, so the set is prefix-stable; it is symmetric.
pub fn hilbert(span: Span, radius: usize, executor: &dyn Executor) -> Result<IndexSet> {
    let order = usize::BITS.saturating_sub((span.n_keys() - 1).leading_zeros()).div_ceil(2).max(1);
    let side = 1u64 << order;
    let radius = (radius as u64).min(side);
    IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
        let position = span.position(query);
        let mut cell = [0u64; 2];
        decode_point(position as u64, &mut cell, order);
        let start = keys.len();
        for x in cell[0].saturating_sub(radius)..=(cell[0] + radius).min(side - 1) {
            for y in cell[1].saturating_sub(radius)..=(cell[1] + radius).min(side - 1) {
                let key = encode_point(&mut [x, y], order) as usize;
                if key < span.end(position) {
                    keys.push(key as i32);
                }
            }
        }
        keys[start..].sort_unstable();
    })
}

/// Keys within Chebyshev distance `radius` in a raster box of 1 to 3 axes, last axis fastest; cut off at the borders.
///
/// The span has as many keys as the box has cells. A plan takes the queries of a plane or a volume block by block, see
/// `block_order`.
pub fn hilbert_box(span: Span, shape: &[usize], radius: usize, executor: &dyn Executor) -> Result<IndexSet> {
    if shape.is_empty() || shape.len() > 3 {
        return Err(KernelError::shape("shape", format!("{shape:?}"), "1 to 3 axes"));
    }
    let cells = shape.iter().try_fold(1usize, |cells, &side| cells.checked_mul(side));
    if cells != Some(span.n_keys()) {
        return Err(KernelError::shape("n_keys", span.n_keys(), format!("the cells of shape {shape:?}")));
    }
    let mut sides = [1usize; 3];
    sides[3 - shape.len()..].copy_from_slice(shape);
    let [_, height, width] = sides;
    let reach = |at: usize, side: usize| at.saturating_sub(radius)..at.saturating_add(radius + 1).min(side);
    let set = IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
        let position = span.position(query);
        let (z, y, x) = (position / (height * width), position / width % height, position % width);
        for z in reach(z, sides[0]) {
            for y in reach(y, height) {
                let line = (z * height + y) * width;
                let row = reach(x, width).map(|x| line + x).take_while(|&key| key < span.end(position));
                keys.extend(row.map(|key| key as i32));
            }
        }
    })?;
    let sides: Vec<Side> =
        shape.iter().map(|&len| Side { len, window: 2 * radius.min(len) + 1, stride: 1, residues: 1 }).collect();
    match block_order(&sides, span.position(0))? {
        Some(order) => set.with_order(order),
        None => Ok(set),
    }
}
