//! Softmax and matrix products against their CPU twins, each in both forms.

use crate::common::{ALONE, assert_agrees, cases, context, narrow, refused, spread};
use fractal_gpu::Context;
use fractal_gpu::ops::linear as gpu;
use fractal_gpu::ops::linear::Sharing;
use fractal_kernels::linear as cpu;
use fractal_shaders::linear::{MATMUL, SOFTMAX};
use std::sync::Arc;

const FORMS: [Sharing; 2] = [Sharing::Nothing, Sharing::Memory];

fn softmax_agrees(context: &Arc<Context>, values: &[f32], shape: [usize; 2]) {
    let wanted = cpu::softmax(values, shape, ALONE).unwrap();
    let values = context.upload(values).unwrap();
    for sharing in FORMS {
        let got = gpu::softmax_by(sharing, &values, shape).unwrap();
        assert_agrees(&SOFTMAX, sharing.softmax(), got, &wanted, &format!("{shape:?}"));
    }
}

#[test]
fn softmax_is_the_twins() {
    let Some(context) = context() else { return };
    for shape in [[0, 0], [0, 5], [5, 0], [1, 1], [1, 255], [257, 3], [3, 257], [2, 5000], [65_537, 1]] {
        softmax_agrees(&context, &spread(shape[0] * shape[1], 1, -20.0, 20.0), shape);
    }
    cases(12, (1_usize..200, 1_usize..600, 0_u64..9), |(rows, columns, seed)| {
        softmax_agrees(&context, &spread(rows * columns, seed, -80.0, 80.0), [rows, columns]);
    });
    let narrow = narrow(1 << 15);
    softmax_agrees(&narrow, &spread(600 * 21, 3, -5.0, 5.0), [600, 21]);
    let wide = narrow.upload(&vec![0.0_f32; 2 * 8193]).unwrap();
    assert_eq!(refused(gpu::softmax(&wide, [2, 8193])), "values");
    assert_eq!(refused(gpu::softmax(&wide, [3, 8193])), "values");
}

#[test]
fn rows_of_infinities_follow_the_rule() {
    let Some(context) = context() else { return };
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    #[rustfmt::skip]
    let rows = [
        [-inf, -inf, -inf], [-inf, 2.0, -inf], [f32::MIN, f32::MIN, -inf], [f32::MAX, f32::MAX, 0.0],
        [1.0, inf, 2.0], [1.0, nan, 2.0], [nan, -inf, -inf], [-inf, nan, 0.0], [inf, inf, inf],
    ];
    softmax_agrees(&context, rows.as_flattened(), [rows.len(), 3]);
}

fn matmul_agrees(context: &Arc<Context>, shape: [usize; 3], forms: &[Sharing]) {
    let [rows, inner, columns] = shape;
    let (left, right) = (spread(rows * inner, 1, -1.0, 1.0), spread(inner * columns, 2, -1.0, 1.0));
    let wanted = cpu::matmul(&left, &right, shape, ALONE).unwrap();
    let (left, right) = (context.upload(&left).unwrap(), context.upload(&right).unwrap());
    for &sharing in forms {
        let got = gpu::matmul_by(sharing, &left, &right, shape).unwrap();
        assert_agrees(&MATMUL, sharing.matmul(), got, &wanted, &format!("{shape:?}"));
    }
}

#[test]
fn products_are_the_twins() {
    let Some(context) = context() else { return };
    for shape in [[0, 0, 0], [0, 3, 4], [3, 0, 4], [3, 4, 0], [1, 1, 1], [64, 16, 64], [65, 17, 63], [33, 129, 31]] {
        matmul_agrees(&context, shape, &FORMS);
    }
    cases(10, (1_usize..130, 1_usize..130, 1_usize..130), |(rows, inner, columns)| {
        matmul_agrees(&context, [rows, inner, columns], &FORMS);
    });
    // More workgroups than one dimension has, in the form that a software adapter takes a second for.
    matmul_agrees(&context, [1, 2, 65_536 * 32 + 1], &[Sharing::Nothing]);
    // All three matrices take more than one binding.
    let narrow = narrow(1 << 15);
    matmul_agrees(&narrow, [200, 160, 64], &FORMS);
    matmul_agrees(&narrow, [300, 96, 31], &FORMS);
    let some = context.upload(&[1.0_f32; 6]).unwrap();
    assert_eq!(refused(gpu::matmul(&some, &some, [2, 3, 3])), "right");
    assert_eq!(refused(gpu::matmul(&some, &some, [2, 2, 3])), "left");
}
