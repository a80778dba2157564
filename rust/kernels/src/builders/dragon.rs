//! Neighbours on the lattice of the Heighway dragon.

use super::span::Span;
use crate::curves::dragon::{heading, unit, vertex, vertices};
use crate::error::Result;
use crate::executor::Executor;
use crate::index_set::IndexSet;
use crate::memory::{self, Entries};

/// Keys for each query from which on queries are few: then the neighbours of each are searched one by one.
const FEW: usize = 256;

/// Keys whose vertices of the dragon curve are within Chebyshev distance `radius` of the query's. Prefix-stable and
/// symmetric; two positions that share a vertex attend to each other at radius 0.
pub fn dragon(span: Span, radius: usize, executor: &dyn Executor) -> Result<IndexSet> {
    if span.n_queries().saturating_mul(FEW) <= span.n_keys() {
        return IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
            let position = span.position(query);
            near(vertex(position as u64), radius, span.end(position), keys);
        });
    }
    let path = vertices(span.n_keys())?;
    let placed = path.chunks_exact(2).enumerate().map(|(position, v)| (v[0], v[1], position as i32));
    let mut places: Vec<(i64, i64, i32)> = memory::collected("n_keys", placed)?;
    places.sort_unstable();
    let radius = radius.min(span.n_keys()) as i64;
    IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
        let position = span.position(query);
        let (x, y) = (path[2 * position], path[2 * position + 1]);
        let start = keys.len();
        let mut column = places.partition_point(|p| p.0 < x - radius);
        while let Some(&(at, ..)) = places.get(column).filter(|p| p.0 <= x + radius) {
            let first = column + places[column..].partition_point(|p| (p.0, p.1) < (at, y - radius));
            let last = first + places[first..].partition_point(|p| (p.0, p.1) <= (at, y + radius));
            keys.extend(places[first..last].iter().map(|p| p.2).filter(|&key| (key as usize) < span.end(position)));
            column = last + places[last..].partition_point(|p| p.0 <= at);
        }
        keys[start..].sort_unstable();
    })
}

/// Positions below `end` whose vertices are within `radius` of a place, in order; returns the number of pieces visited.
///
/// The path is halved recursively: a piece of 2^m steps stays within (2^(m/2) - 1) / (sqrt(2) - 1) of its start, so
/// of each size only the few pieces near the place are searched.
fn near((x, y): (i64, i64), radius: usize, end: usize, keys: &mut Entries<i32>) -> usize {
    let radius = radius.min(end) as f64;
    let levels = usize::BITS - end.saturating_sub(1).leading_zeros();
    // (1 + i)^m, from the start of a piece of 2^m steps to its end where its first heading is 0.
    let mut chords = vec![(1i64, 0i64)];
    for m in 0..levels as usize {
        let (a, b) = chords[m];
        chords.push((a - b, a + b));
    }
    let mut visited = 0;
    let mut waiting = vec![(levels, 0u64, 0i64, 0i64)];
    while let Some((m, piece, at_x, at_y)) = waiting.pop() {
        let first = piece << m;
        if first >= end as u64 {
            continue;
        }
        visited += 1;
        let reach = radius + ((0.5 * f64::from(m)).exp2() - 1.0) * (std::f64::consts::SQRT_2 + 1.0) + 1e-6;
        if (at_x - x).abs() as f64 > reach || (at_y - y).abs() as f64 > reach {
            continue;
        }
        if m == 0 {
            keys.push(first as i32);
            continue;
        }
        let ((dx, dy), (a, b)) = (unit(heading(2 * piece)), chords[m as usize - 1]);
        waiting.push((m - 1, 2 * piece + 1, at_x + dx * a - dy * b, at_y + dx * b + dy * a));
        waiting.push((m - 1, 2 * piece, at_x, at_y));
    }
    visited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vertex_alone_is_that_of_the_path() {
        let path = vertices(3000).unwrap();
        assert!((0..3000).all(|k| vertex(k as u64) == (path[2 * k], path[2 * k + 1])));
    }

    #[test]
    fn keys_near_a_vertex_are_those_of_the_whole_path() {
        let end = 2500;
        let path = vertices(end).unwrap();
        for (at, radius) in (0..end).step_by(97).flat_map(|at| [0usize, 1, 2, 7].map(|radius| (at, radius))) {
            let (x, y) = (path[2 * at], path[2 * at + 1]);
            let close = |k: &usize| (path[2 * k] - x).abs().max((path[2 * k + 1] - y).abs()) <= radius as i64;
            let expected: Vec<i32> = (0..end).filter(close).map(|k| k as i32).collect();
            let mut keys = Entries::new("n_keys");
            near((x, y), radius, end, &mut keys);
            assert_eq!(*keys, expected);
        }
    }

    #[test]
    fn the_work_of_one_query_grows_with_the_logarithm_of_the_keys() {
        for bits in [10usize, 20, 30] {
            let end = (1 << bits) - 5;
            let visited = near(vertex(end as u64 - 1), 1, end, &mut Entries::new("n_keys"));
            assert!(visited <= 80 * bits, "{visited} pieces for 2^{bits} keys");
        }
    }
}
