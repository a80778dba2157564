//! The kernel and its twin on the same inputs, and how close they must be.

use crate::inputs::{Case, Inputs, Random, sets};
use crate::naive::attention::Head;
use fractal_kernels::attention::{
    Accumulator, Call, Dropout, EdgeBias, Gradients, KeyBias, Keys, LogSums, Modifiers, Problem, Saved, Storage, View,
};
use fractal_kernels::executor::Executor;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Level, Run};

/// out, lse, dq, dk, dv, dkey_bias, dedge_bias.
pub(crate) type Results = [Vec<f64>; 7];
pub(crate) const NAMES: [&str; 7] = ["out", "lse", "dq", "dk", "dv", "dkey_bias", "dedge_bias"];
pub(crate) const SCALE: f64 = 0.3;

/// One head of the twin, with its key bias.
pub(crate) struct TwinHead<'a> {
    pub(crate) head: Head<'a>,
    key_bias: Option<Vec<f64>>,
}

impl TwinHead<'_> {
    pub(crate) fn head(&self) -> Head<'_> {
        Head { key_bias: self.key_bias.as_deref(), ..self.head }
    }
}

/// The heads of all batch entries.
pub(crate) fn twin_heads<'a>(case: Case, set: &IndexSet, x: &'a Inputs) -> Vec<TwinHead<'a>> {
    let (n, m, nnz) = (set.n_queries(), set.n_keys(), set.nnz());
    let twin = |row: usize| {
        let (b, h) = (row / case.heads, row % case.heads);
        let kv = b * case.kv_heads + h / (case.heads / case.kv_heads);
        let head = Head {
            q: &x.q[row * n * case.d..][..n * case.d],
            k: &x.k[kv * m * case.d..][..m * case.d],
            v: &x.v[kv * m * case.dv..][..m * case.dv],
            d: case.d,
            dv: case.dv,
            scale: SCALE,
            key_bias: None,
            edge_bias: case.edge_bias.then(|| &x.edge_bias[h * nnz..(h + 1) * nnz]),
            soft_cap: None,
            sink: None,
        };
        TwinHead { head, key_bias: x.key_bias(case, b * m..(b + 1) * m) }
    };
    (0..case.batch * case.heads).map(twin).collect()
}

pub(crate) fn expected(case: Case, set: &IndexSet, x: &Inputs) -> Results {
    expected_of(case, set, x, twin_heads(case, set, x))
}

