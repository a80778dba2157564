//! Statistics of the weights and their gradients against the twin.

use crate::inputs::{Case, Inputs, PLAIN, Random, listed, sets};
use crate::runs::{Held, accumulated, close_to, every_case, read, twin_heads};
use fractal_kernels::attention::{
    Accumulator, Call, Gradients, KeyLists, Keys, ListValues, Modifiers, Problem, StatisticsGradients, Storage, View,
    WeightStatistics,
};
use fractal_kernels::executor::{Executor, Rayon, Serial};
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Level, Run, levels};
use half::{bf16, f16};

const NAMES: [&str; 8] = ["entropy", "maximum", "distance", "columns", "dq", "dk", "dkey_bias", "dedge_bias"];

/// Gradients of the entropies, the distances and the masses, drawn once for a size.
fn given(case: Case, set: &IndexSet) -> [Vec<f64>; 3] {
    let (mut random, heads) = (Random(23), case.batch * case.heads);
    [set.n_queries(), set.n_queries(), set.n_keys()].map(|n| random.values(heads * n))
}

fn expected(case: Case, set: &IndexSet, x: &Inputs, first: i64) -> [Vec<f64>; 8] {
    let (n, m, given) = (set.n_queries(), set.n_keys(), given(case, set));
    let mut r: [Vec<f64>; 8] = Default::default();
    r[4] = vec![0.0; x.q.len()];
    r[5] = vec![0.0; x.k.len()];
    r[6] = vec![0.0; if case.key_bias { x.key_bias.len() } else { 0 }];
    r[7] = vec![0.0; if case.edge_bias { x.edge_bias.len() } else { 0 }];
    let add = |into: &mut [f64], from: &[f64]| into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
    for (row, head) in twin_heads(case, set, x).into_iter().enumerate() {
        let (b, h) = (row / case.heads, row % case.heads);
        let kv = b * case.kv_heads + h / (case.heads / case.kv_heads);
        for (all, one) in r.iter_mut().zip(head.head().statistics(set, first)) {
            all.extend(one);
        }
        let of_head = [&given[0][row * n..][..n], &given[1][row * n..][..n], &given[2][row * m..][..m]];
        let g = head.head().statistics_backward(set, first, of_head);
        add(&mut r[4][row * n * case.d..], &g.q);
        add(&mut r[5][kv * m * case.d..], &g.k);
        add(&mut r[6][if case.key_bias { b * m } else { 0 }..], &g.key_bias);
        add(&mut r[7][if case.edge_bias { h * set.nnz() } else { 0 }..], &g.edge_bias);
    }
    r
}

fn run<T: Storage>(
    case: Case,
    set: &IndexSet,
    x: &Inputs,
    level: Level,
    executor: &dyn Executor,
    first: i64,
) -> [Vec<f64>; 8] {
    let (planned, held, given) = (PlannedSet::new(set.clone()), Held::<T>::new(x), given(case, set));
    let problem = held.problem(case, set, None);
    let call = Call { problem: Problem { v: problem.k, ..problem }, keys: Keys::Set(&planned) };
    all_of(&call, Run::new(level, executor), case, set, x, first, &given)
}

