//! A research pattern: positions scattered over the plane of a Julia set see those that escape as fast as they do.

use super::Span;
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::index_set::IndexSet;
use num_complex::Complex64;

/// The real root of x³ = x + 1; its powers make the plane's most even Kronecker sequence (M. Roberts' R₂).
const PLASTIC: f64 = 1.324_717_957_244_746;
/// Half the side of the square of the plane that the positions fill.
const EXTENT: f64 = 1.5;
/// Positions that one task handles.
const PIECE: usize = 1024;

/// Keys within `window` positions, and the `neighbours` nearest earlier and later positions of the query's own level.
///
/// Position i stands at the i-th point of the R₂ sequence in the square |Re z|, |Im z| ≤ 1.5. Its level is the number
/// of steps z ← z² + c that it stays within |z| ≤ 2, at most `max_iter`. Prefix-stable and symmetric.
pub fn julia(
    span: Span,
    c: Complex64,
    window: usize,
    neighbours: usize,
    max_iter: u32,
    executor: &dyn Executor,
) -> Result<IndexSet> {
    if !c.is_finite() {
        return Err(KernelError::value("c", c, "a finite number"));
    }
    if max_iter == 0 {
        return Err(KernelError::value("max_iter", max_iter, "at least 1"));
    }
    let mut levels = vec![0u32; span.n_keys()];
    for_each_chunk(executor, &mut levels, PIECE, |task, piece| {
        for (i, level) in piece.iter_mut().enumerate() {
            *level = escape_level(place(task * PIECE + i), c, max_iter);
        }
    });
    // Positions of each level in order, and where among them each position is.
    let mut members: Vec<u32> = (0..span.n_keys() as u32).collect();
    members.sort_by_key(|&position| levels[position as usize]);
    let mut rank = vec![0usize; span.n_keys()];
    members.iter().enumerate().for_each(|(r, &position)| rank[position as usize] = r);
    IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
        let position = span.position(query);
        let start = keys.len();
        let last = position.saturating_add(window + 1).min(span.end(position));
        keys.extend((position.saturating_sub(window)..last).map(|key| key as i32));
        let near = rank[position].saturating_sub(neighbours)..(rank[position] + neighbours + 1).min(members.len());
        let alike = members[near].iter().filter(|&&key| levels[key as usize] == levels[position]);
        keys.extend(alike.filter(|&&key| (key as usize) < span.end(position)).map(|&key| key as i32));
        keys[start..].sort_unstable();
        let mut previous = -1;
        let mut kept = start;
        for read in start..keys.len() {
            if keys[read] != previous {
                previous = keys[read];
                keys[kept] = previous;
                kept += 1;
            }
        }
        keys.truncate(kept);
    })
}

/// Where a position stands in the plane.
fn place(position: usize) -> Complex64 {
    let along = |step: f64| EXTENT * (2.0 * (0.5 + step * position as f64).fract() - 1.0);
    Complex64::new(along(1.0 / PLASTIC), along(1.0 / (PLASTIC * PLASTIC)))
}

/// Steps of z ← z² + c within |z| ≤ 2, at most `max_iter`.
fn escape_level(mut z: Complex64, c: Complex64, max_iter: u32) -> u32 {
    for step in 0..max_iter {
        if z.norm_sqr() > 4.0 {
            return step;
        }
        z = z * z + c;
    }
    max_iter
}
