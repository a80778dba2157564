//! Codecs of curves against their CPU twins, bit for bit.

use crate::common::{ALONE, cases, context, narrow, refused};
use bytemuck::cast_slice;
use fractal_gpu::Context;
use fractal_gpu::ops::curves::{Codec, decode, encode};
use fractal_kernels::curves::lattice::Rows;
use fractal_kernels::curves::{hilbert, morton};
use fractal_kernels::simd::{Level, Run};
use std::sync::Arc;

/// Codes of points, and the points of these codes again, on both sides.
fn agree(context: &Arc<Context>, curve: Codec, points: &[u32], ndim: usize, order: u32) {
    let about = format!("{curve:?} of {} coordinates, ndim {ndim}, order {order}", points.len());
    let run = Run::new(Level::new(), ALONE);
    let rows = Rows::packed("points", points, ndim).unwrap();
    let mut codes = vec![0_u64; points.len() / ndim];
    match curve {
        Codec::Hilbert => hilbert::encode(run, rows, order, &mut codes),
        Codec::Morton => morton::encode(run, rows, order, &mut codes),
    }
    .unwrap();
    let got = encode(curve, &context.upload(points).unwrap(), ndim, order).unwrap();
    assert_eq!(context.download::<u64>(got).unwrap()[..], codes, "{about}");
    let back = decode(curve, &context.upload(&codes).unwrap(), ndim, order).unwrap();
    assert_eq!(context.download::<u32>(back).unwrap()[..], *points, "{about}");
}

/// Coordinates of `order` bits, the corners of the box among them.
fn points(n: usize, order: u32) -> Vec<u32> {
    let mask = if order == 32 { u32::MAX } else { (1 << order) - 1 };
    (0..n as u32)
        .map(|i| match i % 11 {
            0 => 0,
            5 => mask,
            _ => i.wrapping_mul(2_654_435_761).rotate_left(i % 32) & mask,
        })
        .collect()
}

#[test]
fn codes_are_the_twins() {
    let Some(context) = context() else { return };
    for curve in [Codec::Hilbert, Codec::Morton] {
        // Every order, up to 64 bits of the code.
        for (ndim, most) in [(2, 32), (3, 21)] {
            for order in 1..=most {
                agree(&context, curve, &points(100 * ndim, order), ndim, order);
            }
            for n in [0, 1, 255, 257] {
                agree(&context, curve, &points(n * ndim, 9), ndim, 9);
            }
        }
        cases(12, (2_usize..4, 1_u32..22, 0_usize..2000), |(ndim, order, n)| {
            agree(&context, curve, &points(n * ndim, order), ndim, order);
        });
    }
    // More workgroups than one dimension has.
    agree(&context, Codec::Morton, &points(2 * (65_535 * 256 + 1), 16), 2, 16);
    // More than one binding.
    let narrow = narrow(4096);
    for ndim in [2, 3] {
        agree(&narrow, Codec::Hilbert, &points(3001 * ndim, 17), ndim, 17);
    }
}

#[test]
fn what_lies_outside_has_all_bits_set() {
    let Some(context) = context() else { return };
    for curve in [Codec::Hilbert, Codec::Morton] {
        let outside = context.upload(&[8_u32, 0, 0, 7, 3, 9, u32::MAX, 1]).unwrap();
        let codes = encode(curve, &outside, 2, 3).unwrap();
        let codes = context.download::<u64>(codes).unwrap();
        assert_eq!([codes[0], codes[2], codes[3]], [u64::MAX; 3]);
        assert!(codes[1] < 64);
        let bad = context.upload(&[64_u64, 1 << 32, u64::MAX, 63]).unwrap();
        let points = decode(curve, &bad, 2, 3).unwrap();
        let points = context.download::<u32>(points).unwrap();
        assert_eq!(points[..6], [u32::MAX; 6]);
        assert!(points[6].max(points[7]) < 8);
        let high = context.upload(&[1_u64 << 63, (1 << 63) - 1]).unwrap();
        let points = decode(curve, &high, 3, 21).unwrap();
        let points = context.download::<u32>(points).unwrap();
        assert_eq!(points[..3], [u32::MAX; 3]);
        assert!(points[3..].iter().all(|&x| x < 1 << 21));
    }
}

#[test]
fn sizes_that_no_code_has_are_refused() {
    let Some(context) = context() else { return };
    let four = context.upload::<u32>(cast_slice(&[[1_u32, 2], [3, 4]])).unwrap();
    assert_eq!(refused(encode(Codec::Hilbert, &four, 4, 3)), "ndim");
    assert_eq!(refused(encode(Codec::Hilbert, &four, 3, 3)), "points");
    assert_eq!(refused(encode(Codec::Hilbert, &four, 2, 33)), "order");
    assert_eq!(refused(decode(Codec::Morton, &context.upload(&[1_u32; 3]).unwrap(), 3, 21)), "codes");
    assert_eq!(refused(decode(Codec::Morton, &four, 3, 22)), "order");
}
