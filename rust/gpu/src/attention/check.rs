//! A small problem that has something of everything, against the CPU: without a soft cap, and with one, as its pipelines
//! are others.

use super::forward::shader;
use super::host;
use super::tensor::Element;
use crate::checks::{KernelFamily, Trial};
use crate::context::Context;
use crate::error::Result;
use fractal_kernels::attention::{
    Call, Dropout, EdgeBias, Gradients, KeyBias, Keys, LogSums, Modifiers, Problem, Saved, View,
};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_runtime::run::OwnedRun;
use fractal_shaders::Shader;
use fractal_shaders::attention::Storage;
use std::sync::Arc;

/// Widths of a key and of a value.
const WIDTHS: [usize; 2] = [12, 20];

/// Near keys, which tiles share, keys anywhere, for rows, and a query without any.
fn index_set(n: usize, m: usize) -> Result<IndexSet> {
    let keeps = |i: usize, j: usize| i != 7 && (j.abs_diff(i) < 9 || (j * 7 + i * 13).is_multiple_of(m / 2 - 2));
    let (mut indptr, mut indices) = (vec![0], Vec::new());
    for i in 0..n {
        indices.extend((0..m).filter(|&j| keeps(i, j)).map(|j| j as i32));
        indptr.push(indices.len() as i64);
    }
    Ok(IndexSet::from_csr(indptr, indices, m)?)
}

/// So many numbers about 0, exact in every storage.
fn numbers(n: usize, step: usize) -> Vec<f32> {
    (0..n).map(|i| (i * step % 61) as f32 / 32.0 - 0.9375).collect()
}

fn stored<T: Element>(values: &[f32]) -> Vec<T> {
    let mut to = vec![T::default(); values.len()];
    T::narrow(values, &mut to);
    to
}

fn wide<T: Element>(values: &[T]) -> Vec<f32> {
    let mut to = vec![0.0; values.len()];
    T::widen(values, &mut to);
    to
}

/// What both passes give: output and log-sum-exp, gradients of q, k and v, and of the biases of keys and of edges.
struct Results<T> {
    out: Vec<T>,
    lse: Vec<f32>,
    tensors: [Vec<T>; 3],
    biases: [Vec<f32>; 2],
}

/// Both passes of a call by somebody, the second one from what the first one left.
fn results<'a, T: Element>(
    call: &Call<'_, T>,
    dout: &'a [T],
    dlse: &'a [f32],
    forward: impl FnOnce(&mut [T], LogSums<'_, f32>) -> Result<()>,
    backward: impl FnOnce(Saved<'_, T>, Gradients<'_, T>) -> Result<()>,
) -> Result<Results<T>> {
    let problem = &call.problem;
    let zeros = |view: &View<'_, T>| vec![T::default(); view.shape.iter().product()];
    let (mut out, mut lse, mut rest) = (vec![T::default(); dout.len()], vec![0.0; dlse.len()], vec![0.0; dlse.len()]);
    forward(&mut out, LogSums { lse: &mut lse, rest: Some(&mut rest) })?;
    let mut tensors = [&problem.q, &problem.k, &problem.v].map(zeros);
    let of_keys = problem.key_bias.map_or(0, |bias| bias.values.len());
    let of_edges = problem.edge_bias.map_or(0, |bias| bias.values.len());
    let mut biases = [of_keys, of_edges].map(|len| vec![0.0; len]);
    let [batch, heads, n, _] = problem.q.shape;
    let shape = [batch, heads, n, problem.v.shape[3]];
    let (shown, dout) = (View::contiguous(&out[..], shape), View::contiguous(dout, shape));
    let saved = Saved { out: shown, lse: &lse, rest: &rest, dout, dlse: Some(dlse) };
    let [q, k, v] = &mut tensors;
    let [key_bias, edge_bias] = &mut biases;
    backward(saved, Gradients { q, k, v, key_bias: Some(key_bias), edge_bias: Some(edge_bias), distances: None })?;
    Ok(Results { out, lse, tensors, biases })
}

/// Of the capped kernels: about half of the scores lie beyond it.
const SOFT_CAP: f64 = 0.25;

/// The kernels of a storage, as they are checked, without or with a soft cap.
pub const fn family<T: Element>(capped: bool) -> KernelFamily {
    let check = if capped { check_capped::<T> } else { check_uncapped::<T> };
    KernelFamily { name: T::NAMES[capped as usize], check }
}

fn check_uncapped<T: Element>(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    check::<T>(context, trial, None)
}

fn check_capped<T: Element>(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    check::<T>(context, trial, Some(SOFT_CAP))
}

/// Holds the kernels of a storage against the CPU's. In the library once, not within each of the two.
#[inline(never)]
fn check<T: Element>(context: &Arc<Context>, trial: &Trial, soft_cap: Option<f64>) -> Result<()> {
    let ([d, dv], n) = (WIDTHS, 1 + trial.size / 7);
    let m = n + 9;
    let set = PlannedSet::new(index_set(n, m)?);
    let edges = set.set().nnz();
    let tensor = |n: usize, step: usize| stored::<T>(&numbers(n, step));
    let (q, k, v) = (tensor(2 * n * d, 17), tensor(m * d, 23), tensor(m * dv, 29));
    let (dout, dlse) = (tensor(2 * n * dv, 31), numbers(2 * n, 37));
    let (key_bias, edge_bias) = (numbers(m, 11), numbers(2 * edges, 13));
    let hidden: Vec<bool> = (0..m).map(|key| key % 6 == 1).collect();
    let call = Call {
        problem: Problem {
            q: View::contiguous(&q, [1, 2, n, d]),
            k: View::contiguous(&k, [1, 1, m, d]),
            v: View::contiguous(&v, [1, 1, m, dv]),
            scale: 0.25,
            key_bias: Some(KeyBias { values: &key_bias, batch: 1, heads: 1 }),
            key_padding: Some(&hidden),
            edge_bias: Some(EdgeBias { values: &edge_bias, heads: 2 }),
            dropout: Some(Dropout { p: 0.25, seed: 12345 }),
            modifiers: Modifiers { soft_cap, ..Modifiers::default() },
        },
        keys: Keys::Set(&set),
    };
    let run = OwnedRun::serial()?;
    let wanted = trial.twin(|| {
        let forward = |out: &mut _, logs: LogSums<'_, _>| Ok(call.forward(run.get(), out, logs)?);
        let backward =
            |saved: Saved<'_, _>, gradients: Gradients<'_, _>| Ok(call.backward(run.get(), saved, gradients)?);
        results(&call, &dout, &dlse, forward, backward)
    })?;
    let got = results(
        &call,
        &dout,
        &dlse,
        |out, logs| host::forward(context, &call, [0; 2], &Serial, out, logs),
        |saved, gradients| host::backward(context, &call, [0; 2], &Serial, saved, gradients),
    )?;
    let Storage { queries, keys, .. } = T::SHADERS;
    let forward = shader::<T>(context);
    let compared =
        |shader: &'static Shader, got: &[f32], wanted: &[f32]| context.compare(shader, &shader.entries[0], got, wanted);
    compared(forward, &wide(&got.out), &wide(&wanted.out))?;
    compared(forward, &got.lse, &wanted.lse)?;
    for (which, shader) in [queries, keys, keys].into_iter().enumerate() {
        compared(shader, &wide(&got.tensors[which]), &wide(&wanted.tensors[which]))?;
    }
    for (which, shader) in [keys, queries].into_iter().enumerate() {
        compared(shader, &got.biases[which], &wanted.biases[which])?;
    }
    Ok(())
}
