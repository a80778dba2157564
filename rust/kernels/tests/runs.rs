//! Runs, segments and blocks: equality with the naive twins, what stays runs, and typed refusals.

mod naive;

use fractal_kernels::ErrorKind;
use fractal_kernels::builders::{self, Axis, Span};
use fractal_kernels::executor::{Rayon, Serial};
use fractal_kernels::index_set::{Blocks, Form, IndexSet, Within};
use fractal_kernels::plan::Plan;
use naive::index_set::{Mask, listed, mask, mask_of, offsets, pairs_of_masks, pool, transposed};
use proptest::prelude::*;

/// The set of a mask as runs, given key by key.
fn as_runs(mask: &Mask) -> IndexSet {
    let rows = listed(mask);
    let (indptr, starts) = rows.to_csr(&Serial).unwrap();
    let starts: Vec<i64> = starts.iter().map(|&key| i64::from(key)).collect();
    IndexSet::from_runs(&indptr, &starts, &vec![1; starts.len()], mask[0].len(), &Serial).unwrap()
}

fn held_as_runs(set: &IndexSet) -> bool {
    matches!(set.form(), Form::Runs { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn runs_are_their_rows((one, two) in pairs_of_masks(), from in -45_i64..45) {
        let (rows, columns) = (one.len(), one[0].len());
        let (set, other) = (as_runs(&one), as_runs(&two));
        prop_assert_eq!(&mask_of(&set), &one);
        prop_assert_eq!(set.nnz(), listed(&one).nnz());
        prop_assert_eq!(set.degrees(), listed(&one).degrees());
        prop_assert_eq!(set.is_causal(), listed(&one).is_causal());
        prop_assert_eq!(set.to_mask(&Serial).unwrap(), one.concat());
        prop_assert_eq!(set.to_padded(&Serial).unwrap(), listed(&one).to_padded(&Serial).unwrap());
        prop_assert!(set.same_rows(&listed(&one)) && listed(&one).same_rows(&set) && set.same_rows(&as_runs(&one)));
        prop_assert_eq!(set.same_rows(&other), one == two);
        let Form::Runs { indptr, runs } = set.form() else { panic!("runs") };
        for row in indptr.windows(2).map(|w| &runs[w[0] as usize..w[1] as usize]) {
            prop_assert!(row.iter().all(|run| run[0] < run[1]) && row.windows(2).all(|w| w[0][1] < w[1][0]));
        }
        let past = mask(rows, columns, |i, j| one[i][j] && j as i64 <= i as i64 + from);
        let short = mask(rows.div_ceil(2), columns.div_ceil(2), |i, j| one[i][j]);
        for (derived, expected, stays) in [
            (set.union(&other, &Rayon(&pool())).unwrap(), mask(rows, columns, |i, j| one[i][j] || two[i][j]), true),
            (set.intersection(&other, &Serial).unwrap(), mask(rows, columns, |i, j| one[i][j] && two[i][j]), true),
            (set.causal(Some(from), &Serial).unwrap(), past, true),
            (set.rows(rows / 3, rows).unwrap(), one[rows / 3..].to_vec(), true),
            (set.prefix(short.len(), short[0].len(), &Serial).unwrap(), short, true),
            (set.transpose().unwrap(), transposed(&one, columns), false),
            (set.listed(&Serial).unwrap(), one.clone(), false),
            (set.union(&listed(&two), &Serial).unwrap(), mask(rows, columns, |i, j| one[i][j] || two[i][j]), false),
        ] {
            prop_assert_eq!(mask_of(&derived), expected);
            prop_assert_eq!(held_as_runs(&derived), stays);
        }
        let square = mask(rows, rows, |i, j| j < columns && one[i][j]);
        let reached = as_runs(&square).reach(30, u64::MAX, &Serial).unwrap();
        prop_assert_eq!(reached, listed(&square).reach(30, u64::MAX, &Serial).unwrap());
    }

    #[test]
    fn segments(lengths in prop::collection::vec((0_i64..9, 0_i64..9), 1..8), causal in any::<bool>()) {
        let packed = |part: fn(&(i64, i64)) -> i64| -> Vec<i64> {
            std::iter::once(0).chain(lengths.iter().map(part).scan(0, |end, n| { *end += n; Some(*end) })).collect()
        };
        let (queries, keys) = (packed(|l| l.0), packed(|l| l.1));
        let (rows, columns) = (queries[lengths.len()] as usize, keys[lengths.len()] as usize);
        prop_assume!(rows > 0 && columns > 0);
        let set = IndexSet::from_segments(&queries, &keys, causal, &Rayon(&pool())).unwrap();
        prop_assert!(held_as_runs(&set));
        let expected = mask(rows, columns, |i, j| {
            (0..lengths.len()).any(|s| {
                let (i, j) = (i as i64 - queries[s], j as i64 - keys[s]);
                let inside = (0..lengths[s].0).contains(&i) && (0..lengths[s].1).contains(&j);
                inside && (!causal || j <= i + lengths[s].1 - lengths[s].0)
            })
        });
        prop_assert_eq!(mask_of(&set), expected);
    }

    #[test]
    fn blocks((pattern, partial) in pairs_of_masks(), size in (1_usize..7, 1_usize..7), cut in (0_usize..6, 0_usize..6)) {
        let (rows, columns) = (pattern.len() * size.0, pattern[0].len() * size.1);
        let (rows, columns) = (rows - cut.0.min(size.0 - 1), columns - cut.1.min(size.1 - 1));
        let rows_of_blocks = listed(&pattern);
        let (indptr, kept) = rows_of_blocks.to_csr(&Serial).unwrap();
        let kept: Vec<i64> = kept.iter().map(|&c| i64::from(c)).collect();
        let row_of = |number: usize| indptr.partition_point(|&start| start as usize <= number) - 1;
        let full: Vec<bool> = (0..kept.len()).map(|n| !partial[row_of(n)][kept[n] as usize]).collect();
        let inside = |number: usize, i: usize, j: usize| (number + i + 2 * j).is_multiple_of(3);
        let blocks = Blocks { size: [size.0, size.1], indptr: &indptr, columns: &kept, full: &full };
        let set = IndexSet::from_blocks(&blocks, rows, columns, &Rayon(&pool()), inside).unwrap();
        let expected = mask(rows, columns, |i, j| {
            let (row, column) = (i / size.0, j / size.1);
            pattern[row][column] && {
                let before = kept[indptr[row] as usize..].iter().position(|&c| c as usize == column).unwrap();
                let number = indptr[row] as usize + before;
                let among_partial = full[..number].iter().filter(|&&f| !f).count();
                full[number] || inside(among_partial, i % size.0, j % size.1)
            }
        });
        prop_assert_eq!(mask_of(&set), expected);
    }

    #[test]
    fn occupied_blocks((one, _) in pairs_of_masks(), size in (1_usize..7, 1_usize..7), step in offsets()) {
        let (rows, columns) = (one.len(), one[0].len());
        let shifted = IndexSet::from_offsets(step, rows, columns, 3).unwrap();
        for set in [listed(&one), as_runs(&one), shifted] {
            let dense = mask_of(&set);
            let found = set.occupied([size.0, size.1], &Rayon(&pool())).unwrap();
            prop_assert_eq!(found.indptr.len(), rows.div_ceil(size.0) + 1);
            for row in 0..rows.div_ceil(size.0) {
                let pairs = |column: usize| {
                    let inside = |i: usize, j: usize| i / size.0 == row && j / size.1 == column && dense[i][j];
                    (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).filter(|&(i, j)| inside(i, j)).count()
                };
                let expected: Vec<(i32, bool)> = (0..columns.div_ceil(size.1))
                    .filter(|&column| pairs(column) > 0)
                    .map(|column| (column as i32, pairs(column) == size.0 * size.1))
                    .collect();
                let span = found.indptr[row] as usize..found.indptr[row + 1] as usize;
                let got: Vec<_> = span.map(|at| (found.columns[at], found.full[at])).collect();
                prop_assert_eq!(got, expected);
            }
            let (blocks, bits) = set.occupied_with_bits([size.0, size.1], &Rayon(&pool())).unwrap();
            prop_assert_eq!(&blocks, &found);
            let mut expected = Vec::new();
            for row in 0..rows.div_ceil(size.0) {
                for at in (found.indptr[row] as usize..found.indptr[row + 1] as usize).filter(|&at| !found.full[at]) {
                    let column = found.columns[at] as usize;
                    for i in row * size.0..(row + 1) * size.0 {
                        let inside = |j: usize| i < rows && j < columns && dense[i][j];
                        let keys: Vec<_> = (column * size.1..(column + 1) * size.1).map(inside).collect();
                        let byte = |eight: &[bool]| eight.iter().rev().fold(0_u8, |byte, &bit| 2 * byte + u8::from(bit));
                        expected.extend(keys.chunks(8).map(byte));
                    }
                }
            }
            prop_assert_eq!(bits, expected);
        }
    }
}

#[test]
fn long_segments_are_planned_without_a_list() {
    let n = 20_000;
    let set = IndexSet::from_segments(&[0, 7, 12_007, n], &[0, 7, 12_007, n], true, &Rayon(&pool())).unwrap();
    assert_eq!(set.nnz(), [7, 12_000, 7_993].iter().map(|n| n * (n + 1) / 2).sum());
    let plan = Plan::new(&set, &Serial).unwrap();
    let report = plan.report();
    assert_eq!(report.tile_edges + report.row_edges, set.nnz());
    assert!(report.index_bytes < 30 * n as usize, "{report:?}");
    assert!(report.tile_lanes < set.nnz() * 102 / 100, "{report:?}");
}

#[test]
fn wide_neighborhoods_are_held_as_runs() {
    let axis = |len, kernel, dilation| Axis { len, kernel, stride: 1, dilation, causal: false };
    let build = |axes: &[Axis]| {
        let cells = axes.iter().map(|axis| axis.len).product();
        builders::neighborhood(Span::new(cells, cells, false).unwrap(), axes, &Serial).unwrap()
    };
    assert!(held_as_runs(&build(&[axis(9, 3, 1)])) && held_as_runs(&build(&[axis(9, 3, 2), axis(9, 3, 1)])));
    assert!(!held_as_runs(&build(&[axis(9, 3, 2)])) && !held_as_runs(&build(&[axis(9, 3, 1), axis(9, 2, 1)])));
    let line = build(&[axis(20_000, 5_001, 1)]);
    let Form::Runs { runs, .. } = line.form() else { panic!("runs") };
    assert_eq!((line.nnz(), runs.len()), (20_000 * 5_001, 20_000));
    let report = Plan::new(&line, &Serial).unwrap().report();
    assert_eq!(report.tile_edges + report.row_edges, line.nnz());
    assert!(report.index_bytes < 30 * 20_000, "{report:?}");
}

#[test]
fn refusals_name_the_argument() {
    let set = IndexSet::from_offsets(vec![0], 3, 3, 0).unwrap();
    let runs = |indptr: &[i64], starts: &[i64], lengths: &[i64]| {
        IndexSet::from_runs(indptr, starts, lengths, 3, &Serial).unwrap_err()
    };
    let segments = |queries: &[i64], keys: &[i64]| IndexSet::from_segments(queries, keys, true, &Serial).unwrap_err();
    let blocks = |size, indptr: &[i64], columns: &[i64]| {
        let blocks = Blocks { size, indptr, columns, full: &vec![true; columns.len()] };
        IndexSet::from_blocks(&blocks, 4, 4, &Serial, |_, _, _| true).unwrap_err()
    };
    let refused: Vec<(fractal_kernels::KernelError, &str, ErrorKind)> = vec![
        (set.occupied([1, 0], &Serial).unwrap_err(), "block_size", ErrorKind::Value),
        (runs(&[1], &[], &[]), "indptr", ErrorKind::Value),
        (runs(&[0, 2, 1], &[0], &[1]), "indptr", ErrorKind::Value),
        (runs(&[0, 2], &[0], &[1]), "indptr", ErrorKind::Shape),
        (runs(&[0, 1], &[0], &[]), "lengths", ErrorKind::Shape),
        (runs(&[0, 1], &[0], &[0]), "lengths", ErrorKind::Value),
        (runs(&[0, 1], &[2], &[2]), "lengths", ErrorKind::Index),
        (runs(&[0, 1], &[3], &[1]), "starts", ErrorKind::Index),
        (runs(&[0, 1], &[-1], &[1]), "starts", ErrorKind::Index),
        (runs(&[0, 2], &[0, 1], &[2, 1]), "starts", ErrorKind::Value),
        (segments(&[1, 2], &[0, 2]), "cu_seqlens_q", ErrorKind::Value),
        (segments(&[0, 2, 1], &[0, 2, 3]), "cu_seqlens_q", ErrorKind::Value),
        (segments(&[0], &[0]), "cu_seqlens_q", ErrorKind::Value),
        (segments(&[0, 2], &[0, 0]), "cu_seqlens_k", ErrorKind::Value),
        (segments(&[0, 2], &[0, 2, 3]), "cu_seqlens_k", ErrorKind::Shape),
        (blocks([0, 1], &[0, 0], &[]), "block_size", ErrorKind::Value),
        (blocks([2, 2], &[0, 1], &[0]), "indptr", ErrorKind::Shape),
        (blocks([4, 2], &[0, 2], &[0]), "indptr", ErrorKind::Shape),
        (blocks([4, 2], &[0, 1], &[2]), "columns", ErrorKind::Index),
        (blocks([4, 2], &[0, 2], &[1, 1]), "columns", ErrorKind::Value),
    ];
    for (error, argument, kind) in refused {
        assert_eq!((error.argument, error.kind), (argument, kind), "{error}");
    }
}

#[test]
fn windows_within_segments_equal_the_definition() {
    let executor = Rayon(&pool());
    let (queries, keys) = ([0, 5, 5, 21, 40], [0, 9, 12, 20, 40]);
    for causal in [false, true] {
        for window in [None, Some([0, 0]), Some([3, 0]), Some([2, 5]), Some([100, 100])] {
            for upper_left in [false, true] {
                let within = Within { causal, window, upper_left };
                let set = IndexSet::from_segments(&queries, &keys, within, &executor).unwrap();
                assert!(matches!(set.form(), Form::Runs { .. }));
                for query in 0..40 {
                    let s = (0..4).find(|&s| queries[s] <= query && query < queries[s + 1]).unwrap();
                    let place = if upper_left {
                        keys[s] + query - queries[s]
                    } else {
                        keys[s + 1] - 1 + query - (queries[s + 1] - 1)
                    };
                    let [before, after] = window.unwrap_or([1000, 1000]);
                    let seen = |key: i64| place - key <= before && key - place <= if causal { 0 } else { after };
                    let want: Vec<u32> =
                        (keys[s]..keys[s + 1]).filter(|&key| seen(key)).map(|key| key as u32).collect();
                    assert_eq!(set.row(query as usize).collect::<Vec<_>>(), want, "{within:?} query {query}");
                }
            }
        }
    }
    let negative = Within { window: Some([1, -1]), ..Within::default() };
    let error = IndexSet::from_segments(&queries, &keys, negative, &executor).unwrap_err();
    assert!(error.to_string().contains("window"), "{error}");
}

#[test]
fn runs_and_a_few_stretches_of_offsets_stay_runs() {
    let n = 60;
    let executor = Rayon(&pool());
    let segments = IndexSet::from_segments(&[0, 20, 45, 60], &[0, 20, 45, 60], false, &executor).unwrap();
    for offsets in [(-3..=4).collect::<Vec<i64>>(), vec![0, 1, 2, 9, 10, 30], vec![-70, 70], vec![]] {
        let window = IndexSet::from_offsets(offsets, n, n, 0).unwrap();
        for (a, b) in [(&segments, &window), (&window, &segments)] {
            let both = a.intersection(b, &executor).unwrap();
            assert!(matches!(both.form(), Form::Runs { .. }));
            for query in 0..n {
                let want: Vec<u32> = a.row(query).filter(|key| b.row(query).any(|other| other == *key)).collect();
                assert_eq!(both.row(query).collect::<Vec<_>>(), want, "query {query}");
            }
        }
    }
    let scattered = IndexSet::from_offsets((0..20).map(|i| 2 * i).collect(), n, n, 0).unwrap();
    let both = segments.intersection(&scattered, &executor).unwrap();
    assert!(matches!(both.form(), Form::Csr { .. }));
}
