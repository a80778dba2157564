//! The Sierpinski triangle as a relation: i attends to j where the bits of j are among those of i.

use super::span::Span;
use crate::error::Result;
use crate::executor::Executor;
use crate::index_set::IndexSet;
use crate::memory;

/// Keys j with `i & j == j`: 2^popcount(i) of them, 3^k edges among the first 2^k positions, all at or before i.
///
/// The relation is transitive: stacking layers reaches nothing new.
pub fn sierpinski(span: Span, executor: &dyn Executor) -> Result<IndexSet> {
    memory::room::<i32>("n_keys", edges(span.n_keys()) - edges(span.position(0)))?;
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

/// Number of edges of the first `n` positions: a position 2^k + i < 2^(k+1) has twice as many keys as position i.
fn edges(n: usize) -> u64 {
    n.checked_ilog2().map_or(0, |k| 3u64.pow(k) + 2 * edges(n - (1 << k)))
}

#[cfg(test)]
mod tests {
    use super::edges;

    #[test]
    fn edges_are_those_of_all_rows() {
        let counted = |n: usize| (0..n).map(|i| 1u64 << i.count_ones()).sum::<u64>();
        assert!((0..300).all(|n| edges(n) == counted(n)));
    }
}