fn all_of<T: Storage>(
    call: &Call<'_, T>,
    run: Run<'_>,
    case: Case,
    set: &IndexSet,
    x: &Inputs,
    first: i64,
    given: &[Vec<f64>; 3],
) -> [Vec<f64>; 8] {
    let heads = case.batch * case.heads;
    let zeros = |n: usize| vec![T::Acc::default(); n];
    let rows = || zeros(heads * set.n_queries());
    let (mut entropy, mut maximum, mut distance, mut columns) = (rows(), rows(), rows(), zeros(heads * set.n_keys()));
    let out = WeightStatistics {
        entropy: &mut entropy,
        maximum: &mut maximum,
        distance: &mut distance,
        columns: &mut columns,
    };
    call.statistics(run, first, out).unwrap();
    let [dentropy, ddistance, dcolumns] = [0, 1, 2].map(|i| accumulated::<T>(&given[i]));
    let incoming = StatisticsGradients {
        entropy: Some(&dentropy),
        distance: Some(&ddistance),
        columns: Some(&dcolumns),
        first_position: first,
    };
    let (mut dq, mut dk) = (vec![T::default(); x.q.len()], vec![T::default(); x.k.len()]);
    let mut dkb = zeros(if case.key_bias { x.key_bias.len() } else { 0 });
    let mut deb = zeros(if case.edge_bias { x.edge_bias.len() } else { 0 });
    let gradients = Gradients {
        q: &mut dq,
        k: &mut dk,
        v: &mut [],
        key_bias: case.key_bias.then_some(&mut dkb[..]),
        edge_bias: case.edge_bias.then_some(&mut deb[..]),
        distances: None,
    };
    call.statistics_backward(run, incoming, gradients).unwrap();
    let wide = |x: Vec<T::Acc>| x.into_iter().map(T::Acc::to_f64).collect::<Vec<_>>();
    let [entropy, maximum, distance, columns] = [entropy, maximum, distance, columns].map(wide);
    [entropy, maximum, distance, columns, read(&dq), read(&dk), wide(dkb), wide(deb)]
}

fn close(got: &[Vec<f64>; 8], want: &[Vec<f64>; 8], forward: f64, gradient: f64, what: &str) {
    close_to(&NAMES, got, want, |i| if i < 4 { forward } else { gradient }, what);
}

#[test]
fn f64_equals_the_twin_to_1e_12() {
    let cases = [
        PLAIN,
        Case { batch: 2, heads: 4, kv_heads: 2, d: 24, key_bias: true, ..PLAIN },
        Case { batch: 2, heads: 2, kv_heads: 1, d: 8, key_bias: true, edge_bias: true, padding: true, ..PLAIN },
        Case { batch: 2, padding: true, ..PLAIN },
        Case { d: 80, edge_bias: true, ..PLAIN },
    ];
    for (n, m) in [(1, 1), (1, 300), (15, 15), (17, 33), (130, 130), (40, 300)] {
        every_case(n, m, &cases, |case, what, set, x, _| {
            for first in [m as i64 - n as i64, -7] {
                let want = expected(case, set, x, first);
                for (name, level) in levels() {
                    let got = run::<f64>(case, set, x, level, &Serial, first);
                    close(&got, &want, 1e-12, 1e-12, &format!("{what} from {first} {name}"));
                }
            }
        });
    }
}

#[test]
fn f32_equals_the_twin_to_1e_5() {
    let cases = [
        Case { heads: 4, kv_heads: 2, ..PLAIN },
        Case { d: 128, key_bias: true, ..PLAIN },
        Case { d: 24, key_bias: true, edge_bias: true, padding: true, ..PLAIN },
        Case { d: 64, ..PLAIN },
    ];
    for (n, m) in [(1, 300), (17, 17), (100, 230), (1000, 1000)] {
        let cases = if n >= 1000 { &cases[..2] } else { &cases[..] };
        every_case(n, m, cases, |case, what, set, x, _| {
            let want = expected(case, set, x, m as i64 - n as i64);
            for (name, level) in levels() {
                let got = run::<f32>(case, set, x, level, &Serial, m as i64 - n as i64);
                close(&got, &want, 1e-5, 1e-5, &format!("{what} {name}"));
            }
        });
    }
}

