//! The planned kernel against its slow twin: every form of plan, level, width, bias, grouping, executor.
#![allow(missing_docs, clippy::pedantic)]

use fractal_kernels::attention::reference::Head;
use fractal_kernels::attention::{
    Dropout, EdgeBias, EdgeMap, Gradients, KeyBias, Level, Problem, Real, Saved, Storage, View, backward, forward,
    levels,
};
use fractal_kernels::executor::{Executor, Rayon, Serial};
use fractal_kernels::index_set::{Form, IndexSet};
use fractal_kernels::plan::Plan;
use half::{bf16, f16};

/// splitmix64, so that every run sees the same numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn values(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0).collect()
    }
}

fn listed(rows: impl Iterator<Item = Vec<i32>>, n_keys: usize) -> IndexSet {
    let (mut indptr, mut indices) = (vec![0], Vec::new());
    for mut row in rows {
        row.sort_unstable();
        row.dedup();
        indices.extend(row);
        indptr.push(indices.len() as i64);
    }
    IndexSet::from_csr(indptr, indices, n_keys).unwrap()
}

/// The index sets every check runs over: windows, ladders, lists with empty rows, dense runs, mixtures.
fn sets(n: usize, n_keys: usize, random: &mut Random) -> Vec<(&'static str, IndexSet)> {
    let shift = n_keys as i64 - n as i64;
    let cantor = (0..5i64.pow(4)).filter(|&x| x >= 12 && (0..4).all(|i| x / 5i64.pow(i) % 5 < 2));
    let offsets = |o: Vec<i64>| IndexSet::from_offsets(o, n, n_keys, shift).unwrap();
    let mut draw = |k: usize| -> Vec<i32> { (0..k).map(|_| (random.next() % n_keys as u64) as i32).collect() };
    let random_rows: Vec<_> = (0..n).map(|i| if i % 7 == 3 { Vec::new() } else { draw(11) }).collect();
    let sparse_rows: Vec<_> = (0..n).map(|_| draw(2)).collect();
    let mixed_rows: Vec<_> = (0..n as i64)
        .map(|i| {
            let near = (0..n_keys as i64).filter(|j| (j - i - shift).abs() < 20).map(|j| j as i32);
            near.chain(draw(5)).collect()
        })
        .collect();
    vec![
        ("window", offsets((-9..=9).collect())),
        ("ladder", offsets((0..12).chain(cantor).collect())),
        ("all offsets", offsets((-(n_keys as i64)..n as i64 + n_keys as i64).collect())),
        ("far offsets", offsets(vec![0, 40, 97])),
        ("random", listed(random_rows.into_iter(), n_keys)),
        ("sparse", listed(sparse_rows.into_iter(), n_keys)),
        ("all", listed((0..n).map(|_| (0..n_keys as i32).collect()), n_keys)),
        ("mixed", listed(mixed_rows.into_iter(), n_keys)),
        ("segments", segments(n, n_keys, false)),
        ("causal segments", segments(n, n_keys, true)),
        ("runs", runs(n, n_keys)),
        ("none", listed((0..n).map(|_| Vec::new()), n_keys)),
    ]
}

/// Segments that begin and end within tiles, one of them without a query.
fn segments(n: usize, n_keys: usize, causal: bool) -> IndexSet {
    let cuts = |n: usize| [0, n / 5, n / 5, n / 2, n - n / 7, n].map(|x| x as i64);
    let mut keys = cuts(n_keys);
    keys[1] /= 2;
    IndexSet::from_segments(&cuts(n), &keys, causal, &Serial).unwrap()
}

/// Runs of any length, shared by some of a tile's queries, by one, or by none; queries in an order of their own.
fn runs(n: usize, n_keys: usize) -> IndexSet {
    let (mut indptr, mut starts, mut lengths) = (vec![0], Vec::new(), Vec::new());
    for query in 0..n {
        let mut from = query % 3 * 7 + query / 8;
        for length in [1 + query % 40, query % 4, 23] {
            if query % 11 != 4 && length > 0 && from + length <= n_keys {
                starts.push(from as i64);
                lengths.push(length as i64);
            }
            from += length + 5;
        }
        indptr.push(starts.len() as i64);
    }
    let set = IndexSet::from_runs(&indptr, &starts, &lengths, n_keys, &Serial).unwrap();
    set.with_order((0..n as u32).rev().collect()).unwrap()
}

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    d: usize,
    dv: usize,
    key_bias: bool,
    edge_bias: bool,
}

