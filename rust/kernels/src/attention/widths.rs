//! How much a kernel holds in registers at each SIMD level.

use super::element::Accumulator;
use crate::plan::TILE;
use fearless_simd::{Simd, prelude::*};

/// A kernel that is compiled once for each row of the table in [`at_widths`].
pub(super) trait AtWidths<S: Simd> {
    /// Runs it with
    ///
    /// * `NQ` vectors for the 16 queries of a tile,
    /// * `FK` keys scored at a time in the forward pass, `BK` in the backward pass,
    /// * native vectors of `ND` lanes,
    /// * `NC` native vectors of columns at a time, `DC` where one query is decoded.
    fn run<const NQ: usize, const FK: usize, const BK: usize, const ND: usize, const NC: usize, const DC: usize>(
        self,
        simd: S,
    );
}

/// Runs a kernel at the widths that fill 32 registers of 512 bits, 16 of 256, 16 or 32 of 128.
#[inline(always)]
pub(super) fn at_widths<S: Simd, A: Accumulator>(simd: S, kernel: impl AtWidths<S>) {
    match (A::V::<S>::LEN, A::N::<S>::LEN) {
        // f32: 512, 256, 128 bits
        (TILE, 16) => kernel.run::<1, 8, 8, 16, 4, 4>(simd),
        (TILE, 8) => kernel.run::<1, 6, 4, 8, 2, 4>(simd),
        (TILE, _) => kernel.run::<1, 2, 4, 4, 2, 2>(simd),
        // f64: 512, 256, 128 bits
        (_, 8) => kernel.run::<2, 4, 4, 8, 4, 4>(simd),
        (_, 4) => kernel.run::<2, 2, 4, 4, 2, 2>(simd),
        (_, _) => kernel.run::<2, 1, 4, 2, 2, 2>(simd),
    }
}