#[test]
fn halves_accumulate_in_f32() {
    let cases = [Case { d: 32, ..PLAIN }, Case { d: 64, batch: 2, key_bias: true, ..PLAIN }];
    every_case(100, 130, &cases, |case, what, set, x, _| {
        let wanted = (expected(case, set, &x.rounded::<bf16>(), 30), expected(case, set, &x.rounded::<f16>(), 30));
        for (name, level) in levels() {
            let got = run::<bf16>(case, set, x, level, &Serial, 30);
            close(&got, &wanted.0, 1e-5, 2e-2, &format!("{what} bf16 {name}"));
            let got = run::<f16>(case, set, x, level, &Serial, 30);
            close(&got, &wanted.1, 1e-5, 4e-3, &format!("{what} f16 {name}"));
        }
    });
}

/// A backward pass goes by chunks of 1024 queries, a forward pass by chunks of 512.
#[test]
fn several_chunks_in_f64() {
    let case = Case { heads: 3, kv_heads: 1, key_bias: true, ..PLAIN };
    for (n, m) in [(2100, 2100), (1030, 2500)] {
        every_case(n, m, &[case], |case, what, set, x, _| {
            let want = expected(case, set, x, m as i64 - n as i64);
            for (name, level) in levels() {
                let got = run::<f64>(case, set, x, level, &Serial, m as i64 - n as i64);
                close(&got, &want, 1e-12, 1e-12, &format!("{what} {name}"));
            }
        });
    }
}

#[test]
fn every_executor_gives_the_same_bits() {
    let pools = [1, 2, 4].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    let case = Case { batch: 2, heads: 4, kv_heads: 2, d: 32, key_bias: true, ..PLAIN };
    let mut random = Random(3);
    for (name, set) in sets(1100, 1100, &mut random) {
        if set.nnz() > 200_000 {
            continue;
        }
        let x = Inputs::new(case, &set, &mut random);
        for (level_name, level) in levels() {
            let serial = run::<f32>(case, &set, &x, level, &Serial, 0);
            for pool in &pools {
                let got = run::<f32>(case, &set, &x, level, &Rayon(pool), 0);
                for (i, (a, b)) in got.iter().zip(&serial).enumerate() {
                    let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                    let threads = pool.current_num_threads();
                    assert!(same, "{name}: {} differs with {threads} threads at level {level_name}", NAMES[i]);
                }
            }
        }
    }
}

/// Lists that say what a set says, of one batch entry and head each.
#[test]
fn lists_equal_sets() {
    let (n, m, k) = (70, 90, 12);
    let case = Case { batch: 2, heads: 4, kv_heads: 2, key_bias: true, padding: true, ..PLAIN };
    let mut random = Random(29);
    let mut draw = |i: usize| -> Vec<i32> {
        let count = if i % 9 == 4 { 0 } else { random.next() as usize % k };
        (0..count).map(|_| (random.next() % m as u64) as i32).collect()
    };
    let set = listed((0..n).map(&mut draw), m);
    let mut lists = vec![-1; n * k];
    for query in 0..n {
        for (to, key) in lists[query * k..].iter_mut().zip(set.row(query)) {
            *to = key as i32;
        }
    }
    let lists = lists.repeat(case.batch * case.kv_heads);
    let x = Inputs::new(case, &set, &mut random);
    let (held, given) = (Held::<f64>::new(&x), given(case, &set));
    let keys = Keys::Lists(KeyLists { values: ListValues::I32(&lists), shape: [case.batch, case.kv_heads, n, k] });
    let call = Call { problem: held.problem(case, &set, None), keys };
    let want = expected(case, &set, &x, 20);
    let got = all_of(&call, Run::new(levels()[0].1, &Serial), case, &set, &x, 20, &given);
    close(&got, &want, 1e-12, 1e-12, "lists");
}

