//! Codes of lattice points along the Hilbert and the Morton curve, in two and three dimensions.

use super::pieces::{Rows, entries};
use crate::buffer::Buffer;
use crate::error::Result;
use crate::kernel::Kernel;
use fractal_kernels::KernelError;
use fractal_kernels::curves::lattice::check_size;
use fractal_shaders::Shader;
use fractal_shaders::curves::{CodecParams, HILBERT, MORTON};

/// Bytes of a coordinate and of a code.
const COORDINATE: u64 = 4;
const CODE: u64 = 8;

/// A space-filling curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// Neighbours on the curve are neighbours on the lattice.
    Hilbert,
    /// The bits of the coordinates interleaved.
    Morton,
}

impl Curve {
    fn shader(self) -> &'static Shader {
        match self {
            Self::Hilbert => &HILBERT,
            Self::Morton => &MORTON,
        }
    }
}

/// Codes of points: `points` (n, ndim) u32, each coordinate below `2**order`; (n,) u64. The code of a point outside of that
/// box has all bits set.
pub fn encode(curve: Curve, points: &Buffer, ndim: usize, order: u32) -> Result<Buffer> {
    let point = check(ndim, order)?;
    let n = entries("points", points, point)?;
    convert(curve, if ndim == 2 { "encode2" } else { "encode3" }, ("points", points, point), n, CODE, order)
}

/// Points of codes: `codes` (n,) u64, each below `2**(ndim * order)`; (n, ndim) u32. What is not the code of a point has all
/// bits of its coordinates set.
pub fn decode(curve: Curve, codes: &Buffer, ndim: usize, order: u32) -> Result<Buffer> {
    let point = check(ndim, order)?;
    let n = entries("codes", codes, CODE)?;
    convert(curve, if ndim == 2 { "decode2" } else { "decode3" }, ("codes", codes, CODE), n, point, order)
}

/// Bytes of a point.
fn check(ndim: usize, order: u32) -> Result<u64> {
    if !(2..=3).contains(&ndim) {
        return Err(KernelError::value("ndim", ndim, "2 or 3").into());
    }
    check_size(ndim, order)?;
    Ok(ndim as u64 * COORDINATE)
}

fn convert(
    curve: Curve,
    entry: &str,
    (argument, input, input_bytes): (&'static str, &Buffer, u64),
    n: u64,
    output_bytes: u64,
    order: u32,
) -> Result<Buffer> {
    let context = input.context();
    let output = context.alloc(n * output_bytes)?;
    let kernel = Kernel::new(curve.shader(), entry)?;
    let mut commands = context.record();
    // Some bit operations for each level.
    let steps = 32 + 16 * u64::from(order);
    let rows = Rows::new(argument, n, &[input_bytes, output_bytes], steps).pieces(context)?;
    for piece in rows {
        let params = CodecParams { order, first: piece.first, end: piece.end };
        let arrays = [piece.of(input, input_bytes)?, piece.of(&output, output_bytes)?];
        commands.dispatch(&kernel, &arrays, &params, kernel.covering(piece.rows()))?;
    }
    commands.submit()?;
    Ok(output)
}
