//! Counter-based dropout: the same (seed, batch, head, query, key) gives the same draw in any order of work.

use super::element::Accumulator;
use crate::splitmix::{GAMMA, mix};

/// Dropout of attention weights.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Probability that a weight is dropped, 0 ≤ p < 1.
    pub p: f64,
    /// Seed of the draws.
    pub seed: u64,
}

/// The draws of one head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw<A> {
    head: u64,
    threshold: u64,
    kept: A,
}

impl<A: Accumulator> Draw<A> {
    pub(crate) fn new(dropout: Dropout, batch: usize, head: usize) -> Self {
        let head = mix(dropout.seed ^ mix((batch as u64) << 32 | head as u64).wrapping_add(GAMMA));
        // Dropped when the upper 53 bits, as a fraction of 2^53, are below p.
        let threshold = (dropout.p * (1u64 << 53) as f64) as u64;
        Self { head, threshold, kept: A::from_f64(1.0 / (1.0 - dropout.p)) }
    }

    /// Factor on one weight: 0 or 1 / (1 − p).
    #[inline]
    pub(crate) fn factor(&self, query: usize, key: usize) -> A {
        let draw = mix(self.head ^ mix((query as u64) << 32 | key as u64)) >> 11;
        if draw < self.threshold { A::default() } else { self.kept }
    }
}
