//! Index sets and their builders: equality with the naive twins, on every executor, and typed refusals.

mod naive;

use fractal_kernels::ErrorKind;
use fractal_kernels::builders::{self, Axis, Span};
use fractal_kernels::error::Result;
use fractal_kernels::executor::{Executor, Rayon, Serial};
use fractal_kernels::index_set::{Form, IndexSet};
use naive::index_set::{listed, mask, mask_of, offsets, pairs_of_masks, pool, reach, transposed};
use num_complex::Complex64;
use proptest::prelude::*;

/// Queries, keys, causal.
fn spans(most: usize) -> impl Strategy<Value = (usize, usize, bool)> {
    (1..most).prop_flat_map(|keys| (1..=keys, Just(keys), any::<bool>()))
}

/// An axis and windows that fit into it: length, kernel, stride, dilation, causal.
fn axes() -> impl Strategy<Value = naive::builders::Axis> {
    (1_usize..5, 1_usize..4).prop_flat_map(|(kernel, dilation)| {
        let fits = kernel * dilation;
        (fits..fits + 6, Just(kernel), 1..=kernel, Just(dilation), any::<bool>())
    })
}

/// A builder gives what the twin says, the same on one thread and on three.
fn same(
    (queries, keys, causal): (usize, usize, bool),
    build: impl Fn(Span, &dyn Executor) -> Result<IndexSet>,
    attends: impl Fn(usize, usize) -> bool,
) {
    let span = Span::new(queries, keys, causal).unwrap();
    let set = build(span, &Serial).unwrap();
    let first = keys - queries;
    let expected = mask(queries, keys, |i, j| attends(first + i, j) && (!causal || j <= first + i));
    assert_eq!(mask_of(&set), expected);
    assert_eq!(mask_of(&build(span, &Rayon(&pool())).unwrap()), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn conversions((mask, _) in pairs_of_masks()) {
        let set = listed(&mask);
        prop_assert_eq!(&mask_of(&set), &mask);
        prop_assert_eq!(set.nnz(), mask.iter().flatten().filter(|&&m| m).count());
        prop_assert_eq!(set.to_mask(&Rayon(&pool())).unwrap(), mask.concat());
        let (indptr, indices) = set.to_csr(&Serial).unwrap();
        let again = IndexSet::from_csr(indptr.into_owned(), indices.into_owned(), set.n_keys()).unwrap();
        prop_assert_eq!(&mask_of(&again), &mask);
        let (lists, width) = set.to_padded(&Serial).unwrap();
        let backwards = |query: usize, slot: usize| i64::from(lists[query * width + width - 1 - slot]);
        let again = IndexSet::from_padded(set.n_queries(), width, set.n_keys(), &Serial, backwards).unwrap();
        prop_assert_eq!(&mask_of(&again), &mask);
        let lengths: Vec<usize> = mask.iter().map(|row| row.iter().filter(|&&m| m).count()).collect();
        prop_assert_eq!(set.degrees(), (*lengths.iter().min().unwrap(), *lengths.iter().max().unwrap()));
    }

    #[test]
    fn algebra((one, two) in pairs_of_masks(), from in -45_i64..45) {
        let (rows, columns) = (one.len(), one[0].len());
        let (a, b) = (listed(&one), listed(&two));
        prop_assert_eq!(mask_of(&a.union(&b, &Serial).unwrap()), mask(rows, columns, |i, j| one[i][j] || two[i][j]));
        let both = mask(rows, columns, |i, j| one[i][j] && two[i][j]);
        prop_assert_eq!(mask_of(&a.intersection(&b, &Serial).unwrap()), both);
        prop_assert_eq!(mask_of(&a.transpose().unwrap()), transposed(&one, columns));
        let past = mask(rows, columns, |i, j| one[i][j] && j as i64 <= i as i64 + from);
        prop_assert_eq!(mask_of(&a.causal(Some(from), &Serial).unwrap()), past);
        prop_assert_eq!(mask_of(&a.rows(rows / 3, rows).unwrap()), one[rows / 3..].to_vec());
        let short = mask(rows.div_ceil(2), columns.div_ceil(2), |i, j| one[i][j]);
        prop_assert_eq!(mask_of(&a.prefix(short.len(), short[0].len(), &Serial).unwrap()), short);
    }

    #[test]
    fn offsets_are_their_rows(
        (a, b) in (offsets(), offsets()), rows in 1_usize..30, columns in 1_usize..30,
        q_offset in -35_i64..35, from in -45_i64..45
    ) {
        let held = |o: &[i64]| IndexSet::from_offsets(o.to_vec(), rows, columns, q_offset).unwrap();
        let dense = |o: &[i64]| mask(rows, columns, |i, j| o.contains(&(i as i64 + q_offset - j as i64)));
        let (set, other, one, two) = (held(&a), held(&b), dense(&a), dense(&b));
        prop_assert_eq!(&mask_of(&set), &one);
        prop_assert_eq!(set.nnz(), one.iter().flatten().filter(|&&m| m).count());
        prop_assert_eq!(set.is_causal(), (0..rows).all(|i| (0..columns).all(|j| !one[i][j] || j as i64 <= i as i64 + q_offset)));
        prop_assert_eq!(mask_of(&set.listed(&Serial).unwrap()), one.clone());
        let past = mask(rows, columns, |i, j| one[i][j] && j as i64 <= i as i64 + from);
        for (derived, expected) in [
            (set.union(&other, &Serial).unwrap(), mask(rows, columns, |i, j| one[i][j] || two[i][j])),
            (set.intersection(&other, &Serial).unwrap(), mask(rows, columns, |i, j| one[i][j] && two[i][j])),
            (set.causal(Some(from), &Serial).unwrap(), past),
            (set.transpose().unwrap(), transposed(&one, columns)),
            (set.rows(rows / 2, rows).unwrap(), one[rows / 2..].to_vec()),
        ] {
            prop_assert_eq!(mask_of(&derived), expected);
            let stays = matches!(derived.form(), Form::Offsets { .. });
            prop_assert!(stays);
        }
        let mixed = set.union(&other.listed(&Serial).unwrap(), &Serial).unwrap();
        prop_assert_eq!(mask_of(&mixed), mask(rows, columns, |i, j| one[i][j] || two[i][j]));
    }

    #[test]
    fn reach_of_rows(n in 1_usize..24, bits in prop::collection::vec(prop::bool::weighted(0.15), 24 * 24), past in any::<bool>()) {
        let step = mask(n, n, |i, j| bits[i * 24 + j] && (!past || j <= i));
        let set = listed(&step);
        let got = set.reach(30, u64::MAX, &Rayon(&pool())).unwrap().unwrap();
        let expected = reach(&step, got.causal, 30);
        prop_assert_eq!(got.causal, set.is_causal());
        prop_assert_eq!(&got.shares[..], &expected[..got.shares.len()]);
        prop_assert_eq!(got.shares.last(), expected.last());
        prop_assert_eq!(got.layers, expected.iter().position(|&share| share >= 1.0).map(|layer| layer + 1));
    }

    #[test]
    fn reach_of_offsets(steps in offsets(), n in 1_usize..24, q_offset in -3_i64..3) {
        let set = IndexSet::from_offsets(steps, n, n, q_offset).unwrap();
        let got = set.reach(30, u64::MAX, &Serial).unwrap().unwrap();
        let expected = reach(&mask_of(&set), got.causal, 30);
        prop_assert_eq!(&got.shares[..], &expected[..got.shares.len()]);
        prop_assert_eq!(got.shares.last(), expected.last());
        prop_assert_eq!(got.causal, set.listed(&Serial).unwrap().is_causal());
    }

    #[test]
    fn windows(span in spans(60), radius in 0_usize..70) {
        same(span, |span, _| builders::window(span, radius), naive::builders::window(radius));
    }

    #[test]
    fn cantor_sets(span in spans(120), base in 2_i64..7, more in prop::collection::btree_set(1_i64..7, 0..3)) {
        let digits: Vec<i64> = std::iter::once(0).chain(more.into_iter().filter(|&d| d < base)).collect();
        let twin = naive::builders::digits(span.1, base, &digits);
        same(span, |span, _| builders::cantor(span, base, &digits), twin);
    }

    #[test]
    fn cantor_samples(span in spans(700), depth in 0_u32..7) {
        let twin = naive::builders::cantor_samples(span.1, depth);
        same(span, |span, executor| builders::cantor_samples(span, depth, executor), twin);
    }

    #[test]
    fn sierpinski(span in spans(300)) {
        same(span, builders::sierpinski, naive::builders::sierpinski());
    }

    #[test]
    fn hilbert(span in spans(300), radius in 0_usize..20) {
        let twin = naive::builders::hilbert(span.1, radius);
        same(span, |span, executor| builders::hilbert(span, radius, executor), twin);
    }

    #[test]
    fn hilbert_boxes(shape in prop::collection::vec(1_usize..7, 1..=3), radius in 0_usize..8, causal in any::<bool>(), part in 1_usize..400) {
        let cells: usize = shape.iter().product();
        let twin = naive::builders::hilbert_box(&shape, radius);
        let span = (part.min(cells), cells, causal);
        same(span, |span, executor| builders::hilbert_box(span, &shape, radius, executor), twin);
    }

    #[test]
    fn neighborhoods(axes in prop::collection::vec(axes(), 1..=3), causal in any::<bool>(), part in 1_usize..2000) {
        let cells: usize = axes.iter().map(|axis| axis.0).product();
        let built: Vec<Axis> = axes
            .iter()
            .map(|&(len, kernel, stride, dilation, causal)| Axis { len, kernel, stride, dilation, causal })
            .collect();
        let span = (part.min(cells), cells, causal);
        let twin = naive::builders::neighborhood(&axes);
        same(span, |span, executor| builders::neighborhood(span, &built, executor), twin);
    }

    #[test]
    fn dragon(span in spans(300), radius in 0_usize..6) {
        let twin = naive::builders::dragon(span.1, radius);
        same(span, |span, executor| builders::dragon(span, radius, executor), twin);
    }

    #[test]
    fn julia(span in spans(300), re in -1.0_f64..1.0, im in -1.0_f64..1.0, window in 0_usize..6, near in 0_usize..6) {
        let twin = naive::builders::julia(span.1, (re, im), window, near, 40);
        let build = |span, executor: &dyn Executor| builders::julia(span, Complex64::new(re, im), window, near, 40, executor);
        same(span, build, twin);
    }

    #[test]
    fn random_rows((queries, keys, _) in spans(300), k in 0_usize..12, seed in any::<u64>()) {
        let build = |queries, keys, causal| {
            let span = Span::new(queries, keys, causal).unwrap();
            let set = builders::random(span, k, seed, &Serial).unwrap();
            assert_eq!(mask_of(&set), mask_of(&builders::random(span, k, seed, &Rayon(&pool())).unwrap()));
            mask_of(&set)
        };
        let first = keys - queries;
        let past = build(keys, keys, true);
        for (i, row) in past.iter().enumerate() {
            prop_assert!(row[i] && row[i + 1..].iter().all(|&key| !key));
            prop_assert_eq!(row.iter().filter(|&&key| key).count(), k.min(i) + 1);
        }
        prop_assert_eq!(&build(queries, keys, true)[..], &past[first..]);
        let both = mask(keys, keys, |i, j| past[i][j] || past[j][i]);
        prop_assert_eq!(&build(queries, keys, false)[..], &both[first..]);
        prop_assert_eq!(build(queries, queries, true), mask(queries, queries, |i, j| past[i][j]));
    }
}

#[test]
fn many_blocks_of_rows_and_columns() {
    let n = 8192 + 70;
    let set = builders::cantor(Span::new(n, n, true).unwrap(), 5, &[0, 1]).unwrap();
    let rows = set.listed(&Rayon(&pool())).unwrap();
    let by_distance = set.reach(64, 0, &Serial).unwrap().unwrap();
    assert_eq!(rows.reach(64, u64::MAX, &Rayon(&pool())).unwrap(), Some(by_distance.clone()));
    assert_eq!(by_distance.layers, Some(4));
    assert_eq!(rows.reach(64, 1000, &Serial).unwrap(), None, "more work than allowed");
}

#[test]
fn order_is_a_permutation_and_survives_joins() {
    let set = builders::window(Span::new(4, 4, true).unwrap(), 1).unwrap();
    let ordered = set.with_order(vec![3, 1, 0, 2]).unwrap();
    assert_eq!(ordered.order().map(|o| o.to_vec()), Some(vec![3, 1, 0, 2]));
    assert_eq!(set.union(&ordered, &Serial).unwrap().order(), ordered.order());
    assert_eq!(ordered.causal(None, &Serial).unwrap().order(), ordered.order());
    assert_eq!(ordered.rows(0, 2).unwrap().order(), None);
    let kinds = [vec![0, 1], vec![0, 1, 1, 2], vec![0, 1, 2, 4]].map(|order| set.with_order(order).unwrap_err().kind);
    assert_eq!(kinds, [ErrorKind::Shape, ErrorKind::Value, ErrorKind::Index]);
}

#[test]
fn neighborhoods_are_cut_into_blocks() {
    let axis = |len, kernel, stride, dilation| Axis { len, kernel, stride, dilation, causal: false };
    let tiles = |axes: &[Axis]| {
        let cells = axes.iter().map(|axis| axis.len).product();
        let set = builders::neighborhood(Span::new(cells, cells, false).unwrap(), axes, &Serial).unwrap();
        let order = set.order().expect("an order").to_vec();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..cells as u32));
        order.chunks(16).map(|tile| tile.iter().map(|&q| q as usize).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    // Whole blocks of 4 by 4 first, then the cells that the box cuts off.
    for tile in &tiles(&[axis(10, 5, 1, 1), axis(13, 5, 1, 1)])[..6] {
        let (y, x) = (tile[0] / 13 / 4 * 4, tile[0] % 13 / 4 * 4);
        assert!(tile.iter().all(|q| (y..y + 4).contains(&(q / 13)) && (x..x + 4).contains(&(q % 13))), "{tile:?}");
    }
    // Only cells of one residue share keys.
    for tile in tiles(&[axis(16, 3, 1, 2), axis(16, 3, 1, 2)]) {
        assert!(tile.iter().all(|q| q % 2 == tile[0] % 2 && q / 16 % 2 == tile[0] / 16 % 2), "{tile:?}");
    }
    // Groups along the first axis share a window whole.
    for tile in tiles(&[axis(16, 16, 16, 1), axis(8, 3, 1, 1)]) {
        assert!(tile.iter().all(|q| q % 8 == tile[0] % 8), "{tile:?}");
    }
    let line = builders::neighborhood(Span::new(40, 40, false).unwrap(), &[axis(40, 5, 1, 1)], &Serial).unwrap();
    assert!(line.order().is_none());
}

#[test]
fn refusals_name_the_argument() {
    let set = |rows, keys| IndexSet::from_offsets(vec![0], rows, keys, 0).unwrap();
    let span = Span::new(4, 4, false).unwrap();
    let axis = |len, kernel, stride, dilation| Axis { len, kernel, stride, dilation, causal: false };
    let refused: Vec<(fractal_kernels::KernelError, &str, ErrorKind)> = vec![
        (IndexSet::from_csr(vec![1], vec![], 3).unwrap_err(), "indptr", ErrorKind::Value),
        (IndexSet::from_csr(vec![0, 2, 1], vec![0], 3).unwrap_err(), "indptr", ErrorKind::Value),
        (IndexSet::from_csr(vec![0, 1], vec![3], 3).unwrap_err(), "indices", ErrorKind::Index),
        (IndexSet::from_csr(vec![0, 2], vec![1, 1], 3).unwrap_err(), "indices", ErrorKind::Value),
        (IndexSet::from_offsets(vec![2, 2], 3, 3, 0).unwrap_err(), "offsets", ErrorKind::Value),
        (IndexSet::from_offsets(vec![i64::MIN], 3, 3, 0).unwrap_err(), "offsets", ErrorKind::Value),
        (IndexSet::from_padded(1, 2, 3, &Serial, |_, _| 2).unwrap_err(), "indices", ErrorKind::Value),
        (IndexSet::from_padded(1, 1, 3, &Serial, |_, _| -2).unwrap_err(), "indices", ErrorKind::Index),
        (set(3, 3).union(&set(3, 4), &Serial).unwrap_err(), "other", ErrorKind::Shape),
        (set(3, 4).reach(1, 1, &Serial).unwrap_err(), "index_set", ErrorKind::Shape),
        (set(3, 3).reach(0, 1, &Serial).unwrap_err(), "layers", ErrorKind::Value),
        (set(3, 3).rows(2, 4).unwrap_err(), "rows", ErrorKind::Index),
        (set(3, 3).prefix(4, 3, &Serial).unwrap_err(), "prefix", ErrorKind::Index),
        (Span::new(0, 4, true).unwrap_err(), "n_queries", ErrorKind::Value),
        (Span::new(5, 4, true).unwrap_err(), "n_queries", ErrorKind::Value),
        (Span::new(0, 0, true).unwrap_err(), "n_keys", ErrorKind::Value),
        (builders::cantor(span, 1, &[0]).unwrap_err(), "base", ErrorKind::Value),
        (builders::cantor(span, 3, &[1, 2]).unwrap_err(), "digits", ErrorKind::Value),
        (builders::hilbert_box(span, &[3], 1, &Serial).unwrap_err(), "n_keys", ErrorKind::Shape),
        (builders::hilbert_box(span, &[], 1, &Serial).unwrap_err(), "shape", ErrorKind::Shape),
        (builders::neighborhood(span, &[], &Serial).unwrap_err(), "shape", ErrorKind::Shape),
        (builders::neighborhood(span, &[axis(5, 1, 1, 1)], &Serial).unwrap_err(), "n_keys", ErrorKind::Shape),
        (builders::neighborhood(span, &[axis(4, 0, 1, 1)], &Serial).unwrap_err(), "kernel_size", ErrorKind::Value),
        (builders::neighborhood(span, &[axis(4, 5, 1, 1)], &Serial).unwrap_err(), "kernel_size", ErrorKind::Value),
        (builders::neighborhood(span, &[axis(4, 2, 3, 1)], &Serial).unwrap_err(), "stride", ErrorKind::Value),
        (builders::neighborhood(span, &[axis(4, 3, 1, 2)], &Serial).unwrap_err(), "dilation", ErrorKind::Value),
        (builders::julia(span, Complex64::new(f64::NAN, 0.0), 1, 1, 9, &Serial).unwrap_err(), "c", ErrorKind::Value),
        (builders::julia(span, Complex64::ZERO, 1, 1, 0, &Serial).unwrap_err(), "max_iter", ErrorKind::Value),
    ];
    for (error, argument, kind) in refused {
        assert_eq!((error.argument, error.kind), (argument, kind), "{error}");
    }
}
