//! Patterns that are the same at every position: windows and integer Cantor sets, held as offsets.

use super::Span;
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
pub fn cantor(span: Span, base: u64, digits: &[u64]) -> Result<IndexSet> {
    symmetric(span, digit_offsets(span.n_keys() as u64, base, digits)?)
}

/// The integers below `n` whose digits in base `base` all lie in `digits`, which holds 0; increasing.
pub fn digit_offsets(n: u64, base: u64, digits: &[u64]) -> Result<Vec<i64>> {
    if base < 2 {
        return Err(KernelError::value("base", base, "at least 2"));
    }
    if digits.first() != Some(&0) || digits.windows(2).any(|w| w[0] >= w[1]) || digits.iter().any(|&d| d >= base) {
        return Err(KernelError::value(
            "digits",
            format!("{digits:?}"),
            format!("increasing, from 0, below base = {base}"),
        ));
    }
    let mut set = vec![0u64];
    let mut power = 1u64;
    while power < n {
        let shorter = set.len();
        for &digit in &digits[1..] {
            let leading = digit.saturating_mul(power);
            let fitting = set[..shorter].partition_point(|&s| s < n.saturating_sub(leading));
            set.extend_from_within(..fitting);
            let grown = set.len();
            set[grown - fitting..].iter_mut().for_each(|s| *s += leading);
        }
        power = power.saturating_mul(base);
    }
    Ok(set.into_iter().map(|s| s as i64).collect())
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
