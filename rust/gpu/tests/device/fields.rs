//! Escape fields and the soft Julia field against their CPU twins.

use crate::common::{ALONE, assert_agrees, cases, context, narrow, refused, spread};
use bytemuck::{cast_slice, cast_slice_mut};
use fractal_gpu::ops::fields as gpu;
use fractal_gpu::{Buffer, Context};
use fractal_kernels::fields::julia::{self as cpu, Escape};
use fractal_kernels::fields::lanes::Real;
use fractal_kernels::fields::soft_julia::{Soft, soft_julia, soft_julia_vjp};
use fractal_kernels::simd::{Level, Run};
use fractal_shaders::fields::{ESCAPE, FOLD, SOFT_JULIA, SOFT_JULIA_VJP};
use num_complex::Complex;
use std::sync::Arc;

const C: Complex<f64> = Complex { re: -0.7, im: 0.27 };
const SOFT: Soft = Soft { c: C, max_iter: 10, radius: 2.0, smoothness: 4.0 };

fn run() -> Run<'static> {
    Run::new(Level::new(), ALONE)
}

fn points(n: usize, seed: u64, reach: f32) -> Vec<Complex<f32>> {
    cast_slice(&spread(2 * n, seed, -reach, reach)).to_vec()
}

fn counts_agree(context: &Arc<Context>, points: &[Complex<f32>], c: Complex<f64>, escape: Escape) {
    let about = format!("{} points, c = {c}, {escape:?}", points.len());
    let wanted = [cpu::julia(points, c, escape, run()).unwrap(), cpu::mandelbrot(points, escape, run()).unwrap()];
    let points = context.upload(points).unwrap();
    assert_agrees(&ESCAPE, "julia", gpu::julia(&points, c, escape).unwrap(), &wanted[0], &about);
    assert_agrees(&ESCAPE, "mandelbrot", gpu::mandelbrot(&points, escape).unwrap(), &wanted[1], &about);
}

#[test]
fn escape_counts_are_the_twins() {
    let Some(context) = context() else { return };
    for smooth in [false, true] {
        let escape = Escape { max_iter: 64, radius: 2.0, smooth };
        for n in [0, 1, 63, 65] {
            counts_agree(&context, &points(n, 1, 1.6), C, escape);
        }
        counts_agree(&context, &points(200_000, 2, 1.6), C, escape);
        // A share of the counts may differ: of many points, and of orbits that are not too long, as each step of one near
        // the set doubles what was rounded.
        cases(
            6,
            &(20_000..25_000_usize, -1.0..1.0_f64, -1.0..1.0_f64, 1_u32..40, 2.0..1e6_f64),
            |(n, re, im, max, r)| {
                let escape = Escape { max_iter: max, radius: r, smooth };
                counts_agree(&context, &points(n, 3, 2.0), Complex { re, im }, escape);
            },
        );
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        #[rustfmt::skip]
        let odd = [
            (nan, 0.0), (0.0, nan), (nan, inf), (inf, 0.0), (-inf, inf), (0.0, inf), (3e38, 3e38), (1e19, 0.0),
            (0.0, 0.0), (2.0, 0.0), (-2.0, 0.0), (1e-30, 1e-30),
        ];
        counts_agree(&context, &odd.map(|(re, im)| Complex { re, im }), C, escape);
    }
    // More workgroups than one dimension has, and far more steps than one dispatch takes.
    let escape = Escape { max_iter: 1 << 20, radius: 2.0, smooth: true };
    counts_agree(&context, &points(1000, 4, 90.0), Complex { re: 3.0, im: 0.0 }, escape);
    let escape = Escape { max_iter: 2, ..escape };
    counts_agree(&context, &points(65_535 * 64 + 1, 5, 1.6), C, escape);
    counts_agree(&narrow(4096), &points(5001, 6, 1.6), C, Escape { max_iter: 64, ..escape });
    let some = context.upload(&[0.0_f32; 6]).unwrap();
    assert_eq!(refused(gpu::mandelbrot(&some, Escape { max_iter: 0, ..escape })), "max_iter");
    assert_eq!(refused(gpu::julia(&some, C * 1e9, escape)), "c");
    assert_eq!(refused(gpu::julia(&context.upload(&[0.0_f32; 3]).unwrap(), C, escape)), "points");
}

/// The field and its gradients on both sides; the gradients' bits, to compare runs.
fn soft_agrees(context: &Arc<Context>, points: &[Complex<f32>], weights: &[f32], soft: Soft) -> Vec<u32> {
    let about = format!("{} points, {soft:?}", points.len());
    let field = soft_julia(points, soft, run()).unwrap();
    let wanted = soft_julia_vjp(weights, points, soft, run()).unwrap();
    let (points, weights) = (context.upload(points).unwrap(), context.upload(weights).unwrap());
    assert_agrees(&SOFT_JULIA, "value", gpu::soft_julia(&points, soft).unwrap(), &field, &about);
    let got = gpu::soft_julia_vjp(&weights, &points, soft).unwrap();
    let by_point: &[f32] = cast_slice(&wanted.points);
    assert_agrees(&SOFT_JULIA_VJP, "gradients", got.points.clone(), by_point, &about);
    let shared = [wanted.c.re, wanted.c.im, wanted.radius, wanted.smoothness].map(|x| x as f32);
    assert_agrees(&FOLD, "fold", got.shared.clone(), &shared, &about);
    let bits = |buffer: Buffer| context.download::<u32>(buffer).unwrap().to_vec();
    [bits(got.points), bits(got.shared)].concat()
}

