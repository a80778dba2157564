//! Hilbert and Morton codes, box orders, dragon and digit sets: properties, and equality with the naive twins.

mod codec;
mod naive;

use codec::{hilbert, morton};
use fractal_kernels::curves::lattice::Rows;
use fractal_kernels::curves::{dragon, hilbert_order};
use fractal_kernels::executor::{Rayon, Serial};
use fractal_kernels::sets::cantor;
use fractal_kernels::simd::{Level, Run};
use proptest::prelude::*;

/// A size the codecs take, and a place on its curve.
fn place() -> impl Strategy<Value = (usize, u32, u64)> {
    (1_usize..=64).prop_flat_map(|ndim| (Just(ndim), 0..=64 / ndim as u32)).prop_flat_map(|(ndim, order)| {
        let top = u64::MAX.checked_shr(64 - ndim as u32 * order).unwrap_or(0);
        (Just(ndim), Just(order), 0..=top)
    })
}

fn distance(a: &[u64], b: &[u64]) -> u64 {
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).sum()
}

proptest! {
    #[test]
    fn codecs_invert((ndim, order, code) in place()) {
        let point = hilbert::decode(&[code], ndim, order).unwrap();
        prop_assert!(point.iter().all(|x| x.checked_shr(order).unwrap_or(0) == 0));
        prop_assert_eq!(hilbert::encode(&point, ndim, order).unwrap(), vec![code]);
        let point = morton::decode(&[code], ndim, order).unwrap();
        prop_assert_eq!(morton::encode(&point, ndim, order).unwrap(), vec![code]);
        prop_assert_eq!(naive::morton::encode(&point, order), code);
    }

    #[test]
    fn hilbert_steps_are_unit_steps((ndim, order, code) in place()) {
        let next = code.saturating_add(1);
        if let Ok(points) = hilbert::decode(&[code, next], ndim, order) {
            prop_assert_eq!(distance(&points[..ndim], &points[ndim..]), next - code);
        }
    }

    #[test]
    fn hilbert_prefix_is_every_lower_order((ndim, order, code) in place(), more in 0_u32..64) {
        let longer = (order + more).min(64 / ndim as u32);
        prop_assert_eq!(
            hilbert::decode(&[code], ndim, order).unwrap(),
            hilbert::decode(&[code], ndim, longer).unwrap()
        );
    }

    #[test]
    fn hilbert_is_local_in_the_plane(a in 0_u64..1 << 40, gap in 1_u64..1 << 30) {
        let points = hilbert::decode(&[a, a + gap], 2, 32).unwrap();
        let (dy, dx) = (points[0].abs_diff(points[2]) as f64, points[1].abs_diff(points[3]) as f64);
        prop_assert!((dy + dx) <= 3.0 * (gap as f64).sqrt());
        prop_assert!(dy * dy + dx * dx <= 6.0 * gap as f64);
    }

    #[test]
    fn boxes_are_walked_in_unit_steps(shape in proptest::collection::vec(1_usize..60, 2..=3)) {
        let order = hilbert_order::order(&shape).unwrap();
        let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let cell = |o: i64| {
            let o = o as usize;
            [o / (rows * columns), o / columns % rows, o % columns].map(|x| x as u64)
        };
        prop_assert!(order.windows(2).all(|w| distance(&cell(w[0]), &cell(w[1])) == 1));
        let mut sorted = order;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..shape.iter().product::<usize>() as i64).collect::<Vec<_>>());
    }

    #[test]
    fn digit_sets_equal_their_twin(
        n in 0_i64..5000,
        base in 2_i64..12,
        digits in proptest::collection::btree_set(0_i64..12, 1..6),
    ) {
        let digits: Vec<i64> = digits.into_iter().filter(|&d| d < base).collect();
        prop_assume!(!digits.is_empty());
        prop_assert_eq!(cantor::digit_offsets(n, base, &digits).unwrap(), naive::cantor::digit_offsets(n, base, &digits));
    }

    #[test]
    fn dragon_headings_are_sums_of_turns(k in 1_u64..1 << 60) {
        let turned = dragon::heading(k - 1).wrapping_add_signed(i32::from(dragon::turn(k))) & 3;
        prop_assert_eq!(turned, dragon::heading(k));
    }
}

