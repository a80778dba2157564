//! The kernel and its twin on the same inputs, and how close they must be.

use crate::inputs::{Case, Inputs, Random, sets};
use crate::naive::attention::Head;
use fractal_kernels::attention::{
    Accumulator, Call, Dropout, EdgeBias, Gradients, KeyBias, Keys, LogSums, Problem, Saved, Storage, View,
};
use fractal_kernels::executor::Executor;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Level, Run};

/// out, lse, dq, dk, dv, dkey_bias, dedge_bias.
pub(crate) type Results = [Vec<f64>; 7];
pub(crate) const NAMES: [&str; 7] = ["out", "lse", "dq", "dk", "dv", "dkey_bias", "dedge_bias"];
pub(crate) const SCALE: f64 = 0.3;

pub(crate) fn expected(case: Case, set: &IndexSet, x: &Inputs) -> Results {
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
        let bias = x.key_bias(case, b * m..(b + 1) * m);
        let head = Head {
            q: &x.q[qs..][..n * case.d],
            k: &x.k[ks..][..m * case.d],
            v: &x.v[vs..][..m * case.dv],
            d: case.d,
            dv: case.dv,
            scale: SCALE,
            key_bias: bias.as_deref(),
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

pub(crate) fn run<T: Storage>(
    case: Case,
    set: &IndexSet,
    x: &Inputs,
    level: Level,
    executor: &dyn Executor,
    dropout: Option<Dropout>,
) -> Results {
    let (n, m) = (set.n_queries(), set.n_keys());
    let planned = PlannedSet::new(set.clone());
    let acc = |x: &[f64]| x.iter().map(|&x| T::Acc::from_f64(x)).collect::<Vec<_>>();
    let (q, k, v, dout) = (stored::<T>(&x.q), stored::<T>(&x.k), stored::<T>(&x.v), stored::<T>(&x.dout));
    let (edge_bias, dlse) = (acc(&x.edge_bias), acc(&x.dlse));
    let key_bias = acc(&x.key_bias);
    let problem = Problem {
        q: View::contiguous(&q, [case.batch, case.heads, n, case.d]),
        k: View::contiguous(&k, [case.batch, case.kv_heads, m, case.d]),
        v: View::contiguous(&v, [case.batch, case.kv_heads, m, case.dv]),
        scale: SCALE,
        key_bias: case.key_bias.then(|| KeyBias { values: &key_bias, batch: case.batch, heads: 1 }),
        key_padding: case.padding.then_some(&x.hidden[..]),
        edge_bias: case.edge_bias.then_some(EdgeBias { values: &edge_bias, heads: case.heads }),
        dropout,
    };
    let (call, run) = (Call { problem, keys: Keys::Set(&planned) }, Run::new(level, executor));
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
    call.backward(run, saved, gradients).unwrap();
    let wide = |x: Vec<T::Acc>| x.into_iter().map(T::Acc::to_f64).collect::<Vec<_>>();
    [read(&out), wide(lse), read(&dq), read(&dk), read(&dv), wide(dkb), wide(deb)]
}

pub(crate) fn close(got: &Results, want: &Results, forward: f64, gradient: f64, what: &str) {
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
