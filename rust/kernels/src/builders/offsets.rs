//! Patterns that are the same at every position: windows and integer Cantor sets, held as offsets.

use super::span::Span;
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::index_set::IndexSet;
use crate::memory;
use crate::sets::cantor::{digit_offsets, numerators};

/// Keys at most `radius` positions away.
pub fn window(span: Span, radius: usize) -> Result<IndexSet> {
    let radius = radius.min(span.n_keys() - 1) as i64;
    symmetric(span, &memory::collected("radius", 0..=radius)?)
}

/// Keys whose distance from the query has only `digits` in base `base`.
///
/// With digits {0, 1} exactly `base − 1` steps reach every distance; digits {0, 2} of base 3 reach even ones only.
pub fn cantor(span: Span, base: i64, digits: &[i64]) -> Result<IndexSet> {
    if !digits.contains(&0) {
        return Err(KernelError::value("digits", format!("{digits:?}"), "digits with 0, the query's own key"));
    }
    symmetric(span, &digit_offsets(span.n_keys() as i64, base, digits)?)
}

/// Keys at the Cantor points of the whole sequence, the same for every query, and the query's own.
///
/// The points are floor(x·n), n = `n_keys`, for the left ends x of the 2^`depth` intervals of step `depth` of the
/// middle-thirds construction: those of every smaller depth are among them. They move as the sequence grows.
pub fn cantor_samples(span: Span, depth: u32, executor: &dyn Executor) -> Result<IndexSet> {
    let samples = sample_positions(span.n_keys(), depth)?;
    IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
        let own = span.position(query) as i32;
        let before = samples.partition_point(|&key| key < own);
        keys.extend_from_slice(&samples[..before]);
        keys.push(own);
        if !span.causal() {
            let after = samples.partition_point(|&key| key <= own);
            keys.extend_from_slice(&samples[after..]);
        }
    })
}

/// The positions floor(x·n) of the Cantor points of step `depth`, increasing, each once.
fn sample_positions(n: usize, depth: u32) -> Result<Vec<i32>> {
    let numerators = numerators(depth)?;
    let scale = 3i128.pow(depth);
    let positions = numerators.iter().map(|&p| (i128::from(p) * n as i128 / scale) as i32);
    let mut positions = memory::collected("depth", positions)?;
    positions.dedup();
    Ok(positions)
}

/// The given distances looking back and, unless the span is causal, ahead. `distances` increase from 0.
fn symmetric(span: Span, distances: &[i64]) -> Result<IndexSet> {
    let ahead = if span.causal() { &[][..] } else { &distances[1.min(distances.len())..] };
    let mut offsets = memory::with_capacity("n_keys", ahead.len() + distances.len())?;
    offsets.extend(ahead.iter().rev().map(|d| -d));
    offsets.extend_from_slice(distances);
    IndexSet::from_offsets(offsets, span.n_queries(), span.n_keys(), (span.n_keys() - span.n_queries()) as i64)
}
