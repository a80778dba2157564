//! Columns of numbers, one row for each point, and how vectors of them are packed.

use crate::fields::lanes::{C, PIECE, Real};
use fearless_simd::{Simd, prelude::*};

/// Independent vectors in flight, to hide latency.
pub(super) const WAYS: usize = 4;

/// Rows of a column: a piece, and room for a vector that begins at its end.
const ROWS: usize = PIECE + 32;

/// `N` columns.
#[repr(align(64))]
pub(super) struct Columns<T, const N: usize>(pub(super) [[T; ROWS]; N]);

impl<T: Real, const N: usize> Columns<T, N> {
    pub(super) fn new() -> Self {
        Self([[T::default(); ROWS]; N])
    }

    #[inline(always)]
    pub(super) fn load<S: Simd>(&self, simd: S, column: usize, row: usize) -> T::V<S> {
        T::V::<S>::from_slice(simd, &self.0[column][row..row + T::V::<S>::LEN])
    }

    #[inline(always)]
    pub(super) fn load_complex<S: Simd>(&self, simd: S, row: usize) -> C<T::V<S>> {
        C { re: self.load(simd, 0, row), im: self.load(simd, 1, row) }
    }

    /// Writes the lanes in the mask to the rows from `row` on, in order; a whole vector of rows is overwritten.
    #[inline(always)]
    pub(super) fn pack<S: Simd>(
        &mut self,
        column: usize,
        row: usize,
        value: T::V<S>,
        lanes: <T::V<S> as SimdBase<S>>::Mask,
    ) {
        value.compress(lanes).store_slice(&mut self.0[column][row..row + T::V::<S>::LEN]);
    }

    #[inline(always)]
    pub(super) fn store_complex<S: Simd>(&mut self, row: usize, z: C<T::V<S>>) {
        z.re.store_slice(&mut self.0[0][row..row + T::V::<S>::LEN]);
        z.im.store_slice(&mut self.0[1][row..row + T::V::<S>::LEN]);
    }

    #[inline(always)]
    pub(super) fn pack_complex<S: Simd>(&mut self, row: usize, z: C<T::V<S>>, lanes: <T::V<S> as SimdBase<S>>::Mask) {
        self.pack::<S>(0, row, z.re, lanes);
        self.pack::<S>(1, row, z.im, lanes);
    }
}