const PLAIN: Case = Case { batch: 1, heads: 2, kv_heads: 1, d: 16, dv: 16, key_bias: false, edge_bias: false };

#[derive(Clone)]
struct Inputs {
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    dout: Vec<f64>,
    dlse: Vec<f64>,
    key_bias: Vec<f64>,
    edge_bias: Vec<f64>,
}

impl Inputs {
    fn new(case: Case, set: &IndexSet, random: &mut Random) -> Self {
        let (n, m) = (set.n_queries(), set.n_keys());
        let hide = |(i, x)| if i % 5 == 1 { f64::NEG_INFINITY } else { x };
        Self {
            q: random.values(case.batch * case.heads * n * case.d),
            k: random.values(case.batch * case.kv_heads * m * case.d),
            v: random.values(case.batch * case.kv_heads * m * case.dv),
            dout: random.values(case.batch * case.heads * n * case.dv),
            dlse: random.values(case.batch * case.heads * n),
            key_bias: random.values(case.batch * m).into_iter().enumerate().map(hide).collect(),
            edge_bias: random.values(case.heads * set.nnz()),
        }
    }

    /// The inputs as a storage type holds them, so that only the kernel's own rounding is judged.
    fn rounded<T: Storage>(&self) -> Self {
        let round = |x: &[f64]| read::<T>(&stored::<T>(x));
        Self { q: round(&self.q), k: round(&self.k), v: round(&self.v), dout: round(&self.dout), ..self.clone() }
    }
}

/// out, lse, dq, dk, dv, dkey_bias, dedge_bias.
type Results = [Vec<f64>; 7];
const NAMES: [&str; 7] = ["out", "lse", "dq", "dk", "dv", "dkey_bias", "dedge_bias"];
const SCALE: f64 = 0.3;

fn expected(case: Case, set: &IndexSet, x: &Inputs) -> Results {
    let (n, m) = (set.n_queries(), set.n_keys());
    let mut r: Results = Default::default();
    r[2] = vec![0.0; x.q.len()];
    r[3] = vec![0.0; x.k.len()];
    r[4] = vec![0.0; x.v.len()];
    r[5] = vec![0.0; if case.key_bias { x.key_bias.len() } else { 0 }];
    r[6] = vec![0.0; if case.edge_bias { x.edge_bias.len() } else { 0 }];
    let add = |into: &mut [f64], from: &[f64]| into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
    for row in 0..case.batch * case.heads {
        let (b, h) = (row / case.heads, row % case.heads);
        let kv = b * case.kv_heads + h / (case.heads / case.kv_heads);
        let (qs, ks, vs) = (row * n * case.d, kv * m * case.d, kv * m * case.dv);
        let head = Head {
            q: &x.q[qs..][..n * case.d],
            k: &x.k[ks..][..m * case.d],
            v: &x.v[vs..][..m * case.dv],
            d: case.d,
            dv: case.dv,
            scale: SCALE,
            key_bias: case.key_bias.then(|| &x.key_bias[b * m..(b + 1) * m]),
            edge_bias: case.edge_bias.then(|| &x.edge_bias[h * set.nnz()..(h + 1) * set.nnz()]),
        };
        let (out, lse) = head.forward(set);
        r[0].extend(out);
        r[1].extend(lse);
        let g = head.backward(set, &x.dout[row * n * case.dv..][..n * case.dv], Some(&x.dlse[row * n..][..n]));
        add(&mut r[2][qs..], &g.q);
        add(&mut r[3][ks..], &g.k);
        add(&mut r[4][vs..], &g.v);
        if case.key_bias {
            add(&mut r[5][b * m..], &g.key_bias);
        }
        if case.edge_bias {
            add(&mut r[6][h * set.nnz()..], &g.edge_bias);
        }
    }
    r
}

fn stored<T: Storage>(x: &[f64]) -> Vec<T> {
    let acc: Vec<T::Acc> = x.iter().map(|&x| T::Acc::from_f64(x)).collect();
    let mut out = vec![T::default(); x.len()];
    T::narrow(&acc, &mut out);
    out
}

fn read<T: Storage>(x: &[T]) -> Vec<f64> {
    let mut acc = vec![T::Acc::default(); x.len()];
    T::widen(x, &mut acc);
    acc.into_iter().map(T::Acc::to_f64).collect()
}

