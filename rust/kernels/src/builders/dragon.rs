//! Neighbours on the lattice of the Heighway dragon.

use super::Span;
use crate::dragon::vertices;
use crate::error::Result;
use crate::executor::Executor;
use crate::index_set::IndexSet;

/// Keys whose vertices of the dragon curve are within Chebyshev distance `radius` of the query's. Prefix-stable and
/// symmetric; two positions that share a vertex see each other at radius 0.
pub fn dragon(span: Span, radius: usize, executor: &dyn Executor) -> Result<IndexSet> {
    let path = vertices(span.n_keys())?;
    let mut places: Vec<(i64, i64, i32)> =
        path.chunks_exact(2).enumerate().map(|(position, v)| (v[0], v[1], position as i32)).collect();
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
