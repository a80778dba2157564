//! Dropout from a counter: the same (seed, head, query, key) gives the same draw in any order of work.

use super::element::Real;

/// Dropout of attention weights, drawn from a counter.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Chance that a weight is dropped, 0 ≤ p < 1.
    pub p: f64,
    /// Which draw.
    pub seed: u64,
}

/// Finaliser of splitmix64 (Steele, Lea and Flood, 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The draws of one head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw<A> {
    head: u64,
    threshold: u64,
    kept: A,
}

impl<A: Real> Draw<A> {
    pub(crate) fn new(dropout: Dropout, batch: usize, head: usize) -> Self {
        let head = mix(dropout.seed ^ mix((batch as u64) << 32 | head as u64).wrapping_add(0x9e37_79b9_7f4a_7c15));
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