#[test]
fn hilbert_plane_equals_its_twin() {
    for order in 0..8 {
        let index: Vec<u64> = (0..1 << (2 * order)).collect();
        let twin: Vec<u64> = naive::hilbert::plane(order).into_iter().flatten().collect();
        assert_eq!(hilbert::decode(&index, 2, order).unwrap(), twin, "order {order}");
    }
}

#[test]
fn dragon_equals_its_twin() {
    assert_eq!(dragon::turns(1023).unwrap(), naive::dragon::turns(10));
    assert_eq!(dragon::vertices(1025).unwrap(), naive::dragon::vertices(10));
}

/// 2**k a side: the codec's own curve, whatever the order is written with.
#[test]
fn orders_of_squares_and_cubes_are_the_codecs_curve() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for (ndim, orders) in [(2, 0..9), (3, 0..6)] {
        for order in orders {
            let index: Vec<u64> = (0..1 << (ndim * order)).collect();
            let points = hilbert::decode(&index, ndim, order as u32).unwrap();
            let offsets = points.chunks(ndim).map(|p| p.iter().fold(0, |offset, &x| offset << order | x as i64));
            let got = hilbert_order::order_on(&vec![1 << order; ndim], &Rayon(&pool)).unwrap();
            assert_eq!(got, offsets.collect::<Vec<_>>(), "{ndim} axes of 2**{order}");
        }
    }
}

/// Random coordinates of some order.
fn coordinates(n: usize, order: u32) -> Vec<u64> {
    let keep = u64::MAX.checked_shr(64 - order).unwrap_or(0);
    (0..n as u64).map(|i| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) & keep).collect()
}

/// Random points of the plane and of space, at every SIMD level; more than a piece, and not whole blocks.
#[test]
fn codes_equal_their_twins_at_every_level() {
    for (ndim, orders) in [(2, vec![0, 1, 2, 7, 15, 16, 17, 31, 32]), (3, vec![0, 1, 2, 3, 8, 20, 21])] {
        for order in orders {
            let coords = coordinates(9001 * ndim, order);
            let codes: Vec<u64> = coords.chunks(ndim).map(|p| naive::hilbert::place_of(p, order)).collect();
            if ndim == 2 {
                let plane = coords.chunks(2).map(|p| naive::hilbert::place(p[0], p[1], order));
                assert!(plane.eq(codes.iter().copied()), "the twins agree");
            }
            let morton_codes: Vec<u64> = coords.chunks(ndim).map(|p| naive::morton::encode(p, order)).collect();
            for (name, level) in fractal_kernels::simd::levels() {
                let what = format!("{name}, {ndim} axes of {order} bits");
                assert_eq!(
                    hilbert::encode_at(Run::new(level, &Serial), &coords, ndim, order).unwrap(),
                    codes,
                    "{what}"
                );
                assert_eq!(
                    hilbert::decode_at(Run::new(level, &Serial), &codes, ndim, order).unwrap(),
                    coords,
                    "{what}"
                );
                assert_eq!(
                    morton::encode_at(Run::new(level, &Serial), &coords, ndim, order).unwrap(),
                    morton_codes,
                    "{what}"
                );
                assert_eq!(
                    morton::decode_at(Run::new(level, &Serial), &morton_codes, ndim, order).unwrap(),
                    coords,
                    "{what}"
                );
            }
        }
    }
}

