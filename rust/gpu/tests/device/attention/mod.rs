//! Sparse attention on the device against the slow twin in `f64`, and against the CPU's kernel.

mod calls;
mod soft_cap;
mod twins;

use crate::common::ALONE;
use crate::inputs::{Case, Inputs};
use crate::runs::{Results, SCALE, read, stored};
use fractal_gpu::Context;
use fractal_gpu::attention::{Element, backward, forward};
use fractal_kernels::attention::{
    Call, Dropout, EdgeBias, Gradients, KeyBias, Keys, LogSums, Modifiers, Problem, Saved, View,
};
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Level, Run};
use std::sync::Arc;

/// Who computes.
#[derive(Clone, Copy)]
enum Who<'a> {
    Cpu,
    Gpu(&'a Arc<Context>),
}

/// A call beside its tensors.
#[derive(Clone, Copy)]
struct Setup<'a> {
    case: Case,
    keys: Keys<'a>,
    dropout: Option<Dropout>,
    soft_cap: Option<f64>,
    /// Batches and heads that the bias of keys has, and heads of that of edges; `None` is those of the case.
    shared: Option<([usize; 2], usize)>,
}

impl<'a> Setup<'a> {
    fn new(case: Case, set: &'a PlannedSet) -> Self {
        Self { case, keys: Keys::Set(set), dropout: None, soft_cap: None, shared: None }
    }
}

/// The results of a forward and a backward pass, as the CPU's tests have theirs.
fn run<T: Element>(who: Who<'_>, setup: Setup<'_>, x: &Inputs) -> Results {
    let Setup { case, keys, dropout, soft_cap, shared } = setup;
    let (n, m) = (x.dlse.len() / case.batch / case.heads, x.hidden.len() / case.batch);
    let acc = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let (q, k, v, dout) = (stored::<T>(&x.q), stored::<T>(&x.k), stored::<T>(&x.v), stored::<T>(&x.dout));
    let (key_bias, edge_bias, dlse) = (acc(&x.key_bias), acc(&x.edge_bias), acc(&x.dlse));
    let ([batch, heads], edge_heads) = shared.unwrap_or(([case.batch, 1], case.heads));
    let problem = Problem {
        q: View::contiguous(&q, [case.batch, case.heads, n, case.d]),
        k: View::contiguous(&k, [case.batch, case.kv_heads, m, case.d]),
        v: View::contiguous(&v, [case.batch, case.kv_heads, m, case.dv]),
        scale: SCALE,
        key_bias: case.key_bias.then(|| KeyBias { values: &key_bias, batch, heads }),
        key_padding: case.padding.then_some(&x.hidden[..]),
        edge_bias: case.edge_bias.then(|| EdgeBias { values: &edge_bias, heads: edge_heads }),
        dropout,
        modifiers: Modifiers { soft_cap, ..Modifiers::default() },
    };
    let call = Call { problem, keys };
    let mut out = vec![T::default(); dout.len()];
    let mut lse = vec![0.0; case.batch * case.heads * n];
    let mut rest = lse.clone();
    let logs = LogSums { lse: &mut lse, rest: Some(&mut rest) };
    match who {
        Who::Cpu => call.forward(Run::new(Level::new(), ALONE), &mut out, logs).unwrap(),
        Who::Gpu(context) => forward(context, &call, ALONE, &mut out, logs).unwrap(),
    }
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
    let mut dkb = vec![0.0; if case.key_bias { key_bias.len() } else { 0 }];
    let mut deb = vec![0.0; if case.edge_bias { edge_bias.len() } else { 0 }];
    let gradients = Gradients {
        q: &mut dq,
        k: &mut dk,
        v: &mut dv,
        key_bias: case.key_bias.then_some(&mut dkb[..]),
        edge_bias: case.edge_bias.then_some(&mut deb[..]),
        distances: None,
    };
    match who {
        Who::Cpu => call.backward(Run::new(Level::new(), ALONE), saved, gradients).unwrap(),
        Who::Gpu(context) => backward(context, &call, ALONE, saved, gradients).unwrap(),
    }
    let wide = |x: Vec<f32>| x.into_iter().map(f64::from).collect::<Vec<_>>();
    [read(&out), wide(lse), read(&dq), read(&dk), read(&dv), wide(dkb), wide(deb)]
}
