//! The queries and keys that a builder works for.

use crate::error::{KernelError, Result};

/// The positions of the queries and the number of keys: the queries are the last `n_queries` of `n_keys` positions.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub(super) n_queries: usize,
    pub(super) n_keys: usize,
    pub(super) causal: bool,
}

impl Span {
    /// Refuses an empty sequence, more queries than keys and more keys than 2³¹ − 1.
    pub fn new(n_queries: usize, n_keys: usize, causal: bool) -> Result<Self> {
        if n_keys == 0 || n_keys > i32::MAX as usize {
            return Err(KernelError::value("n_keys", n_keys, "1 to 2^31 - 1"));
        }
        if n_queries == 0 || n_queries > n_keys {
            return Err(KernelError::value("n_queries", n_queries, format!("1 to n_keys = {n_keys}")));
        }
        Ok(Self { n_queries, n_keys, causal })
    }

    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.n_queries
    }

    /// Number of keys.
    pub fn n_keys(&self) -> usize {
        self.n_keys
    }

    /// Whether keys after the query are left out.
    pub fn causal(&self) -> bool {
        self.causal
    }

    /// Position of a query among the keys.
    pub fn position(&self, query: usize) -> usize {
        self.n_keys - self.n_queries + query
    }

    /// Number of edges of a set in which each query has its own key and up to `before` earlier ones.
    pub(super) fn least_edges(&self, before: usize) -> u64 {
        let rows = |positions: usize| {
            // Positions after the first `before` have all `before` earlier keys.
            let (positions, short) = (positions as u64, positions.min(before) as u64);
            short * (short + 1) / 2 + (positions - short) * (before.min(self.n_keys) as u64 + 1)
        };
        rows(self.n_keys) - rows(self.position(0))
    }

    /// One past the last key that the position may attend to.
    pub fn end(&self, position: usize) -> usize {
        if self.causal { position + 1 } else { self.n_keys }
    }
}