fn run<T: Storage>(
    case: Case,
    set: &IndexSet,
    x: &Inputs,
    level: Level,
    executor: &dyn Executor,
    dropout: Option<Dropout>,
) -> Results {
    let (n, m) = (set.n_queries(), set.n_keys());
    let plan = Plan::new(set, executor).unwrap();
    let acc = |x: &[f64]| x.iter().map(|&x| T::Acc::from_f64(x)).collect::<Vec<_>>();
    let (q, k, v, dout) = (stored::<T>(&x.q), stored::<T>(&x.k), stored::<T>(&x.v), stored::<T>(&x.dout));
    let (edge_bias, dlse) = (acc(&x.edge_bias), acc(&x.dlse));
    let key_bias = acc(&x.key_bias);
    let map = case.edge_bias.then(|| EdgeMap::new(set, &plan).unwrap());
    let problem = Problem {
        q: View::contiguous(&q, [case.batch, case.heads, n, case.d]),
        k: View::contiguous(&k, [case.batch, case.kv_heads, m, case.d]),
        v: View::contiguous(&v, [case.batch, case.kv_heads, m, case.dv]),
        scale: SCALE,
        key_bias: case.key_bias.then(|| KeyBias { values: &key_bias, batch: case.batch, heads: 1 }),
        key_padding: None,
        edge_bias: map.as_ref().map(|map| EdgeBias { values: &edge_bias, heads: case.heads, map }),
        dropout,
    };
    let mut out = vec![T::default(); dout.len()];
    let mut lse = vec![T::Acc::default(); case.batch * case.heads * n];
    forward(&problem, &plan, level, executor, &mut out, &mut lse).unwrap();
    let shape = [case.batch, case.heads, n, case.dv];
    let saved = Saved {
        out: View::contiguous(&out, shape),
        lse: &lse,
        dout: View::contiguous(&dout, shape),
        dlse: Some(&dlse),
    };
    let zeros = |n: usize| vec![T::default(); n];
    let (mut dq, mut dk, mut dv) = (zeros(q.len()), zeros(k.len()), zeros(v.len()));
    let mut dkb = vec![T::Acc::default(); if case.key_bias { x.key_bias.len() } else { 0 }];
    let mut deb = vec![T::Acc::default(); if case.edge_bias { x.edge_bias.len() } else { 0 }];
    let gradients = Gradients {
        q: &mut dq,
        k: &mut dk,
        v: &mut dv,
        key_bias: case.key_bias.then_some(&mut dkb[..]),
        edge_bias: case.edge_bias.then_some(&mut deb[..]),
    };
    backward(&problem, &plan, level, executor, saved, gradients).unwrap();
    let wide = |x: Vec<T::Acc>| x.into_iter().map(T::Acc::to_f64).collect::<Vec<_>>();
    [read(&out), wide(lse), read(&dq), read(&dk), read(&dv), wide(dkb), wide(deb)]
}

fn close(got: &Results, want: &Results, forward: f64, gradient: f64, what: &str) {
    for (i, name) in NAMES.iter().enumerate() {
        assert_eq!(got[i].len(), want[i].len(), "{what}: {name}");
        let tolerance = if i < 2 { forward } else { gradient };
        let size = want[i].iter().filter(|x| x.is_finite()).fold(1.0f64, |a, x| a.max(x.abs()));
        for (at, (g, w)) in got[i].iter().zip(&want[i]).enumerate() {
            let good = g == w || (g - w).abs() <= tolerance * size;
            assert!(good, "{what}: {name}[{at}] is {g}, expected {w} (tolerance {tolerance} of {size})");
        }
    }
}

fn every_case(n: usize, m: usize, cases: &[Case], check: impl Fn(Case, &str, &IndexSet, &Inputs, &Results)) {
    let mut random = Random(7 + n as u64);
    for (name, set) in sets(n, m, &mut random) {
        if n >= 1000 && set.nnz() > 100_000 {
            continue;
        }
        for &case in cases {
            if case.edge_bias && !matches!(set.form(), Form::Csr { .. }) {
                continue;
            }
            let x = Inputs::new(case, &set, &mut random);
            let want = expected(case, &set, &x);
            check(case, &format!("{name} {n}x{m} {case:?}"), &set, &x, &want);
        }
    }
}

#[test]
fn f64_equals_the_twin_to_1e_12() {
    let cases = [
        PLAIN,
        Case { batch: 2, heads: 4, kv_heads: 2, d: 24, dv: 40, key_bias: true, edge_bias: false },
        Case { batch: 2, heads: 2, kv_heads: 1, d: 8, dv: 5, key_bias: true, edge_bias: true },
        Case { d: 80, dv: 64, ..PLAIN },
    ];
    for (n, m) in [(1, 1), (1, 300), (15, 15), (16, 16), (17, 33), (130, 130), (40, 300)] {
        every_case(n, m, &cases, |case, what, set, x, want| {
            for (level_name, level) in levels() {
                let got = run::<f64>(case, set, x, level, &Serial, None);
                close(&got, want, 1e-12, 1e-11, &format!("{what} {level_name}"));
            }
        });
    }
}

