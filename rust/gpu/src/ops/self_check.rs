//! One small problem of each family of shaders, against its CPU twin: an adapter that computes wrong is to be known before
//! its results are.

use super::{boxes, curves, distance, fields, linear};
use crate::buffer::Buffer;
use crate::context::Context;
use crate::error::{GpuError, Result};
use bytemuck::{AnyBitPattern, cast_slice};
use fractal_kernels::curves::lattice::Rows;
use fractal_kernels::distance::Pairs;
use fractal_kernels::executor::Serial;
use fractal_kernels::fields::julia::Escape;
use fractal_kernels::fields::soft_julia::Soft;
use fractal_kernels::simd::{Level, Run};
use fractal_shaders::{Shader, boxes as box_shaders, curves as curve_shaders, distance as distance_shaders};
use fractal_shaders::{fields as field_shaders, linear as linear_shaders};
use num_complex::Complex;
use std::sync::Arc;

/// A problem that a device must solve as the CPU does.
pub struct SelfCheck {
    /// The shaders that it tries.
    pub shaders: &'static [&'static Shader],
    /// Solves it on both; [`GpuError::WrongResult`] says what differs.
    pub run: fn(&Arc<Context>) -> Result<()>,
}

/// One for every family.
pub const SELF_CHECKS: &[SelfCheck] = &[
    SelfCheck { shaders: &[&field_shaders::ESCAPE], run: escape },
    SelfCheck {
        shaders: &[&field_shaders::SOFT_JULIA, &field_shaders::SOFT_JULIA_VJP, &field_shaders::FOLD],
        run: soft_julia,
    },
    SelfCheck { shaders: &[&curve_shaders::HILBERT], run: |context| codec(context, curves::Curve::Hilbert) },
    SelfCheck { shaders: &[&curve_shaders::MORTON], run: |context| codec(context, curves::Curve::Morton) },
    SelfCheck { shaders: &[&box_shaders::OCCUPIED, &box_shaders::COUNT], run: occupied },
    SelfCheck { shaders: &[&box_shaders::SUMS], run: sums },
    SelfCheck { shaders: &[&linear_shaders::SOFTMAX], run: softmax },
    SelfCheck { shaders: &[&linear_shaders::MATMUL], run: matmul },
    SelfCheck { shaders: &[&distance_shaders::PAIRWISE], run: pairwise },
    SelfCheck { shaders: &[&distance_shaders::DENSITY], run: density },
];

/// Holds a result to the twin's.
fn hold<T: AnyBitPattern + Into<f64>>(shader: &Shader, entry: &str, got: &Buffer, wanted: &[T]) -> Result<()> {
    let context = got.context();
    let entry = shader.entry(entry).expect("checks name entry points of the tables");
    let got = context.download::<T>(got)?;
    entry.tolerance.check(&got, wanted).map_err(|difference| GpuError::WrongResult {
        adapter: context.adapter().name.clone(),
        kernel: format!("{} {}", shader.name, entry.name),
        difference: difference.to_string(),
    })
}

fn run() -> Run<'static> {
    Run::new(Level::new(), &Serial)
}

