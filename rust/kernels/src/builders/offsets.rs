//! Patterns that are the same at every position: windows and integer Cantor sets, held as offsets.

use super::Span;
use crate::cantor::digit_offsets;
use crate::error::{KernelError, Result};
use crate::index_set::IndexSet;

/// Keys at most `radius` positions away.
pub fn window(span: Span, radius: usize) -> Result<IndexSet> {
    let radius = radius.min(span.n_keys() - 1) as i64;
    symmetric(span, (0..=radius).collect())
}

/// Keys whose distance from the query has only `digits` in base `base`.
///
/// With digits {0, 1} exactly `base − 1` steps reach every distance; digits {0, 2} of base 3 reach even ones only.
pub fn cantor(span: Span, base: i64, digits: &[i64]) -> Result<IndexSet> {
    if !digits.contains(&0) {
        return Err(KernelError::value("digits", format!("{digits:?}"), "digits with 0, the query's own key"));
    }
    symmetric(span, digit_offsets(span.n_keys() as i64, base, digits)?)
}

/// The given distances looking back and, unless the span is causal, ahead. `distances` increase from 0.
fn symmetric(span: Span, distances: Vec<i64>) -> Result<IndexSet> {
    let mut offsets: Vec<i64> = Vec::new();
    if !span.causal() {
        offsets.extend(distances.iter().skip(1).rev().map(|d| -d));
    }
    offsets.extend(distances);
    IndexSet::from_offsets(offsets, span.n_queries(), span.n_keys(), (span.n_keys() - span.n_queries()) as i64)
}