#[test]
fn f32_equals_the_twin_to_1e_5() {
    let cases = [
        Case { heads: 4, kv_heads: 2, ..PLAIN },
        Case { d: 64, dv: 64, ..PLAIN },
        Case { d: 128, dv: 80, key_bias: true, ..PLAIN },
        Case { d: 24, dv: 20, key_bias: true, edge_bias: true, ..PLAIN },
        Case { d: 256, dv: 256, heads: 1, ..PLAIN },
    ];
    for (n, m) in [(1, 1), (1, 300), (16, 16), (17, 17), (100, 230), (40, 600), (1000, 1000)] {
        let cases = if n >= 1000 { &cases[..2] } else { &cases[..] };
        every_case(n, m, cases, |case, what, set, x, want| {
            for (level_name, level) in levels() {
                let got = run::<f32>(case, set, x, level, &Serial, None);
                close(&got, want, 1e-5, 2e-5, &format!("{what} {level_name}"));
            }
        });
    }
}

#[test]
fn halves_accumulate_in_f32() {
    let cases = [Case { d: 32, dv: 48, ..PLAIN }, Case { d: 64, dv: 64, key_bias: true, ..PLAIN }];
    every_case(100, 130, &cases, |case, what, set, x, _| {
        let wanted = (expected(case, set, &x.rounded::<bf16>()), expected(case, set, &x.rounded::<f16>()));
        for (name, level) in levels() {
            let got = run::<bf16>(case, set, x, level, &Serial, None);
            close(&got, &wanted.0, 1e-2, 2e-2, &format!("{what} bf16 {name}"));
            let got = run::<f16>(case, set, x, level, &Serial, None);
            close(&got, &wanted.1, 2e-3, 4e-3, &format!("{what} f16 {name}"));
        }
    });
}

#[test]
fn every_executor_gives_the_same_bits() {
    let pool = |n: &usize| rayon::ThreadPoolBuilder::new().num_threads(*n).build().unwrap();
    let pools: Vec<_> = [1, 2, 4].iter().map(pool).collect();
    let case = Case { batch: 2, heads: 4, kv_heads: 2, d: 32, dv: 32, key_bias: true, edge_bias: false };
    let mut random = Random(3);
    for (name, set) in sets(1100, 1100, &mut random) {
        if set.nnz() > 200_000 {
            continue;
        }
        let x = Inputs::new(case, &set, &mut random);
        let level = levels()[0].1;
        let dropout = Some(Dropout { p: 0.2, seed: 5 });
        let serial = run::<f32>(case, &set, &x, level, &Serial, dropout);
        for pool in &pools {
            let got = run::<f32>(case, &set, &x, level, &Rayon(pool), dropout);
            for (i, (a, b)) in got.iter().zip(&serial).enumerate() {
                let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name}: {} differs with {} threads", NAMES[i], pool.current_num_threads());
            }
        }
    }
}

#[test]
fn a_query_order_changes_tiles_and_not_results() {
    let n = 300;
    let mut random = Random(11);
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        order.swap(i, (random.next() % (i as u64 + 1)) as usize);
    }
    let case = Case { dv: 32, key_bias: true, edge_bias: true, ..PLAIN };
    for (name, set) in sets(n, n, &mut random) {
        if !matches!(set.form(), Form::Csr { .. }) {
            continue;
        }
        let x = Inputs::new(case, &set, &mut random);
        let want = expected(case, &set, &x);
        let ordered = set.with_order(order.clone()).unwrap();
        let got = run::<f64>(case, &ordered, &x, levels()[0].1, &Serial, None);
        close(&got, &want, 1e-12, 1e-11, &format!("{name} in another order"));
    }
}

#[test]
fn plans_count_every_pair_once() {
    let mut random = Random(5);
    for (n, m) in [(1, 1), (100, 100), (333, 500), (2000, 2000)] {
        for (name, set) in sets(n, m, &mut random) {
            let report = Plan::new(&set, &Serial).unwrap().report();
            assert_eq!(report.tile_edges + report.row_edges, set.nnz(), "{name} {n}x{m}");
            assert_eq!(report.tiles, n.div_ceil(16), "{name}");
        }
    }
}

