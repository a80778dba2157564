//! The soft cap of scores.

use super::element::Accumulator;
use fearless_simd::{Simd, prelude::*};

/// The soft cap `c · tanh(score / c)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftCap<A> {
    cap: A,
    inverse: A,
}

impl<A: Accumulator> SoftCap<A> {
    pub(crate) fn new(cap: f64) -> Self {
        Self { cap: A::from_f64(cap), inverse: A::from_f64(1.0 / cap) }
    }

    /// Caps scores.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, simd: S, s: A::V<S>) -> A::V<S> {
        A::tanh(simd, s * A::V::<S>::splat(simd, self.inverse)) * A::V::<S>::splat(simd, self.cap)
    }

    /// [`Self::apply`] to a native vector.
    #[inline(always)]
    pub(crate) fn apply_native<S: Simd>(&self, simd: S, s: A::N<S>) -> A::N<S> {
        A::tanh_native(simd, s * A::N::<S>::splat(simd, self.inverse)) * A::N::<S>::splat(simd, self.cap)
    }

    /// The derivative, from the capped score.
    #[inline(always)]
    pub(crate) fn slope<S: Simd>(&self, simd: S, capped: A::V<S>) -> A::V<S> {
        let share = capped * A::V::<S>::splat(simd, self.inverse);
        A::V::<S>::splat(simd, A::ONE) - share * share
    }

    /// [`Self::slope`] of a native vector.
    #[inline(always)]
    pub(crate) fn slope_native<S: Simd>(&self, simd: S, capped: A::N<S>) -> A::N<S> {
        let share = capped * A::N::<S>::splat(simd, self.inverse);
        A::N::<S>::splat(simd, A::ONE) - share * share
    }
}
