//! Boxes over cells against their CPU twins.

use crate::common::{ALONE, assert_agrees, cases, context, narrow, refused, spread};
use fractal_gpu::Context;
use fractal_gpu::ops::boxes as gpu;
use fractal_kernels::boxes as cpu;
use fractal_shaders::boxes::{COUNT, OCCUPIED, SUMS};
use std::sync::Arc;

/// Occupied boxes of all sizes and their counts, on both sides.
fn occupied_agree(context: &Arc<Context>, shape: [usize; 2], one_in: u32) {
    let about = format!("{shape:?}, one in {one_in}");
    let n = shape[0] * shape[1];
    let mask: Vec<u32> =
        (0..n as u32).map(|i| u32::from(i.wrapping_mul(2_654_435_761) >> 8 < (1 << 24) / one_in) * (i | 1)).collect();
    let wanted = cpu::occupied(&mask, shape, ALONE).unwrap();
    let got = gpu::occupied(&context.upload(&mask).unwrap(), shape).unwrap();
    assert_eq!(got.levels.len(), wanted.len(), "{about}");
    for (got, wanted) in got.levels.into_iter().zip(&wanted) {
        assert_eq!(got.shape, wanted.shape, "{about}");
        assert_agrees(&OCCUPIED, "halve", got.boxes, &wanted.boxes, &about);
    }
    let counts: Vec<u32> = std::iter::once(&mask)
        .chain(wanted.iter().map(|level| &level.boxes))
        .map(|boxes| cpu::count(boxes) as u32)
        .collect();
    assert_agrees(&COUNT, "count", got.counts, &counts, &about);
}

/// The sums of boxes of all sizes, on both sides.
fn sums_agree(context: &Arc<Context>, shape: [usize; 2]) {
    let about = format!("{shape:?}");
    let mass = spread(shape[0] * shape[1], 5, 0.0, 1.0);
    let wanted = cpu::sums(&mass, shape, ALONE).unwrap();
    let got = gpu::sums(&context.upload(&mass).unwrap(), shape).unwrap();
    assert_eq!(got.len(), wanted.len(), "{about}");
    for (got, wanted) in got.into_iter().zip(&wanted) {
        assert_eq!(got.shape, wanted.shape, "{about}");
        assert_agrees(&SUMS, "halve", got.boxes, &wanted.boxes, &about);
    }
}

#[test]
fn boxes_are_the_twins() {
    let Some(context) = context() else { return };
    for shape in [[0, 0], [0, 7], [7, 0], [1, 1], [1, 2], [3, 1], [255, 257], [512, 512]] {
        occupied_agree(&context, shape, 50);
        sums_agree(&context, shape);
    }
    cases(12, (1_usize..300, 1_usize..300, 1_u32..5000), |(rows, columns, one_in)| {
        occupied_agree(&context, [rows, columns], one_in);
        sums_agree(&context, [rows, columns]);
    });
    // More workgroups than one dimension has: the first level has 65 537 * 256 boxes.
    occupied_agree(&context, [2 * 4096, 2 * 4097], 1000);
    // More than one binding, with a last row of boxes that has one row of cells.
    let narrow = narrow(1 << 15);
    for shape in [[301, 64], [701, 49], [77, 128]] {
        occupied_agree(&narrow, shape, 100);
        sums_agree(&narrow, shape);
    }
    // Rows of which no aligned number fits.
    let wide = narrow.upload(&vec![1_u32; 3 * 5001]).unwrap();
    assert_eq!(refused(gpu::occupied(&wide, [3, 5001])), "cells");
    assert_eq!(refused(gpu::sums(&context.upload(&[1.0_f32; 5]).unwrap(), [2, 3])), "cells");
}