#[test]
fn chosen_rows_equal_the_twin() {
    let mut random = Random(31);
    let cases = [
        Case { batch: 2, heads: 4, kv_heads: 2, d: 24, key_bias: true, edge_bias: true, padding: true, ..PLAIN },
        Case { d: 64, ..PLAIN },
    ];
    for (name, set) in sets(60, 60, &mut random) {
        for case in cases {
            let x = Inputs::new(case, &set, &mut random);
            let (planned, held) = (PlannedSet::new(set.clone()), Held::<f64>::new(&x));
            let call = Call { problem: held.problem(case, &set, None), keys: Keys::Set(&planned) };
            let rows = [59, 0, 17, 17];
            let starts: Vec<usize> = (0..=60).map(|i| (0..i).map(|j| set.row(j).count()).sum()).collect();
            let mut want = Vec::new();
            for head in twin_heads(case, &set, &x) {
                let all = head.head().all_weights(&set);
                rows.iter().for_each(|&row| want.extend(&all[starts[row as usize]..starts[row as usize + 1]]));
            }
            for (level_name, level) in levels() {
                let mut got = vec![f64::NAN; want.len()];
                call.weights(Run::new(level, &Serial), &rows, &mut got).unwrap();
                close_to(&["weights"], &[got], &[want.clone()], |_| 1e-12, &format!("{name} {level_name} {case:?}"));
            }
            let error = call.weights(Run::new(levels()[0].1, &Serial), &[60], &mut []).unwrap_err();
            assert_eq!(error.argument, "rows");
        }
    }
}

#[test]
fn nan_in_a_query_stays_in_its_row_and_its_keys() {
    let n = 64;
    let set = PlannedSet::new(IndexSet::from_offsets(vec![0, 1, 2], n, n, 0).unwrap());
    let shape = [1, 1, n, 16];
    let mut q = vec![0.5f32; n * 16];
    q[20 * 16 + 3] = f32::NAN;
    let k = vec![0.25f32; n * 16];
    let view = View::contiguous(&k, shape);
    let problem = Problem {
        q: View::contiguous(&q, shape),
        k: view,
        v: view,
        scale: 1.0,
        key_bias: None,
        key_padding: None,
        edge_bias: None,
        dropout: None,
        modifiers: Modifiers::default(),
    };
    let call = Call { problem, keys: Keys::Set(&set) };
    for (name, level) in levels() {
        let [mut entropy, mut maximum, mut distance, mut columns] = [const { [0.0; 64] }; 4];
        let out = WeightStatistics {
            entropy: &mut entropy,
            maximum: &mut maximum,
            distance: &mut distance,
            columns: &mut columns,
        };
        call.statistics(Run::new(level, &Serial), 0, out).unwrap();
        let of_rows: Vec<usize> = (0..n).filter(|&i| entropy[i].is_nan()).collect();
        let of_keys: Vec<usize> = (0..n).filter(|&i| columns[i].is_nan()).collect();
        assert_eq!((of_rows, of_keys), (vec![20], vec![18, 19, 20]), "{name}");
        assert!(maximum[20].is_nan() && distance[20].is_nan(), "{name}");
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused_by_name() {
    let set = IndexSet::from_offsets(vec![0], 4, 4, 0).unwrap();
    let x = Inputs::new(PLAIN, &set, &mut Random(1));
    let (planned, held) = (PlannedSet::new(set.clone()), Held::<f64>::new(&x));
    let call = Call { problem: held.problem(PLAIN, &set, None), keys: Keys::Set(&planned) };
    let run = Run::new(levels()[0].1, &Serial);
    let mut rows = [[0.0; 8]; 3];
    let [entropy, maximum, distance] = &mut rows;
    let mut short = [0.0; 7];
    let out = WeightStatistics { entropy, maximum, distance, columns: &mut short };
    assert_eq!(call.statistics(run, 0, out).unwrap_err().argument, "column_mass");
    let given = StatisticsGradients { entropy: Some(&short), distance: None, columns: None, first_position: 0 };
    let (mut dq, mut dk) = (vec![0.0; x.q.len()], vec![0.0; x.k.len()]);
    let gradients = Gradients { q: &mut dq, k: &mut dk, v: &mut [], key_bias: None, edge_bias: None, distances: None };
    assert_eq!(call.statistics_backward(run, given, gradients).unwrap_err().argument, "dentropy");
}
