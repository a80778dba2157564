//! What few queries of a tile use: dot products with rows that lie anywhere, and weighted sums of them.

use super::element::{Real, Storage};
use super::micro::{add_columns, add_rows, dots, fold_all};
use super::rows::Panel;
use fearless_simd::{Simd, prelude::*};

/// Rows of one head, by key.
pub(crate) trait Gather<A: Real> {
    /// Dot products of `q` with up to `N` rows, one a lane; lanes past the last key are of no meaning.
    fn dots<S: Simd, const N: usize>(&mut self, simd: S, q: &[A], keys: &[u32]) -> A::N<S>;

    /// `sum += Σ_i weights[i] · row(keys[i])` for up to `N` keys, `C` native vectors at a time.
    fn add<S: Simd, const N: usize, const C: usize>(&mut self, simd: S, sum: &mut [A], weights: &[A], keys: &[u32]);
}

impl<T: Storage> Gather<T::Acc> for Panel<'_, T> {
    #[inline(always)]
    fn dots<S: Simd, const N: usize>(&mut self, simd: S, q: &[T::Acc], keys: &[u32]) -> <T::Acc as Real>::N<S> {
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

/// Columns of a block.
const WIDTH: usize = 64;

/// Rows that are read in place and are made of whole blocks, as those of most models are: one multiplication and one check
/// a block, and loops of a length that the compiler knows.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a, A> {
    data: &'a [[A; WIDTH]],
    first: usize,
    stride: usize,
    /// Blocks of a row.
    count: usize,
}

impl<'a, A: Real> Blocks<'a, A> {
    /// `None` where the rows do not lie so.
    pub(crate) fn new(data: &'a [A], first: usize, stride: isize, width: usize) -> Option<Self> {
        let stride = usize::try_from(stride).ok()?;
        let lie_so = width > 0 && [first, stride, width].iter().all(|x| x % WIDTH == 0);
        let blocks = |x: usize| x / WIDTH;
        lie_so.then(|| Self {
            data: data.as_chunks().0,
            first: blocks(first),
            stride: blocks(stride),
            count: blocks(width),
        })
    }

    #[inline(always)]
    fn block(&self, key: u32, at: usize) -> &'a [A; WIDTH] {
        &self.data[self.first + key as usize * self.stride + at]
    }

    #[inline(always)]
    fn dots_of<S: Simd, const N: usize>(&self, simd: S, q: &[A], keys: &[u32; N]) -> A::N<S> {
        let mut sums = [A::N::<S>::splat(simd, A::default()); N];
        for (at, q) in q.as_chunks::<WIDTH>().0.iter().enumerate().take(self.count) {
            // Eight rows at a time: their addresses stay in registers. Block after block is added to the same sums, in
            // the order of `micro::dots`: the backward pass must find the very scores of the forward pass.
            for (sums, keys) in sums.as_chunks_mut::<8>().0.iter_mut().zip(keys.as_chunks::<8>().0) {
                *sums = self.add_products(simd, *sums, q, keys, at);
            }
            for (sum, key) in sums.as_chunks_mut::<8>().1.iter_mut().zip(keys.as_chunks::<8>().1) {
                [*sum] = self.add_products(simd, [*sum], q, &[*key], at);
            }
        }
        fold_all::<S, A, N>(sums)
    }

    /// Adds the products of a block of `q` with those of some rows, lane by lane.
    #[inline(always)]
    fn add_products<S: Simd, const N: usize>(
        &self,
        simd: S,
        mut sums: [A::N<S>; N],
        q: &[A; WIDTH],
        keys: &[u32; N],
        at: usize,
    ) -> [A::N<S>; N] {
        let lanes = A::N::<S>::LEN;
        let mut rows = [q; N];
        for n in 0..N {
            rows[n] = self.block(keys[n], at);
        }
        for column in (0..WIDTH).step_by(lanes) {
            let x = A::N::<S>::from_slice(simd, &q[column..column + lanes]);
            for n in 0..N {
                sums[n] = x.mul_add(A::N::<S>::from_slice(simd, &rows[n][column..column + lanes]), sums[n]);
            }
        }
        sums
    }
}

impl<A: Real> Gather<A> for Blocks<'_, A> {
    #[inline(always)]
    fn dots<S: Simd, const N: usize>(&mut self, simd: S, q: &[A], keys: &[u32]) -> A::N<S> {
        // Whole steps read their keys where they lie: from a copy, written as one vector, each would wait for the store.
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
