//! The Sierpinski triangle as a relation: i attends to j where the bits of j are among those of i.

use super::Span;
use crate::error::Result;
use crate::executor::Executor;
use crate::index_set::IndexSet;

/// Keys j with `i & j == j`: 2^popcount(i) of them, 3^k pairs among the first 2^k positions, all at or before i.
///
/// The relation is transitive: stacking layers reaches nothing new.
pub fn sierpinski(span: Span, executor: &dyn Executor) -> Result<IndexSet> {
    IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
        let bits = span.position(query);
        // j -> (j - bits) & bits walks the subsets of `bits` upwards from the empty one.
        let mut subset = 0usize;
        loop {
            keys.push(subset as i32);
            if subset == bits {
                break;
            }
            subset = subset.wrapping_sub(bits) & bits;
        }
    })
}
