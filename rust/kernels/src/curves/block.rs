//! Blocks of points and their codes: what the codecs of the plane and of space have in common.

use super::lattice::{Curve, Integer};
use fearless_simd::Level;

/// Points to codes, or back.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    Encode,
    Decode,
}

/// Points or their codes in buffers on the stack. Its functions are generic over one dtype each: over two, the compiler
/// would make 64 of each.
pub(crate) trait PointBlock {
    /// Coordinates of a point.
    const AXES: usize;

    /// Points of a full block.
    const POINTS: usize;

    /// A block of points of `order` bits a coordinate.
    fn new(order: u32) -> Self;

    /// Loads points, (n, AXES).
    fn load_points<T: Integer>(&mut self, level: Level, coords: &[T]);

    /// Loads codes, (n,).
    fn load_codes<T: Integer>(&mut self, level: Level, index: &[T]);

    /// The first `n` points become codes, or codes points.
    fn convert(&mut self, level: Level, curve: Curve, direction: Direction, n: usize);

    /// Stores codes, (n,).
    fn store_codes<U: Integer>(&self, level: Level, out: &mut [U]);

    /// Stores points, (n, AXES).
    fn store_points<U: Integer>(&self, level: Level, out: &mut [U]);
}
