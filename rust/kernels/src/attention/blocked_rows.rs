//! Rows that are made of whole blocks of columns.

use super::element::Accumulator;
use super::micro::fold_all;
use fearless_simd::{Simd, prelude::*};

/// Columns of a block.
pub(super) const WIDTH: usize = 64;

/// Rows that are read in place and are made of whole blocks, as in most models: one multiplication and one bounds check
/// for each block, and loops of constant length.
#[derive(Clone, Copy)]
pub(crate) struct BlockedRows<'a, A> {
    data: &'a [[A; WIDTH]],
    first: usize,
    stride: usize,
    /// Blocks of a row.
    pub(super) count: usize,
}

impl<'a, A: Accumulator> BlockedRows<'a, A> {
    /// `None` where the rows are not made of whole blocks.
    pub(crate) fn new(data: &'a [A], first: usize, stride: isize, width: usize) -> Option<Self> {
        let stride = usize::try_from(stride).ok()?;
        let aligned = width > 0 && [first, stride, width].iter().all(|x| x % WIDTH == 0);
        let blocks = |x: usize| x / WIDTH;
        aligned.then(|| Self {
            data: data.as_chunks().0,
            first: blocks(first),
            stride: blocks(stride),
            count: blocks(width),
        })
    }

    #[inline(always)]
    pub(super) fn block(&self, key: u32, at: usize) -> &'a [A; WIDTH] {
        &self.data[self.first + key as usize * self.stride + at]
    }

    #[inline(always)]
    pub(super) fn dots_of<S: Simd, const N: usize>(&self, simd: S, q: &[A], keys: &[u32; N]) -> A::N<S> {
        let mut sums = [A::N::<S>::splat(simd, A::default()); N];
        for (at, q) in q.as_chunks::<WIDTH>().0.iter().enumerate().take(self.count) {
            // Eight rows at a time: their addresses stay in registers. The blocks are added to the same sums in the
            // order of `micro::dots`: the backward pass must compute exactly the scores of the forward pass.
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