#[test]
fn the_soft_field_and_its_gradients_are_the_twins() {
    let Some(context) = context() else { return };
    for n in [0, 1, 63, 65, 20_000] {
        soft_agrees(&context, &points(n, 1, 1.6), &spread(n, 2, -1.0, 1.0), SOFT);
    }
    cases(10, (1_usize..2000, 1_u32..12, 1.0..4.0_f64, 0.5..8.0_f64), |(n, max_iter, radius, smoothness)| {
        let soft = Soft { max_iter, radius, smoothness, ..SOFT };
        soft_agrees(&context, &points(n, 3, 1.8), &spread(n, 4, -1.0, 1.0), soft);
    });
    // What is special: far out, tiny, nothing and no number, with weights that are.
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    #[rustfmt::skip]
    let odd = [
        (nan, 0.0), (inf, 0.0), (1e19, 0.0), (0.0, 0.0), (1e-20, -1e-20), (1e-30, 2e-30), (3e38, -3e38), (0.0, nan),
    ];
    let odd = odd.map(|(re, im)| Complex { re, im });
    soft_agrees(&context, &odd, &[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0], SOFT);
    soft_agrees(&context, &odd, &[1.0; 8], SOFT);
    soft_agrees(&context, &points(3, 1, 1.0), &[nan, 0.0, 1.0], SOFT);
    // More than one binding, of points and of their sums.
    let narrow = narrow(1 << 13);
    soft_agrees(&narrow, &points(40_001, 5, 1.6), &spread(40_001, 6, -1.0, 1.0), SOFT);
    let some = context.upload(&[0.0_f32; 6]).unwrap();
    assert_eq!(refused(gpu::soft_julia_vjp(&some, &some, SOFT)), "weights");
    assert_eq!(refused(gpu::soft_julia(&some, Soft { smoothness: 0.0, ..SOFT })), "smoothness");
}

#[test]
fn gradients_have_the_same_bits_every_time() {
    let Some(context) = context() else { return };
    let (mut points, weights) = (points(100_000, 7, 1.6), spread(100_000, 8, -1.0, 1.0));
    let first = soft_agrees(&context, &points, &weights, SOFT);
    assert_eq!(soft_agrees(&context, &points, &weights, SOFT), first);
    cast_slice_mut::<_, f32>(&mut points)[0] += 0.5;
    assert_ne!(soft_agrees(&context, &points, &weights, SOFT), first);
}

/// By the real and imaginary part of c, radius and smoothness.
fn shared<T: Real>(weights: &[T], points: &[Complex<T>], soft: Soft) -> [f64; 4] {
    let gradients = soft_julia_vjp(weights, points, soft, run()).unwrap();
    [gradients.c.re, gradients.c.im, gradients.radius, gradients.smoothness]
}

/// Along an orbit near the set each step doubles what was rounded, and terms of both signs cancel: twins in single
/// precision differ by per cents of a sum, and each is held to double precision by the size of the sum's terms.
#[test]
fn sums_over_long_orbits_are_those_of_double_precision() {
    let Some(context) = context() else { return };
    let soft = Soft { max_iter: 24, ..SOFT };
    for (seed, c) in [(1, C), (3, Complex { re: -0.12, im: 0.75 }), (5, Complex { re: 0.3, im: 0.5 })] {
        let soft = Soft { c, ..soft };
        let (points, weights) = (points(3000, seed, 1.6), spread(3000, seed + 1, -1.0, 1.0));
        let wide = |z: &Complex<f32>| Complex { re: f64::from(z.re), im: f64::from(z.im) };
        let exact_points: Vec<_> = points.iter().map(wide).collect();
        let exact_weights: Vec<_> = weights.iter().copied().map(f64::from).collect();
        let exact = shared(&exact_weights, &exact_points, soft);
        let mut sizes = [0.0; 4];
        for (weight, point) in exact_weights.iter().zip(&exact_points) {
            let term = shared(&[*weight], &[*point], soft);
            sizes.iter_mut().zip(term).for_each(|(size, term)| *size += term.abs());
        }
        let got = gpu::soft_julia_vjp(&context.upload(&weights).unwrap(), &context.upload(&points).unwrap(), soft);
        let got = context.download::<f32>(got.unwrap().shared).unwrap();
        let twin = shared(&weights, &points, soft);
        for (i, (exact, size)) in exact.into_iter().zip(sizes).enumerate() {
            for (who, sum) in [("the device", f64::from(got[i])), ("its twin", twin[i])] {
                let error = (sum - exact).abs() / size;
                assert!(error <= 2e-4, "{who}, c = {c}, sum {i}: {sum}, not {exact}: {error:.1e} of its terms' {size}");
            }
        }
    }
}
