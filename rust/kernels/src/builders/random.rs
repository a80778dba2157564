//! Random keys from a counter-based generator: a row depends on the seed and its own position alone.

use super::span::Span;
use crate::error::Result;
use crate::executor::Executor;
use crate::index_set::IndexSet;
use crate::memory::{self, Entries};
use crate::splitmix::next;

/// For each position itself and `min(k, position)` distinct earlier ones, drawn uniformly; unless the span is causal
/// also every later position that drew it (the set is then symmetric). Prefix-stable either way.
pub fn random(span: Span, k: usize, seed: u64, executor: &dyn Executor) -> Result<IndexSet> {
    memory::room::<i32>("k", span.least_edges(k))?;
    if span.causal() {
        return IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
            draw(span.position(query), k, seed, keys);
        });
    }
    let all = IndexSet::from_rows(span.n_keys(), span.n_keys(), executor, |position, keys| {
        draw(position, k, seed, keys);
    })?;
    all.union(&all.transpose()?, executor)?.rows(span.position(0), span.n_keys())
}

/// Appends `position` and `min(k, position)` distinct smaller numbers, increasing (Floyd's sampling).
fn draw(position: usize, k: usize, seed: u64, keys: &mut Entries<i32>) {
    let start = keys.len();
    let stream = next(seed ^ next(position as u64));
    for last in position.saturating_sub(k)..position {
        let counter = (last - position.saturating_sub(k)) as u64;
        let pick = below(next(stream.wrapping_add(counter)), last as u64 + 1) as i32;
        // All keys so far are below `last`, so either insertion keeps them sorted and unique.
        match keys[start..].binary_search(&pick) {
            Ok(_) => keys.push(last as i32),
            Err(slot) => keys.insert(start + slot, pick),
        }
    }
    keys.push(position as i32);
}

/// A number below `bound` from 64 random bits.
fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}