/// Values in `[-1, 1)`, always the same.
fn values(n: u32) -> Vec<f32> {
    (0..n).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Points at which no rounding decides: whole steps of 1/4.
fn points() -> Vec<Complex<f32>> {
    (0..289).map(|i| Complex { re: (i % 17) as f32 / 4.0 - 2.0, im: (i / 17) as f32 / 4.0 - 2.0 }).collect()
}

fn escape(context: &Arc<Context>) -> Result<()> {
    let (points, c) = (points(), Complex { re: -0.5, im: 0.25 });
    let escape = Escape { max_iter: 32, radius: 4.0, smooth: true };
    let on_device = context.upload(&points)?;
    let wanted = fractal_kernels::fields::julia::julia(&points, c, escape, run())?;
    hold(&field_shaders::ESCAPE, "julia", &fields::julia(&on_device, c, escape)?, &wanted)?;
    let wanted = fractal_kernels::fields::julia::mandelbrot(&points, escape, run())?;
    hold(&field_shaders::ESCAPE, "mandelbrot", &fields::mandelbrot(&on_device, escape)?, &wanted)
}

fn soft_julia(context: &Arc<Context>) -> Result<()> {
    let (points, weights) = (points(), values(289));
    let soft = Soft { c: Complex { re: -0.5, im: 0.25 }, max_iter: 6, radius: 2.0, smoothness: 2.0 };
    let (on_device, weights_on_device) = (context.upload(&points)?, context.upload(&weights)?);
    let wanted = fractal_kernels::fields::soft_julia::soft_julia(&points, soft, run())?;
    hold(&field_shaders::SOFT_JULIA, "value", &fields::soft_julia(&on_device, soft)?, &wanted)?;
    let wanted = fractal_kernels::fields::soft_julia::soft_julia_vjp(&weights, &points, soft, run())?;
    let got = fields::soft_julia_vjp(&weights_on_device, &on_device, soft)?;
    hold(&field_shaders::SOFT_JULIA_VJP, "gradients", &got.points, cast_slice::<_, f32>(&wanted.points))?;
    let shared = [wanted.c.re, wanted.c.im, wanted.radius, wanted.smoothness];
    hold(&field_shaders::FOLD, "fold", &got.shared, &shared.map(|sum| sum as f32))
}

fn codec(context: &Arc<Context>, curve: curves::Curve) -> Result<()> {
    use fractal_kernels::curves::{hilbert, morton};
    for (ndim, order, encode, decode) in [(2, 16, "encode2", "decode2"), (3, 10, "encode3", "decode3")] {
        let points: Vec<u32> =
            (0..300 * ndim as u32).map(|i| i.wrapping_mul(2_654_435_761) >> (u32::BITS - order)).collect();
        let (rows, mut codes) = (Rows::packed("points", &points, ndim)?, vec![0_u64; 300]);
        let shader = match curve {
            curves::Curve::Hilbert => hilbert::encode(run(), rows, order, &mut codes).map(|()| &curve_shaders::HILBERT),
            curves::Curve::Morton => morton::encode(run(), rows, order, &mut codes).map(|()| &curve_shaders::MORTON),
        }?;
        let got = curves::encode(curve, &context.upload(&points)?, ndim, order)?;
        hold(shader, encode, &got, cast_slice::<_, u32>(&codes))?;
        hold(shader, decode, &curves::decode(curve, &context.upload(&codes)?, ndim, order)?, &points)?;
    }
    Ok(())
}

fn occupied(context: &Arc<Context>) -> Result<()> {
    let shape = [33, 70];
    let cells: Vec<u32> = (0..33 * 70).map(|i| u32::from(i * i % 31 == 5)).collect();
    let wanted = fractal_kernels::boxes::occupied(&cells, shape, &Serial)?;
    let got = boxes::occupied(&context.upload(&cells)?, shape)?;
    for (got, wanted) in got.levels.iter().zip(&wanted) {
        hold(&box_shaders::OCCUPIED, "halve", &got.boxes, &wanted.boxes)?;
    }
    let all = std::iter::once(&cells).chain(wanted.iter().map(|level| &level.boxes));
    let counts: Vec<u32> = all.map(|boxes| fractal_kernels::boxes::count(boxes) as u32).collect();
    hold(&box_shaders::COUNT, "count", &got.counts, &counts)
}

fn sums(context: &Arc<Context>) -> Result<()> {
    let (shape, cells) = ([33, 70], values(33 * 70));
    let wanted = fractal_kernels::boxes::sums(&cells, shape, &Serial)?;
    let got = boxes::sums(&context.upload(&cells)?, shape)?;
    got.iter().zip(&wanted).try_for_each(|(got, wanted)| hold(&box_shaders::SUMS, "halve", &got.boxes, &wanted.boxes))
}

fn softmax(context: &Arc<Context>) -> Result<()> {
    let (shape, mut rows) = ([5, 300], values(5 * 300));
    // A row of nothing, and one that has little.
    rows[300..600].fill(f32::NEG_INFINITY);
    rows[600..800].fill(f32::NEG_INFINITY);
    let wanted = fractal_kernels::linear::softmax(&rows, shape, &Serial)?;
    let sharing = linear::Sharing::best(context);
    let got = linear::softmax_by(sharing, &context.upload(&rows)?, shape)?;
    hold(&linear_shaders::SOFTMAX, sharing.softmax(), &got, &wanted)
}

fn matmul(context: &Arc<Context>) -> Result<()> {
    let (shape, left, right) = ([70, 35, 67], values(70 * 35), values(35 * 67));
    let wanted = fractal_kernels::linear::matmul(&left, &right, shape, &Serial)?;
    let sharing = linear::Sharing::best(context);
    let got = linear::matmul_by(sharing, &context.upload(&left)?, &context.upload(&right)?, shape)?;
    hold(&linear_shaders::MATMUL, sharing.matmul(), &got, &wanted)
}

fn pairwise(context: &Arc<Context>) -> Result<()> {
    let (left, right, shape) = (values(30 * 7), values(25 * 7), [30, 25, 7]);
    let pairs = Pairs { left: &left, right: &right, shape };
    let (left, right) = (context.upload(&left)?, context.upload(&right)?);
    let wanted = fractal_kernels::distance::euclidean(pairs, &Serial)?;
    hold(&distance_shaders::PAIRWISE, "euclidean", &distance::euclidean(&left, &right, shape)?, &wanted)?;
    let wanted = fractal_kernels::distance::hyperbolic(pairs, 1.0, &Serial)?;
    hold(&distance_shaders::PAIRWISE, "hyperbolic", &distance::hyperbolic(&left, &right, shape, 1.0)?, &wanted)
}

fn density(context: &Arc<Context>) -> Result<()> {
    let tokens: Vec<u32> = (0..300).map(|i| i * i % 23 / 4).collect();
    let wanted = fractal_kernels::density::density(&tokens, [3, 100], 4, &Serial)?;
    let got = distance::density(&context.upload(&tokens)?, [3, 100], 4)?;
    hold(&distance_shaders::DENSITY, "density", &got, &wanted)
}
