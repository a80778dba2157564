//! Dot products with gathered rows, and weighted sums of them: for keys that few queries of a tile use.

use super::blocked_rows::{BlockedRows, WIDTH};
use super::element::{Accumulator, Storage};
use super::micro::{add_columns, add_rows, dots};
use super::panel::Panel;
use fearless_simd::{Simd, prelude::*};

/// Rows of one head, by key.
pub(crate) trait Gather<A: Accumulator> {
    /// Dot products of `q` with up to `N` rows, one in each lane; lanes past the last key are meaningless.
    fn dots<S: Simd, const N: usize>(&mut self, simd: S, q: &[A], keys: &[u32]) -> A::N<S>;

    /// `sum += Σ_i weights[i] · row(keys[i])` for up to `N` keys, `C` native vectors at a time.
    fn add<S: Simd, const N: usize, const C: usize>(&mut self, simd: S, sum: &mut [A], weights: &[A], keys: &[u32]);
}

impl<T: Storage> Gather<T::Acc> for Panel<'_, T> {
    #[inline(always)]
    fn dots<S: Simd, const N: usize>(&mut self, simd: S, q: &[T::Acc], keys: &[u32]) -> <T::Acc as Accumulator>::N<S> {
        let mut starts = [0; N];
        let data = self.fetch(keys, &mut starts);
        dots::<S, T::Acc, N>(simd, q, data, &starts)
    }

    #[inline(always)]
    fn add<S: Simd, const N: usize, const C: usize>(
        &mut self,
        simd: S,
        sum: &mut [T::Acc],
        weights: &[T::Acc],
        keys: &[u32],
    ) {
        let mut starts = [0; N];
        let data = self.fetch(keys, &mut starts);
        add_rows::<S, T::Acc, C>(simd, sum, weights, data, &starts[..keys.len()]);
    }
}

impl<A: Accumulator> Gather<A> for BlockedRows<'_, A> {
    #[inline(always)]
    fn dots<S: Simd, const N: usize>(&mut self, simd: S, q: &[A], keys: &[u32]) -> A::N<S> {
        // A full step reads its keys in place: reads from a copy would wait for the vector store that writes it.
        if let Ok(keys) = <&[u32; N]>::try_from(keys) {
            return self.dots_of(simd, q, keys);
        }
        let mut full = [keys[keys.len() - 1]; N];
        full[..keys.len()].copy_from_slice(keys);
        self.dots_of(simd, q, &full)
    }

    #[inline(always)]
    fn add<S: Simd, const N: usize, const C: usize>(&mut self, simd: S, sum: &mut [A], weights: &[A], keys: &[u32]) {
        for (at, sum) in sum.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate().take(self.count) {
            for column in (0..WIDTH).step_by(C * A::N::<S>::LEN) {
                add_columns::<S, A, _, C>(simd, sum, column, weights, keys, |key| self.block(key, at));
            }
        }
    }
}
