//! Codes of lattice points along the Hilbert and the Morton curve, in two and three dimensions.

use super::checking::hold;
use super::dispatches::{self, entries};
use crate::buffer::Buffer;
use crate::checks::{KernelFamily, Trial};
use crate::context::Context;
use crate::error::Result;
use crate::kernel::Kernel;
use bytemuck::cast_slice;
use fractal_kernels::KernelError;
use fractal_kernels::curves::lattice::{Rows, check_size};
use fractal_kernels::curves::{hilbert, morton};
use fractal_runtime::run::OwnedRun;
use fractal_shaders::Shader;
use fractal_shaders::curves::{CodecParams, HILBERT, MORTON};
use std::sync::Arc;

/// Bytes of a coordinate and of a code.
const COORDINATE: u64 = 4;
const CODE: u64 = 8;

/// The Hilbert codec, as it is checked.
pub const HILBERT_CODEC: KernelFamily =
    KernelFamily { name: "Hilbert codec", check: |context, trial| check_codec(context, trial, Codec::Hilbert) };

/// The Morton codec, as it is checked.
pub const MORTON_CODEC: KernelFamily =
    KernelFamily { name: "Morton codec", check: |context, trial| check_codec(context, trial, Codec::Morton) };

/// A space-filling curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Neighbours on the curve are neighbours on the lattice.
    Hilbert,
    /// The bits of the coordinates interleaved.
    Morton,
}

impl Codec {
    fn shader(self) -> &'static Shader {
        match self {
            Self::Hilbert => &HILBERT,
            Self::Morton => &MORTON,
        }
    }

    fn family(self) -> &'static KernelFamily {
        match self {
            Self::Hilbert => &HILBERT_CODEC,
            Self::Morton => &MORTON_CODEC,
        }
    }
}

/// Codes of points: `points` (n, ndim) u32, each coordinate below `2**order`; (n,) u64. The code of a point outside of that
/// box has all bits set.
pub fn encode(curve: Codec, points: &Buffer, ndim: usize, order: u32) -> Result<Buffer> {
    let point = check(ndim, order)?;
    let n = entries("points", points, point)?;
    points.context().trust(curve.family())?;
    let entry = if ndim == 2 { "encode2" } else { "encode3" };
    convert(curve, entry, ("points", points, point), n, CODE, order)
}

/// Points of codes: `codes` (n,) u64, each below `2**(ndim * order)`; (n, ndim) u32. What is not the code of a point has all
/// bits of its coordinates set.
pub fn decode(curve: Codec, codes: &Buffer, ndim: usize, order: u32) -> Result<Buffer> {
    let point = check(ndim, order)?;
    let n = entries("codes", codes, CODE)?;
    codes.context().trust(curve.family())?;
    let entry = if ndim == 2 { "decode2" } else { "decode3" };
    convert(curve, entry, ("codes", codes, CODE), n, point, order)
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
    curve: Codec,
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
    let rows = dispatches::RowWork::new(argument, n, &[input_bytes, output_bytes], steps).pieces(context)?;
    for piece in rows {
        let params = CodecParams { order, first: piece.first, end: piece.end };
        let arrays = [piece.of(input, input_bytes)?, piece.of(&output, output_bytes)?];
        commands.dispatch(&kernel, &arrays, &params, kernel.covering(piece.rows()))?;
    }
    commands.submit()?;
    Ok(output)
}

fn check_codec(context: &Arc<Context>, trial: &Trial, curve: Codec) -> Result<()> {
    let (n, run, shader) = (trial.size, OwnedRun::serial()?, curve.shader());
    for (ndim, order, encode, decode) in [(2, 16, "encode2", "decode2"), (3, 10, "encode3", "decode3")] {
        let points: Vec<u32> =
            (0..(n * ndim) as u32).map(|i| i.wrapping_mul(2_654_435_761) >> (u32::BITS - order)).collect();
        let (rows, mut codes) = (Rows::packed("points", &points, ndim)?, vec![0_u64; n]);
        trial.twin(|| match curve {
            Codec::Hilbert => hilbert::encode(run.get(), rows, order, &mut codes),
            Codec::Morton => morton::encode(run.get(), rows, order, &mut codes),
        })?;
        let (point, given) = (ndim as u64 * COORDINATE, context.upload(&points)?);
        let got = convert(curve, encode, ("points", &given, point), n as u64, CODE, order)?;
        hold(shader, encode, got, cast_slice::<_, u32>(&codes))?;
        let given = context.upload(&codes)?;
        hold(shader, decode, convert(curve, decode, ("codes", &given, CODE), n as u64, point, order)?, &points)?;
    }
    Ok(())
}
