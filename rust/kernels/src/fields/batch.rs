//! The live points of one piece, in lock step: as points finish, the last ones take their places, so that every vector
//! is full of live points.
//!
//! Each lane computes one point, independently of the others, so the place of a point changes no bit of its result.

use super::lanes::{C, PIECE, Real};
use fearless_simd::{Simd, prelude::*};
use num_complex::Complex;

/// Rows of a column: a piece and a vector more. That is an odd number of cache lines, so that columns do not compete
/// for cache sets.
pub(crate) const COLUMN: usize = PIECE + 32;

/// A column for each channel of the state, a row for each live point.
pub(crate) struct Batch<T, const CHANNELS: usize> {
    columns: [[T; COLUMN]; CHANNELS],
    /// The point of the piece in each row.
    point: [u16; COLUMN],
    len: usize,
}

impl<T: Real, const CHANNELS: usize> Batch<T, CHANNELS> {
    /// An empty batch; one serves many pieces.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { columns: [[T::default(); COLUMN]; CHANNELS], point: [0; COLUMN], len: 0 }
    }

    /// All points of a piece; the first two channels are their real and imaginary parts, the others have these values.
    #[inline(always)]
    pub(crate) fn fill(&mut self, points: &[Complex<T>], others: impl Fn(usize) -> T) {
        self.len = points.len();
        for (channel, column) in self.columns.iter_mut().enumerate().skip(2) {
            column[..points.len()].fill(others(channel));
        }
        let [re, im, ..] = &mut self.columns[..] else { unreachable!("a state has an iterate") };
        for (i, z) in points.iter().enumerate() {
            (re[i], im[i], self.point[i]) = (z.re, z.im, i as u16);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn load<S: Simd>(&self, simd: S, channel: usize, row: usize) -> T::V<S> {
        T::V::<S>::from_slice(simd, &self.columns[channel][row..row + T::V::<S>::LEN])
    }

    #[inline(always)]
    pub(crate) fn store<S: Simd>(&mut self, channel: usize, row: usize, value: T::V<S>) {
        value.store_slice(&mut self.columns[channel][row..row + T::V::<S>::LEN]);
    }

    #[inline(always)]
    pub(crate) fn load_complex<S: Simd>(&self, simd: S, channel: usize, row: usize) -> C<T::V<S>> {
        C { re: self.load::<S>(simd, channel, row), im: self.load::<S>(simd, channel + 1, row) }
    }

    #[inline(always)]
    pub(crate) fn store_complex<S: Simd>(&mut self, channel: usize, row: usize, z: C<T::V<S>>) {
        self.store::<S>(channel, row, z.re);
        self.store::<S>(channel + 1, row, z.im);
    }

    /// Removes points from the vector of `lanes` rows at `row`: those whose bit in `stay` is off. `take(bit, point,
    /// state)` receives each of them.
    ///
    /// Callers go through the vectors from last to first, so that a row that moves up has had its round.
    #[inline(always)]
    pub(crate) fn retire(
        &mut self,
        row: usize,
        lanes: usize,
        stay: u64,
        mut take: impl FnMut(u32, usize, [T; CHANNELS]),
    ) {
        let live = lanes.min(self.len.saturating_sub(row)) as u32;
        let mut done = !stay & u64::MAX.checked_shr(u64::BITS - live).unwrap_or(0);
        while done != 0 {
            let bit = done.ilog2();
            done ^= 1 << bit;
            let (row, last) = (row + bit as usize, self.len - 1);
            // One bounds check for all columns.
            assert!(row <= last && last < COLUMN);
            take(bit, usize::from(self.point[row]), std::array::from_fn(|channel| self.columns[channel][row]));
            for column in &mut self.columns {
                column[row] = column[last];
            }
            self.point[row] = self.point[last];
            self.len = last;
        }
    }

    /// Removes all points.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(usize, [T; CHANNELS])) {
        for row in (0..self.len).rev() {
            self.retire(row, 1, 0, |_, point, state| take(point, state));
        }
    }
}
