//! Blocks of points and their codes, many at a time: what the codecs of the plane and of space have in common.

use super::lattice::{Curve, Integer};
use fearless_simd::Level;

/// Points to codes, or back.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Encode,
    Decode,
}

/// Points or their codes in buffers on the stack. A function for each dtype and level, none for a pair of dtypes: the
/// compiler would make 64 of each.
pub(crate) trait Block {
    /// Coordinates of a point.
    const AXES: usize;

    /// Points of a full block.
    const POINTS: usize;

    /// A block of points of `order` bits a coordinate.
    fn new(order: u32) -> Self;

    /// Takes points, (n, AXES).
    fn load_points<T: Integer>(&mut self, level: Level, coords: &[T]);

    /// Takes codes, (n,).
    fn load_codes<T: Integer>(&mut self, level: Level, index: &[T]);

    /// The first `n` points become codes, or codes points.
    fn convert(&mut self, level: Level, curve: Curve, direction: Direction, n: usize);

    /// Gives codes, (n,).
    fn store_codes<U: Integer>(&self, level: Level, out: &mut [U]);

    /// Gives points, (n, AXES).
    fn store_points<U: Integer>(&self, level: Level, out: &mut [U]);
}