/// Every dtype in, packed and strided, and every dtype out.
#[test]
fn dtypes_and_strides_do_not_change_codes() {
    macro_rules! each {
        ($coords:ident, $ndim:ident, $order:ident, $codes:ident: $($t:ty),*) => {$(
            let given: Vec<$t> = $coords.iter().map(|&x| x as $t).collect();
            assert_eq!(hilbert::encode(&given, $ndim, $order).unwrap(), $codes);
            // Columns last to first, rows last to first.
            let n = given.len() / $ndim;
            let columns: Vec<$t> = (0..given.len()).map(|i| given[i % n * $ndim + i / n]).collect();
            let strides = [-1, n as isize];
            let rows = Rows::strided("coords", &columns, n - 1, strides, [n, $ndim]).unwrap();
            let mut out = vec![0_u64; n];
            fractal_kernels::curves::hilbert::encode(Run::new(Level::new(), &Serial), rows, $order, &mut out).unwrap();
            assert!(out.iter().eq($codes.iter().rev()));
            let mut out = vec![<$t>::default(); given.len()];
            let index = Rows::packed("index", &$codes, 1).unwrap();
            fractal_kernels::curves::hilbert::decode(Run::new(Level::new(), &Serial), index, $ndim, $order, &mut out).unwrap();
            assert_eq!(out, given);
        )*};
    }
    for (ndim, order) in [(2, 7), (3, 7), (4, 7)] {
        let coords = coordinates(1000 * ndim, order);
        let codes: Vec<u64> = coords.chunks(ndim).map(|p| naive::hilbert::place_of(p, order)).collect();
        each!(coords, ndim, order, codes: i8, u8, i16, u16, i32, u32, i64, u64);
    }
}

/// Boxes of many pieces, some of them long rows.
#[test]
fn threads_do_not_change_box_orders() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for shape in [&[501, 700][..], &[1, 100_000], &[3, 40_001], &[61, 47, 80], &[33, 1, 2000], &[127, 129]] {
        let parallel = hilbert_order::order_on(shape, &Rayon(&pool)).unwrap();
        assert_eq!(parallel, hilbert_order::order(shape).unwrap(), "{shape:?}");
    }
}

#[test]
fn threads_do_not_change_codes() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let index: Vec<i64> = (0..100_000).rev().collect();
    let points = hilbert::decode(&index, 3, 6).unwrap();
    assert_eq!(points, hilbert::decode_at(Run::new(Level::new(), &Rayon(&pool)), &index, 3, 6).unwrap());
    assert_eq!(
        hilbert::encode_at(Run::new(Level::new(), &Rayon(&pool)), &points, 3, 6).unwrap(),
        hilbert::encode(&points, 3, 6).unwrap()
    );
}

#[test]
fn refusals_name_the_argument() {
    let pair = Rows::packed("coords", &[1_u8, 2], 2).unwrap();
    let refused = [
        hilbert::encode(&[0_u64, 0], 2, 33).unwrap_err(),
        hilbert::encode(&[0_i64, -1], 2, 3).unwrap_err(),
        hilbert::encode(&[0_i64; 3], 2, 3).unwrap_err(),
        hilbert::encode(&[0_i32, -1], 2, 16).unwrap_err(),
        hilbert::encode(&[0_u32, 8], 2, 3).unwrap_err(),
        hilbert::decode(&[-1_i64], 2, 32).unwrap_err(),
        hilbert::decode(&[64_u64], 2, 3).unwrap_err(),
        morton::decode(&[0_u64], 0, 3).unwrap_err(),
        Rows::strided("coords", &[0_u8; 5], 0, [2, 1], [3, 2]).map(|_| ()).unwrap_err(),
        Rows::strided("coords", &[0_u8; 5], 3, [-2, 1], [3, 2]).map(|_| ()).unwrap_err(),
        fractal_kernels::curves::hilbert::encode(Run::new(Level::new(), &Serial), pair, 2, &mut [0_u8; 2]).unwrap_err(),
        fractal_kernels::curves::hilbert::encode(Run::new(Level::new(), &Serial), pair, 4, &mut [0_i8; 1]).unwrap_err(),
        hilbert_order::order(&[usize::MAX, 2]).unwrap_err(),
        cantor::points(27).unwrap_err(),
        cantor::digit_offsets(-1, 3, &[0]).unwrap_err(),
    ];
    let names: Vec<_> = refused.iter().map(|e| e.argument).collect();
    assert_eq!(
        names,
        [
            "order", "coords", "coords", "coords", "coords", "index", "index", "ndim", "coords", "coords", "out",
            "out", "shape", "depth", "n"
        ]
    );
}
