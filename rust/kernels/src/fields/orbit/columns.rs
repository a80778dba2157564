//! What numbers of many points stand in, and how vectors of them are packed.

use crate::fields::lanes::{C, PIECE, Real};
use fearless_simd::{Simd, prelude::*};

/// Vectors side by side, to hide the latency of each.
pub(super) const WAYS: usize = 4;

/// Rows of a column: a piece, and a vector that begins at its end.
const ROWS: usize = PIECE + 32;

/// Columns of numbers, a row a point.
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

    /// The rows from `row` on are the lanes in the mask, in their order; whatever stood in a vector of them is lost.
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
