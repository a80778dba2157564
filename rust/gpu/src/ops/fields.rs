//! Escape fields, and the soft Julia field with its gradients.

use super::pieces::{Rows, check_words, entries};
use crate::buffer::Buffer;
use crate::error::Result;
use crate::kernel::{Groups, Kernel};
use fractal_kernels::fields::julia::Escape;
use fractal_kernels::fields::lanes::check_parameter;
use fractal_kernels::fields::soft_julia::Soft;
use fractal_shaders::fields::{ESCAPE, EscapeParams, FOLD, FoldParams, SOFT_JULIA, SOFT_JULIA_VJP, SoftParams};
use num_complex::Complex;

/// Bytes of a point and of a value.
const POINT: u64 = 8;
const VALUE: u64 = 4;

/// Gradients of a weighted sum of the soft Julia field.
pub struct SoftGradients {
    /// By each point, (n, 2) f32.
    pub points: Buffer,
    /// By the real and imaginary part of c, the radius and the smoothness, (4,) f32: sums in single precision, always in
    /// the same order.
    pub shared: Buffer,
}

/// Field of the Julia set of `c` at `points`, (n, 2) f32; (n,) f32.
pub fn julia(points: &Buffer, c: Complex<f64>, escape: Escape) -> Result<Buffer> {
    check_parameter(c)?;
    escape_field("julia", points, c, escape)
}

/// Field of the Mandelbrot set at `points`, (n, 2) f32; (n,) f32.
pub fn mandelbrot(points: &Buffer, escape: Escape) -> Result<Buffer> {
    escape_field("mandelbrot", points, Complex::default(), escape)
}

fn escape_field(entry: &str, points: &Buffer, c: Complex<f64>, escape: Escape) -> Result<Buffer> {
    escape.check()?;
    let n = entries("points", points, POINT)?;
    let context = points.context();
    let field = context.alloc(n * VALUE)?;
    let kernel = Kernel::new(&ESCAPE, entry)?;
    let mut commands = context.record();
    let steps = u64::from(escape.max_iter);
    let rows = Rows::new("points", n, &[POINT, VALUE], steps).in_units(64).pieces(context)?;
    for piece in rows {
        let params = EscapeParams {
            c_re: c.re as f32,
            c_im: c.im as f32,
            radius: escape.radius as f32,
            max_iter: escape.max_iter,
            first: piece.first,
            end: piece.end,
            smooth_count: u32::from(escape.smooth),
        };
        let arrays = [piece.of(points, POINT)?, piece.of(&field, VALUE)?];
        commands.dispatch(&kernel, &arrays, &params, kernel.covering(piece.rows()))?;
    }
    commands.submit()?;
    Ok(field)
}

fn soft_params(soft: Soft) -> SoftParams {
    SoftParams {
        c: [soft.c.re as f32, soft.c.im as f32],
        radius: soft.radius as f32,
        smoothness: soft.smoothness as f32,
        max_iter: soft.max_iter,
        first: 0,
        end: 0,
        held: soft.held::<f32>() as f32,
    }
}

/// The soft Julia field at `points`, (n, 2) f32; (n,) f32.
pub fn soft_julia(points: &Buffer, soft: Soft) -> Result<Buffer> {
    soft.check()?;
    let n = entries("points", points, POINT)?;
    let context = points.context();
    let field = context.alloc(n * VALUE)?;
    let kernel = Kernel::new(&SOFT_JULIA, "value")?;
    let mut commands = context.record();
    // A root, an exponential and a division.
    let steps = 8 * u64::from(soft.max_iter);
    let rows = Rows::new("points", n, &[POINT, VALUE], steps).in_units(64).pieces(context)?;
    for piece in rows {
        let params = SoftParams { first: piece.first, end: piece.end, ..soft_params(soft) };
        let arrays = [piece.of(points, POINT)?, piece.of(&field, VALUE)?];
        commands.dispatch(&kernel, &arrays, &params, kernel.covering(piece.rows()))?;
    }
    commands.submit()?;
    Ok(field)
}

/// Gradients of `sum weights[i] * field[i]`; `weights` (n,) f32, `points` (n, 2) f32. Points whose weight is 0 add nothing.
pub fn soft_julia_vjp(weights: &Buffer, points: &Buffer, soft: Soft) -> Result<SoftGradients> {
    /// Points of a workgroup, and bytes of its gradients.
    const GROUP: u64 = 64;
    const PARTIAL: u64 = 16;
    soft.check()?;
    let n = entries("points", points, POINT)?;
    check_words("weights", weights, &[n as usize])?;
    let context = points.context();
    let by_point = context.alloc(n * POINT)?;
    let groups = n.div_ceil(GROUP);
    let partial = context.alloc(groups * PARTIAL)?;
    let shared = context.alloc(PARTIAL)?;
    let kernel = Kernel::new(&SOFT_JULIA_VJP, "gradients")?;
    let mut commands = context.record();
    let steps = 32 * u64::from(soft.max_iter);
    // The partial gradients of whole workgroups begin at multiples of what a binding begins at.
    let aligned = GROUP * crate::View::ALIGNMENT / PARTIAL;
    let rows = Rows::new("points", n, &[POINT, VALUE], steps).in_units(GROUP).bound_at(aligned).pieces(context)?;
    for piece in rows {
        let params = SoftParams { first: piece.first, end: piece.end, ..soft_params(soft) };
        let (start, end) = (piece.bound.start / GROUP, piece.bound.end.div_ceil(GROUP));
        let arrays = [
            piece.of(points, POINT)?,
            piece.of(weights, VALUE)?,
            piece.of(&by_point, POINT)?,
            partial.part(start * PARTIAL..end * PARTIAL)?,
        ];
        commands.dispatch(&kernel, &arrays, &params, kernel.covering(piece.rows()))?;
    }
    let fold = Kernel::new(&FOLD, "fold")?;
    commands.clear(&shared)?;
    for piece in Rows::new("points", groups, &[PARTIAL], 0).pieces(context)? {
        let params = FoldParams { n: piece.end };
        commands.dispatch(&fold, &[piece.of(&partial, PARTIAL)?, shared.whole()], &params, Groups([1, 1, 1]))?;
    }
    commands.submit()?;
    Ok(SoftGradients { points: by_point, shared })
}