#[test]
fn offsets_take_index_memory_that_does_not_grow_with_n() {
    let bytes = |n: usize| {
        let set = IndexSet::from_offsets((-64..=64).chain([500, 1000]).collect(), n, n, 0).unwrap();
        Plan::new(&set, &Serial).unwrap().report().index_bytes
    };
    assert_eq!(bytes(65_536), bytes(4096));
    assert!(bytes(65_536) < 131 * 32, "{} bytes for 131 offsets", bytes(65_536));
}

#[test]
fn dropout_gradients_match_finite_differences() {
    let case = Case { heads: 1, d: 8, dv: 8, ..PLAIN };
    let mut random = Random(17);
    let level = levels()[0].1;
    let dropout = Some(Dropout { p: 0.3, seed: 99 });
    for (name, set) in sets(40, 40, &mut random) {
        let mut x = Inputs::new(case, &set, &mut random);
        x.dlse.fill(0.0);
        let got = run::<f64>(case, &set, &x, level, &Serial, dropout);
        let loss = |x: &Inputs| -> f64 {
            let r = run::<f64>(case, &set, x, level, &Serial, dropout);
            r[0].iter().zip(&x.dout).map(|(a, b)| a * b).sum()
        };
        for at in [0, 37, 150, 319] {
            for which in [2, 3, 4] {
                let value = |step: f64| {
                    let mut y = x.clone();
                    match which {
                        2 => y.q[at] += step,
                        3 => y.k[at] += step,
                        _ => y.v[at] += step,
                    }
                    loss(&y)
                };
                let numeric = (value(1e-6) - value(-1e-6)) / 2e-6;
                let analytic = got[which][at];
                assert!((numeric - analytic).abs() < 1e-7, "{name} {}[{at}]: {analytic}, {numeric}", NAMES[which]);
            }
        }
    }
}

#[test]
fn dropout_drops_its_share_and_leaves_lse() {
    // Equal scores and values of one: the output counts the kept keys.
    let n = 2000;
    let set = IndexSet::from_offsets((-(n as i64)..n as i64).collect(), n, n, 0).unwrap();
    let (q, v) = (vec![0.0f32; n * 16], vec![1.0f32; n * 16]);
    let shape = [1, 1, n, 16];
    let problem = Problem {
        q: View::contiguous(&q, shape),
        k: View::contiguous(&q, shape),
        v: View::contiguous(&v, shape),
        scale: 1.0,
        key_bias: None,
        key_padding: None,
        edge_bias: None,
        dropout: Some(Dropout { p: 0.25, seed: 1 }),
    };
    let plan = Plan::new(&set, &Serial).unwrap();
    let (mut out, mut lse) = (vec![0.0; n * 16], vec![0.0; n]);
    forward(&problem, &plan, levels()[0].1, &Serial, &mut out, &mut lse).unwrap();
    let kept: f64 = out.iter().step_by(16).map(|&x| f64::from(x) * 0.75).sum::<f64>() / n as f64;
    // Four million draws: five standard deviations are 0.0011.
    assert!((kept - 0.75).abs() < 0.0011, "kept {kept}");
    assert!(lse.iter().all(|&l| (l - (n as f32).ln()).abs() < 1e-4));
}

#[test]
fn nan_and_infinity_in_a_query_stay_in_its_row() {
    let n = 64;
    let set = IndexSet::from_offsets(vec![0, 1, 2], n, n, 0).unwrap();
    let shape = [1, 1, n, 16];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut q = vec![0.5f32; n * 16];
        q[20 * 16 + 3] = bad;
        let k = vec![0.25f32; n * 16];
        let problem = Problem {
            q: View::contiguous(&q, shape),
            k: View::contiguous(&k, shape),
            v: View::contiguous(&k, shape),
            scale: 1.0,
            key_bias: None,
            key_padding: None,
            edge_bias: None,
            dropout: None,
        };
        for (name, level) in levels() {
            let plan = Plan::new(&set, &Serial).unwrap();
            let (mut out, mut lse) = (vec![0.0; n * 16], vec![0.0; n]);
            forward(&problem, &plan, level, &Serial, &mut out, &mut lse).unwrap();
            for (query, row) in out.chunks(16).enumerate() {
                let finite = row.iter().all(|x| x.is_finite());
                // Scores of -inf hide every key, as they do in SDPA: output 0.
                let expected_finite = query != 20 || bad == f32::NEG_INFINITY;
                assert_eq!(finite, expected_finite, "{name}: query {query} with {bad} in query 20");
            }
        }
    }
}