/// What some twin heads give together.
pub(crate) fn expected_of(case: Case, set: &IndexSet, x: &Inputs, heads: Vec<TwinHead<'_>>) -> Results {
    let (n, m) = (set.n_queries(), set.n_keys());
    let mut r: Results = Default::default();
    r[2] = vec![0.0; x.q.len()];
    r[3] = vec![0.0; x.k.len()];
    r[4] = vec![0.0; x.v.len()];
    r[5] = vec![0.0; if case.key_bias { x.key_bias.len() } else { 0 }];
    r[6] = vec![0.0; if case.edge_bias { x.edge_bias.len() } else { 0 }];
    let add = |into: &mut [f64], from: &[f64]| into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
    for (row, head) in heads.into_iter().enumerate() {
        let (b, h) = (row / case.heads, row % case.heads);
        let kv = b * case.kv_heads + h / (case.heads / case.kv_heads);
        let (qs, ks, vs) = (row * n * case.d, kv * m * case.d, kv * m * case.dv);
        let head = head.head();
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

pub(crate) fn stored<T: Storage>(x: &[f64]) -> Vec<T> {
    let acc: Vec<T::Acc> = x.iter().map(|&x| T::Acc::from_f64(x)).collect();
    let mut out = vec![T::default(); x.len()];
    T::narrow(&acc, &mut out);
    out
}

pub(crate) fn read<T: Storage>(x: &[T]) -> Vec<f64> {
    let mut acc = vec![T::Acc::default(); x.len()];
    T::widen(x, &mut acc);
    acc.into_iter().map(T::Acc::to_f64).collect()
}

/// The inputs as a storage type holds them.
pub(crate) struct Held<T: Storage> {
    pub(crate) q: Vec<T>,
    pub(crate) k: Vec<T>,
    v: Vec<T>,
    key_bias: Vec<T::Acc>,
    edge_bias: Vec<T::Acc>,
    hidden: Vec<bool>,
}

pub(crate) fn accumulated<T: Storage>(x: &[f64]) -> Vec<T::Acc> {
    x.iter().map(|&x| T::Acc::from_f64(x)).collect()
}

impl<T: Storage> Held<T> {
    pub(crate) fn new(x: &Inputs) -> Self {
        let (q, k, v) = (stored::<T>(&x.q), stored::<T>(&x.k), stored::<T>(&x.v));
        let (key_bias, edge_bias) = (accumulated::<T>(&x.key_bias), accumulated::<T>(&x.edge_bias));
        Self { q, k, v, key_bias, edge_bias, hidden: x.hidden.clone() }
    }

    pub(crate) fn problem(&self, case: Case, set: &IndexSet, dropout: Option<Dropout>) -> Problem<'_, T> {
        let (n, m) = (set.n_queries(), set.n_keys());
        Problem {
            q: View::contiguous(&self.q, [case.batch, case.heads, n, case.d]),
            k: View::contiguous(&self.k, [case.batch, case.kv_heads, m, case.d]),
            v: View::contiguous(&self.v, [case.batch, case.kv_heads, m, case.dv]),
            scale: SCALE,
            key_bias: case.key_bias.then(|| KeyBias { values: &self.key_bias, batch: case.batch, heads: 1 }),
            key_padding: case.padding.then_some(&self.hidden[..]),
            edge_bias: case.edge_bias.then_some(EdgeBias { values: &self.edge_bias, heads: case.heads }),
            dropout,
            modifiers: Modifiers::default(),
        }
    }
}

pub(crate) fn run<T: Storage>(
    case: Case,
    set: &IndexSet,
    x: &Inputs,
    level: Level,
    executor: &dyn Executor,
    dropout: Option<Dropout>,
) -> Results {
    let (planned, held) = (PlannedSet::new(set.clone()), Held::<T>::new(x));
    run_of(case, set, &planned, held.problem(case, set, dropout), x, level, executor).0
}

/// Both passes of a problem; also the gradient of its table of distances.
pub(crate) fn run_of<T: Storage>(
    case: Case,
    set: &IndexSet,
    planned: &PlannedSet,
    problem: Problem<'_, T>,
    x: &Inputs,
    level: Level,
    executor: &dyn Executor,
) -> (Results, Vec<f64>) {
    let n = set.n_queries();
    let (dout, dlse) = (stored::<T>(&x.dout), accumulated::<T>(&x.dlse));
    let table = problem.modifiers.distances.map_or(0, |bias| bias.values.len());
    let (call, run) = (Call { problem, keys: Keys::Set(planned) }, Run::new(level, executor));
    let mut out = vec![T::default(); dout.len()];
    let mut lse = vec![T::Acc::default(); case.batch * case.heads * n];
    let mut rest = lse.clone();
    call.forward(run, &mut out, LogSums { lse: &mut lse, rest: Some(&mut rest) }).unwrap();
    let shape = [case.batch, case.heads, n, case.dv];
    let saved = Saved {
        out: View::contiguous(&out, shape),
        lse: &lse,
        rest: &rest,
        dout: View::contiguous(&dout, shape),
        dlse: Some(&dlse),
    };
    let zeros = |n: usize| vec![T::default(); n];
    let (mut dq, mut dk, mut dv) = (zeros(x.q.len()), zeros(x.k.len()), zeros(x.v.len()));
    let mut dkb = vec![T::Acc::default(); if case.key_bias { x.key_bias.len() } else { 0 }];
    let mut deb = vec![T::Acc::default(); if case.edge_bias { x.edge_bias.len() } else { 0 }];
    let mut tables = vec![T::Acc::default(); table];
    let gradients = Gradients {
        q: &mut dq,
        k: &mut dk,
        v: &mut dv,
        key_bias: case.key_bias.then_some(&mut dkb[..]),
        edge_bias: case.edge_bias.then_some(&mut deb[..]),
        distances: (table > 0).then_some(&mut tables[..]),
    };
    call.backward(run, saved, gradients).unwrap();
    let wide = |x: Vec<T::Acc>| x.into_iter().map(T::Acc::to_f64).collect::<Vec<_>>();
    ([read(&out), wide(lse), read(&dq), read(&dk), read(&dv), wide(dkb), wide(deb)], wide(tables))
}

pub(crate) fn close(got: &Results, want: &Results, forward: f64, gradient: f64, what: &str) {
    close_to(&NAMES, got, want, |i| if i < 2 { forward } else { gradient }, what);
}

/// Each result within its tolerance, of the greatest value that is wanted, or of 1.
pub(crate) fn close_to(
    names: &[&str],
    got: &[Vec<f64>],
    want: &[Vec<f64>],
    tolerance: impl Fn(usize) -> f64,
    what: &str,
) {
    for (i, name) in names.iter().enumerate() {
        assert_eq!(got[i].len(), want[i].len(), "{what}: {name}");
        let tolerance = tolerance(i);
        let size = want[i].iter().filter(|x| x.is_finite()).fold(1.0f64, |a, x| a.max(x.abs()));
        for (at, (g, w)) in got[i].iter().zip(&want[i]).enumerate() {
            let good = g == w || (g - w).abs() <= tolerance * size;
            assert!(good, "{what}: {name}[{at}] is {g}, expected {w} (tolerance {tolerance} of {size})");
        }
    }
}

pub(crate) fn every_case(n: usize, m: usize, cases: &[Case], check: impl Fn(Case, &str, &IndexSet, &Inputs, &Results)) {
    let mut random = Random(7 + n as u64);
    for (name, set) in sets(n, m, &mut random) {
        if n >= 1000 && set.nnz() > 100_000 {
            continue;
        }
        for &case in cases {
            let x = Inputs::new(case, &set, &mut random);
            let want = expected(case, &set, &x);
            check(case, &format!("{name} {n}x{m} {case:?}"), &set, &x, &want);
        }
    }
}
