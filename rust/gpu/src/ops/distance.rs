//! Distances between the points of two lists, and densities of token sequences.

use super::checking::{hold, values};
use super::dispatches::{RowWork, check_words, word, words};
use crate::buffer::Buffer;
use crate::checks::{KernelFamily, Trial};
use crate::context::Context;
use crate::error::Result;
use crate::kernel::Kernel;
use fractal_kernels::distance::{self as cpu, Pairs};
use fractal_kernels::executor::Serial;
use fractal_kernels::fields::lanes::check_range;
use fractal_shaders::distance::{DENSITY, DensityParams, PAIRWISE, PairwiseParams};
use std::sync::Arc;

/// Bytes of a coordinate, a distance, a token and a density.
const VALUE: u64 = 4;

/// Distances, as they are checked.
pub const DISTANCES: KernelFamily = KernelFamily { name: "distances", check: check_distances };

/// Densities, as they are checked.
pub const DENSITIES: KernelFamily = KernelFamily { name: "densities", check: check_densities };

/// `|x - y|` of every left and every right point; `left` (rows, dimension), `right` (columns, dimension), f32; (rows,
/// columns) f32. The shape is rows, columns, dimension.
pub fn euclidean(left: &Buffer, right: &Buffer, shape: [usize; 3]) -> Result<Buffer> {
    left.context().trust(&DISTANCES)?;
    pairwise("euclidean", left, right, shape, 1.0)
}

/// Distances on the hyperboloid of curvature `-c` of points given by their spatial part, as [`euclidean`] takes them.
/// The error of single precision grows with `exp(sqrt(c) r)` of the distance `r` from the origin.
pub fn hyperbolic(left: &Buffer, right: &Buffer, shape: [usize; 3], c: f64) -> Result<Buffer> {
    check_range("c", c, 1e-6, 1e6)?;
    left.context().trust(&DISTANCES)?;
    pairwise("hyperbolic", left, right, shape, c.sqrt())
}

fn pairwise(
    entry: &str,
    left: &Buffer,
    right: &Buffer,
    [rows, columns, dimension]: [usize; 3],
    root: f64,
) -> Result<Buffer> {
    check_words("left", left, &[rows, dimension])?;
    check_words("right", right, &[columns, dimension])?;
    let context = left.context();
    let distances = context.alloc(words("shape", &[rows, columns])?)?;
    let [width, dimension] = [word("columns", columns)?, word("dimension", dimension)?];
    let (point, row_bytes) = (u64::from(dimension) * VALUE, u64::from(width) * VALUE);
    let kernel = Kernel::new(&PAIRWISE, entry)?;
    let mut commands = context.record();
    let stretches = RowWork::new("right", columns as u64, &[point], 0).pieces(context)?;
    for stretch in stretches {
        // What one pair takes beside its coordinates: roots and a logarithm.
        let steps = stretch.rows() * (32 + 2 * u64::from(dimension));
        let all = RowWork::new("left", rows as u64, &[point, row_bytes], steps).pieces(context)?;
        for piece in all {
            let params = PairwiseParams {
                dimension,
                width,
                column_first: stretch.bound.start as u32,
                columns: stretch.end,
                first: piece.first,
                end: piece.end,
                root: root as f32,
            };
            let arrays = [piece.of(left, point)?, stretch.of(right, point)?, piece.of(&distances, row_bytes)?];
            commands.dispatch(&kernel, &arrays, &params, kernel.covering(piece.rows() * stretch.rows()))?;
        }
    }
    commands.submit()?;
    Ok(distances)
}

/// Shares of positions, among those at most `radius` away, whose token differs from the next one; `tokens` (batch, length)
/// of 32 bits; (batch, length) f32.
pub fn density(tokens: &Buffer, shape: [usize; 2], radius: usize) -> Result<Buffer> {
    tokens.context().trust(&DENSITIES)?;
    densities(tokens, shape, radius)
}

fn densities(tokens: &Buffer, [batch, length]: [usize; 2], radius: usize) -> Result<Buffer> {
    check_words("tokens", tokens, &[batch, length])?;
    let context = tokens.context();
    let densities = context.alloc(tokens.bytes())?;
    let length = word("length", length)?;
    // Nothing is farther away.
    let radius = length.min(u32::try_from(radius).unwrap_or(u32::MAX));
    let row_bytes = u64::from(length) * VALUE;
    let kernel = Kernel::new(&DENSITY, "density")?;
    let mut commands = context.record();
    let all = RowWork::new("tokens", batch as u64, &[row_bytes; 2], 0).pieces(context)?;
    for sequences in all {
        // A long sequence alone may take several dispatches.
        let n = sequences.rows() * u64::from(length);
        let places = RowWork::new("tokens", n, &[], 2 + 2 * u64::from(radius)).pieces(context)?;
        for piece in places {
            let params = DensityParams { length, radius, first: piece.first, end: piece.end };
            let arrays = [sequences.of(tokens, row_bytes)?, sequences.of(&densities, row_bytes)?];
            commands.dispatch(&kernel, &arrays, &params, kernel.covering(piece.rows()))?;
        }
    }
    commands.submit()?;
    Ok(densities)
}

fn check_distances(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    let shape = [trial.side(2), trial.side(2) + 1, 7];
    let (left, right) = (values(shape[0] * shape[2]), values(shape[1] * shape[2]));
    let pairs = Pairs { left: &left, right: &right, shape };
    let (left, right) = (context.upload(&left)?, context.upload(&right)?);
    let wanted = trial.twin(|| cpu::euclidean(pairs, &Serial))?;
    hold(&PAIRWISE, "euclidean", pairwise("euclidean", &left, &right, shape, 1.0)?, &wanted)?;
    let wanted = trial.twin(|| cpu::hyperbolic(pairs, 1.0, &Serial))?;
    hold(&PAIRWISE, "hyperbolic", pairwise("hyperbolic", &left, &right, shape, 1.0)?, &wanted)
}

fn check_densities(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    let shape = [3, trial.size / 3];
    let tokens: Vec<u32> = (0..3 * shape[1]).map(|i| (i * i % 23 / 4) as u32).collect();
    let wanted = trial.twin(|| fractal_kernels::density::density(&tokens, shape, 4, &Serial))?;
    let got = densities(&context.upload(&tokens)?, shape, 4)?;
    hold(&DENSITY, "density", got, &wanted)
}
