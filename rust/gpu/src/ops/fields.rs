//! Escape fields, and the soft Julia field with its gradients.

use super::checking::{hold, values};
use super::dispatches::{RowWork, check_words, entries};
use crate::buffer::Buffer;
use crate::checks::{KernelFamily, Trial};
use crate::context::Context;
use crate::error::Result;
use crate::kernel::{Groups, Kernel};
use bytemuck::cast_slice;
use fractal_kernels::fields::julia::{self as cpu, Escape};
use fractal_kernels::fields::lanes::check_parameter;
use fractal_kernels::fields::soft_julia::{self as soft_cpu, Soft};
use fractal_runtime::run::OwnedRun;
use fractal_shaders::fields::{ESCAPE, EscapeParams, FOLD, FoldParams, SOFT_JULIA, SOFT_JULIA_VJP, SoftParams};
use num_complex::Complex;
use std::sync::Arc;

/// Bytes of a point and of a value.
const POINT: u64 = 8;
const VALUE: u64 = 4;

/// Escape counts, as they are checked.
pub const ESCAPES: KernelFamily = KernelFamily { name: "escape counts", check: check_escapes };

/// The soft Julia field and its gradients, as they are checked.
pub const SOFT: KernelFamily = KernelFamily { name: "soft Julia field", check: check_soft };

/// Gradients of a weighted sum of the soft Julia field.
pub struct ResidentSoftGradients {
    /// By each point, (n, 2) f32.
    pub points: Buffer,
    /// By the real and imaginary part of c, the radius and the smoothness, (4,) f32: sums in single precision, always in
    /// the same order.
    pub shared: Buffer,
}

/// Field of the Julia set of `c` at `points`, (n, 2) f32; (n,) f32.
pub fn julia(points: &Buffer, c: Complex<f64>, escape: Escape) -> Result<Buffer> {
    check_parameter(c)?;
    escape.check()?;
    points.context().trust(&ESCAPES)?;
    escape_field("julia", points, c, escape)
}

/// Field of the Mandelbrot set at `points`, (n, 2) f32; (n,) f32.
pub fn mandelbrot(points: &Buffer, escape: Escape) -> Result<Buffer> {
    escape.check()?;
    points.context().trust(&ESCAPES)?;
    escape_field("mandelbrot", points, Complex::default(), escape)
}

fn escape_field(entry: &str, points: &Buffer, c: Complex<f64>, escape: Escape) -> Result<Buffer> {
    let n = entries("points", points, POINT)?;
    let context = points.context();
    let field = context.alloc(n * VALUE)?;
    let kernel = Kernel::new(&ESCAPE, entry)?;
    let mut commands = context.record();
    let steps = u64::from(escape.max_iter);
    let rows = RowWork::new("points", n, &[POINT, VALUE], steps).in_units(64).pieces(context)?;
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
    points.context().trust(&SOFT)?;
    soft_field(points, soft)
}

fn soft_field(points: &Buffer, soft: Soft) -> Result<Buffer> {
    let n = entries("points", points, POINT)?;
    let context = points.context();
    let field = context.alloc(n * VALUE)?;
    let kernel = Kernel::new(&SOFT_JULIA, "value")?;
    let mut commands = context.record();
    // A root, an exponential and a division.
    let steps = 8 * u64::from(soft.max_iter);
    let rows = RowWork::new("points", n, &[POINT, VALUE], steps).in_units(64).pieces(context)?;
    for piece in rows {
        let params = SoftParams { first: piece.first, end: piece.end, ..soft_params(soft) };
        let arrays = [piece.of(points, POINT)?, piece.of(&field, VALUE)?];
        commands.dispatch(&kernel, &arrays, &params, kernel.covering(piece.rows()))?;
    }
    commands.submit()?;
    Ok(field)
}

/// Gradients of `sum weights[i] * field[i]`; `weights` (n,) f32, `points` (n, 2) f32. Points whose weight is 0 add nothing.
pub fn soft_julia_vjp(weights: &Buffer, points: &Buffer, soft: Soft) -> Result<ResidentSoftGradients> {
    soft.check()?;
    points.context().trust(&SOFT)?;
    soft_gradients(weights, points, soft)
}

fn soft_gradients(weights: &Buffer, points: &Buffer, soft: Soft) -> Result<ResidentSoftGradients> {
    /// Points of a workgroup, and bytes of its gradients.
    const GROUP: u64 = 64;
    const PARTIAL: u64 = 16;
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
    let aligned = GROUP * crate::BufferSlice::ALIGNMENT / PARTIAL;
    let rows = RowWork::new("points", n, &[POINT, VALUE], steps).in_units(GROUP).bound_at(aligned).pieces(context)?;
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
    for piece in RowWork::new("points", groups, &[PARTIAL], 0).pieces(context)? {
        let params = FoldParams { n: piece.end };
        commands.dispatch(&fold, &[piece.of(&partial, PARTIAL)?, shared.whole()], &params, Groups([1, 1, 1]))?;
    }
    commands.submit()?;
    Ok(ResidentSoftGradients { points: by_point, shared })
}

/// Points at which no rounding decides: whole steps of 1/4.
/// A grid over [-2, 2]², whose last row need not be full.
fn points(n: usize) -> Vec<Complex<f32>> {
    let side = n.isqrt().max(1);
    let at = |i: usize| 4.0 * i as f32 / side as f32 - 2.0;
    (0..n).map(|i| Complex { re: at(i % side), im: at(i / side) }).collect()
}

fn check_escapes(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    let (run, points, c) = (OwnedRun::serial()?, points(trial.size), Complex { re: -0.5, im: 0.25 });
    let escape = Escape { max_iter: 32, radius: 4.0, smooth: true };
    let on_device = context.upload(&points)?;
    let wanted = trial.twin(|| cpu::julia(&points, c, escape, run.get()))?;
    hold(&ESCAPE, "julia", escape_field("julia", &on_device, c, escape)?, &wanted)?;
    let wanted = trial.twin(|| cpu::mandelbrot(&points, escape, run.get()))?;
    hold(&ESCAPE, "mandelbrot", escape_field("mandelbrot", &on_device, Complex::default(), escape)?, &wanted)
}

fn check_soft(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    let (run, points, weights) = (OwnedRun::serial()?, points(trial.size), values(trial.size));
    let soft = Soft { c: Complex { re: -0.5, im: 0.25 }, max_iter: 6, radius: 2.0, smoothness: 2.0 };
    let (on_device, weights_on_device) = (context.upload(&points)?, context.upload(&weights)?);
    let wanted = trial.twin(|| soft_cpu::soft_julia(&points, soft, run.get()))?;
    hold(&SOFT_JULIA, "value", soft_field(&on_device, soft)?, &wanted)?;
    let wanted = trial.twin(|| soft_cpu::soft_julia_vjp(&weights, &points, soft, run.get()))?;
    let got = soft_gradients(&weights_on_device, &on_device, soft)?;
    hold(&SOFT_JULIA_VJP, "gradients", got.points, cast_slice::<_, f32>(&wanted.points))?;
    let shared = [wanted.c.re, wanted.c.im, wanted.radius, wanted.smoothness];
    hold(&FOLD, "fold", got.shared, &shared.map(|sum| sum as f32))
}
