//! Distances and densities against their CPU twins.

use crate::common::{ALONE, assert_agrees, cases, context, narrow, refused, spread};
use fractal_gpu::Context;
use fractal_gpu::ops::distance as gpu;
use fractal_kernels::density::density;
use fractal_kernels::distance::{self as cpu, Pairs};
use fractal_shaders::distance::{DENSITY, PAIRWISE};
use std::sync::Arc;

/// Points within about 3 of the origin of the hyperboloid: where single precision holds.
const FAR: f32 = 3.0;

fn distances_agree(context: &Arc<Context>, left: &[f32], right: &[f32], shape: [usize; 3], c: f64) {
    let pairs = Pairs { left, right, shape };
    let about = format!("{shape:?}, c = {c}");
    let (near, far) = (cpu::euclidean(pairs, ALONE).unwrap(), cpu::hyperbolic(pairs, c, ALONE).unwrap());
    let (left, right) = (context.upload(left).unwrap(), context.upload(right).unwrap());
    assert_agrees(&PAIRWISE, "euclidean", gpu::euclidean(&left, &right, shape).unwrap(), &near, &about);
    assert_agrees(&PAIRWISE, "hyperbolic", gpu::hyperbolic(&left, &right, shape, c).unwrap(), &far, &about);
}

fn random_distances_agree(context: &Arc<Context>, shape: [usize; 3], c: f64) {
    let reach = FAR / (c.sqrt() as f32 * (shape[2] as f32).sqrt().max(1.0));
    let mut left = spread(shape[0] * shape[2], 1, -reach, reach);
    let right = spread(shape[1] * shape[2], 2, -reach, reach);
    // Some points on both sides, and the origin.
    let same = left.len().min(right.len()) / 2;
    left[..same].copy_from_slice(&right[..same]);
    if let Some(first) = left.get_mut(..shape[2]) {
        first.fill(0.0);
    }
    distances_agree(context, &left, &right, shape, c);
}

#[test]
fn distances_are_the_twins() {
    let Some(context) = context() else { return };
    for shape in [[0, 0, 3], [0, 5, 2], [5, 0, 2], [4, 3, 0], [1, 1, 1], [255, 257, 3], [64, 64, 64]] {
        random_distances_agree(&context, shape, 1.0);
    }
    cases(12, (1_usize..100, 1_usize..100, 1_usize..20, -3_i32..4), |(rows, columns, dimension, power)| {
        random_distances_agree(&context, [rows, columns, dimension], 2_f64.powi(power));
    });
    // Points that are close to each other and not to the origin, and points on a ray and across.
    let pairs = [2.0, 1.0, 2.0001, 1.0, -2.0, -1.0, 4.0, 2.0, 1e-5, 0.0, 0.0, 2e-5, 0.0, 0.0];
    distances_agree(&context, &pairs, &pairs, [7, 7, 2], 1.0);
    // More workgroups than one dimension has.
    let [left, right] = [4096, 4097].map(|n| spread(n, 3, -1.0, 1.0));
    let shape = [4096, 4097, 1];
    let wanted = cpu::euclidean(Pairs { left: &left, right: &right, shape }, ALONE).unwrap();
    let (left, right) = (context.upload(&left).unwrap(), context.upload(&right).unwrap());
    assert_agrees(&PAIRWISE, "euclidean", gpu::euclidean(&left, &right, shape).unwrap(), &wanted, "many");
    // More than one binding, of each list and of the distances.
    let narrow = narrow(1 << 15);
    random_distances_agree(&narrow, [300, 200, 64], 1.0);
    random_distances_agree(&narrow, [700, 33, 6], 0.5);
    let some = context.upload(&[1.0_f32; 6]).unwrap();
    assert_eq!(refused(gpu::euclidean(&some, &some, [2, 2, 3]).and(gpu::euclidean(&some, &some, [2, 3, 3]))), "right");
    assert_eq!(refused(gpu::hyperbolic(&some, &some, [2, 2, 3], -1.0)), "c");
}

fn densities_agree(context: &Arc<Context>, shape: [usize; 2], radius: usize) {
    let tokens: Vec<u32> = (0..(shape[0] * shape[1]) as u32).map(|i| i.wrapping_mul(2_654_435_761) >> 30 | 1).collect();
    let wanted = density(&tokens, shape, radius, ALONE).unwrap();
    let got = gpu::density(&context.upload(&tokens).unwrap(), shape, radius).unwrap();
    assert_agrees(&DENSITY, "density", got, &wanted, &format!("{shape:?}, radius {radius}"));
}

#[test]
fn densities_are_the_twins() {
    let Some(context) = context() else { return };
    for shape in [[0, 0], [0, 4], [4, 0], [1, 1], [3, 1], [1, 257], [16, 64]] {
        for radius in [0, 1, 5, 1000, usize::MAX] {
            densities_agree(&context, shape, radius);
        }
    }
    cases(12, (1_usize..20, 1_usize..300, 0_usize..40), |(batch, length, radius)| {
        densities_agree(&context, [batch, length], radius);
    });
    densities_agree(&context, [2, 1 << 23], 1);
    // A window so wide that a dispatch takes some of the positions only.
    densities_agree(&context, [1, 30_000], 30_000);
    densities_agree(&narrow(1 << 15), [300, 48], 3);
    assert_eq!(refused(gpu::density(&context.upload(&[1_u32; 5]).unwrap(), [2, 3], 1)), "tokens");
}
