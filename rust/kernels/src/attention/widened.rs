//! Half-precision tensors widened before the kernel runs, a few heads at a time: where keys are read many times,
//! converting them at each read costs more than the attention over them.

use super::backward::{Gradients, Saved, StatisticsGradients, run_groups as run_backward};
use super::element::Storage;
use super::forward::run_groups as run_forward;
use super::log_sums::LogSums;
use super::problem::{Problem, View};
use super::statistics::{WeightStatistics, run_groups as run_statistics};
use crate::error::Result;
use crate::executor::{Executor, for_each_chunk};
use crate::memory::{self, OrLeave};
use crate::plan::Planned;
use crate::simd::Run;
use std::ops::Range;

/// Reads of a key, on average, from which on it is converted beforehand.
const READS: usize = 2;

/// Bytes of widened tensors at a time: what stays in cache, and what the allocator keeps between calls.
const BYTES: usize = 8 << 20;

/// Rows that one task converts.
const ROWS: usize = 512;

/// Whether the tensors are widened first.
fn widens<T: Storage>(problem: &Problem<'_, T>, plan: Planned<'_>) -> bool {
    let often = || plan.has_tiles() || plan.row_edges() * problem.group_size() >= READS * plan.n_keys();
    T::as_acc(&[]).is_none() && plan.n_queries() > 1 && often()
}

/// Cuts groups into parts whose widened tensors, `tensors` of the size of the queries beside k and v, take about
/// [`BYTES`].
fn parts<T: Storage>(
    problem: &Problem<'_, T>,
    groups: Range<usize>,
    tensors: usize,
) -> impl Iterator<Item = Range<usize>> {
    let ([_, heads, n, d], [_, kv_heads, n_keys, _]) = (problem.q.shape, problem.k.shape);
    let width = d.max(problem.widths().1);
    let one = (tensors * heads / kv_heads * n + 4 * n_keys) * width * size_of::<T::Acc>();
    let step = (BYTES / one.max(1)).max(1);
    let end = groups.end;
    groups.step_by(step).map(move |first| first..(first + step).min(end))
}

/// The heads of a part, widened: a view in the shape of the whole tensor, of which only these heads exist.
fn widen<'w, T: Storage>(
    view: View<'_, T>,
    heads: Range<usize>,
    wide: &'w mut Vec<T::Acc>,
    executor: &dyn Executor,
) -> View<'w, T::Acc> {
    let [_, per_batch, n, width] = view.shape;
    memory::resize("q, k, v", wide, heads.len() * n * width, T::Acc::default()).or_leave();
    let first = heads.start * n;
    for_each_chunk(executor, wide, ROWS * width, |part, wide| {
        let mut row = first + part * ROWS;
        let end = row + wide.len() / width;
        let mut rest = wide;
        while row < end {
            // Rows up to the end of the head, or one.
            let together = view.strides[2] == width as isize;
            let rows = if together { (n - row % n).min(end - row) } else { 1 };
            let (to, left) = rest.split_at_mut(rows * width);
            let start = view.start(row / n / per_batch, row / n % per_batch, row % n);
            T::widen(&view.data[start..start + rows * width], to);
            (row, rest) = (row + rows, left);
        }
    });
    View { offset: -((first * width) as isize), ..View::contiguous(wide, view.shape) }
}

fn narrow<T: Storage>(wide: &[T::Acc], executor: &dyn Executor, to: &mut [T]) {
    const PIECE: usize = 1 << 15;
    for_each_chunk(executor, to, PIECE, |part, to| T::narrow(&wide[part * PIECE..][..to.len()], to));
}

/// Buffers that all parts share.
#[derive(Default)]
struct WideBuffers<A> {
    q: Vec<A>,
    k: Vec<A>,
    v: Vec<A>,
}

impl<A: Storage<Acc = A>> WideBuffers<A> {
    /// The problem of a part over widened tensors.
    fn widen<'w, T: Storage<Acc = A>>(
        &'w mut self,
        problem: &Problem<'w, T>,
        groups: &Range<usize>,
        executor: &dyn Executor,
    ) -> Problem<'w, A> {
        Problem {
            q: widen(problem.q, problem.query_heads(groups), &mut self.q, executor),
            k: widen(problem.k, groups.clone(), &mut self.k, executor),
            v: widen(problem.v, groups.clone(), &mut self.v, executor),
            scale: problem.scale,
            key_bias: problem.key_bias,
            key_padding: problem.key_padding,
            edge_bias: problem.edge_bias,
            dropout: problem.dropout,
            modifiers: problem.modifiers,
        }
    }

    /// [`Self::widen`] for statistics, in which values and dropout have no part: the keys stand in the place of the
    /// values.
    fn widen_keys<'w, T: Storage<Acc = A>>(
        &'w mut self,
        problem: &Problem<'w, T>,
        groups: &Range<usize>,
        executor: &dyn Executor,
    ) -> Problem<'w, A> {
        let q = widen(problem.q, problem.query_heads(groups), &mut self.q, executor);
        of_keys(problem, q, widen(problem.k, groups.clone(), &mut self.k, executor))
    }
}

/// The problem of statistics over these queries and keys.
fn of_keys<'a, T: Storage>(problem: &Problem<'a, T>, q: View<'a, T::Acc>, k: View<'a, T::Acc>) -> Problem<'a, T::Acc> {
    Problem {
        q,
        k,
        v: k,
        scale: problem.scale,
        key_bias: problem.key_bias,
        key_padding: problem.key_padding,
        edge_bias: problem.edge_bias,
        dropout: None,
        modifiers: problem.modifiers,
    }
}

/// The statistics of some groups. Half-precision tensors are always widened: these kernels exist in two types, not in
/// four.
pub(super) fn statistics_widened<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    groups: Range<usize>,
    run: Run<'_>,
    first_position: i64,
    mut out: WeightStatistics<'_, T::Acc>,
) -> Result<()> {
    problem.check(plan)?;
    if let (Some(q), Some(k)) = (problem.q.as_acc(), problem.k.as_acc()) {
        run_statistics(&of_keys(problem, q, k), plan, groups, run, first_position, out);
        return Ok(());
    }
    let mut buffers = WideBuffers::default();
    let start = problem.query_heads(&groups).start;
    for part in parts(problem, groups, 1) {
        let heads = problem.query_heads(&part);
        let out = out.part(heads.start - start..heads.end - start, plan.n_queries(), plan.n_keys());
        let problem = buffers.widen_keys(problem, &part, run.executor());
        run_statistics(&problem, plan, part, run, first_position, out);
    }
    Ok(())
}

/// The gradients of statistics of some groups; tensors are widened as for [`statistics_widened`].
pub(super) fn statistics_backward_widened<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    groups: Range<usize>,
    run: Run<'_>,
    given: StatisticsGradients<'_, T::Acc>,
    gradients: Gradients<'_, T>,
) -> Result<()> {
    problem.check(plan)?;
    let Gradients { q: dq, k: dk, mut key_bias, mut edge_bias, .. } = gradients;
    let wide = (problem.q.as_acc(), problem.k.as_acc());
    if let ((Some(q), Some(k)), Some(dq), Some(dk)) = (wide, T::as_acc_mut(dq), T::as_acc_mut(dk)) {
        let gradients = Gradients { q: dq, k: dk, v: &mut [], key_bias, edge_bias, distances: None };
        run_backward(&of_keys(problem, q, k), plan, groups, run, given, gradients);
        return Ok(());
    }
    let (mut buffers, mut q, mut k) = (WideBuffers::default(), Vec::new(), Vec::new());
    let steps = [dq.len(), dk.len()].map(|size| size / groups.len());
    for part in parts(problem, groups.clone(), 2) {
        let range = |step: usize| (part.start - groups.start) * step..(part.end - groups.start) * step;
        for (wide, step) in [&mut q, &mut k].into_iter().zip(steps) {
            memory::resize("q, k, v", wide, part.len() * step, T::Acc::default())?;
        }
        let wide = Gradients {
            q: &mut q,
            k: &mut k,
            v: &mut [],
            key_bias: key_bias.as_deref_mut(),
            edge_bias: edge_bias.as_deref_mut(),
            distances: None,
        };
        let problem = buffers.widen_keys(problem, &part, run.executor());
        run_backward(&problem, plan, part.clone(), run, given, wide);
        narrow(&q, run.executor(), &mut dq[range(steps[0])]);
        narrow(&k, run.executor(), &mut dk[range(steps[1])]);
    }
    Ok(())
}

/// The forward pass of some groups, over widened tensors where that pays.
pub(super) fn forward_widened<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    groups: Range<usize>,
    run: Run<'_>,
    out: &mut [T],
    mut logs: LogSums<'_, T::Acc>,
) -> Result<()> {
    problem.check(plan)?;
    if !widens(problem, plan) {
        run_forward(problem, plan, groups, run, out, logs);
        return Ok(());
    }
    let (mut buffers, mut wide) = (WideBuffers::default(), Vec::new());
    let steps = [out.len() / groups.len(), logs.lse.len() / groups.len()];
    for part in parts(problem, groups.clone(), 2) {
        let range = |step: usize| (part.start - groups.start) * step..(part.end - groups.start) * step;
        let out = &mut out[range(steps[0])];
        memory::resize("q, k, v", &mut wide, out.len(), T::Acc::default())?;
        let problem = buffers.widen(problem, &part, run.executor());
        run_forward(&problem, plan, part.clone(), run, &mut wide, logs.part(range(steps[1])));
        narrow(&wide, run.executor(), out);
    }
    Ok(())
}

/// The backward pass of some groups, over widened tensors where that pays.
pub(super) fn backward_widened<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    groups: Range<usize>,
    run: Run<'_>,
    saved: Saved<'_, T>,
    mut gradients: Gradients<'_, T>,
) -> Result<()> {
    problem.check(plan)?;
    if !widens(problem, plan) {
        run_backward(problem, plan, groups, run, saved, gradients);
        return Ok(());
    }
    let (mut buffers, mut out, mut dout) = (WideBuffers::default(), Vec::new(), Vec::new());
    let (mut q, mut k, mut v) = (Vec::new(), Vec::new(), Vec::new());
    let steps = [gradients.q.len(), gradients.k.len(), gradients.v.len()].map(|size| size / groups.len());
    for part in parts(problem, groups.clone(), 4) {
        let range = |step: usize| (part.start - groups.start) * step..(part.end - groups.start) * step;
        for (wide, step) in [&mut q, &mut k, &mut v].into_iter().zip(steps) {
            memory::resize("q, k, v", wide, part.len() * step, T::Acc::default())?;
        }
        let heads = problem.query_heads(&part);
        let saved = Saved {
            out: widen(saved.out, heads.clone(), &mut out, run.executor()),
            dout: widen(saved.dout, heads, &mut dout, run.executor()),
            lse: saved.lse,
            rest: saved.rest,
            dlse: saved.dlse,
        };
        let wide = Gradients {
            q: &mut q,
            k: &mut k,
            v: &mut v,
            key_bias: gradients.key_bias.as_deref_mut(),
            edge_bias: gradients.edge_bias.as_deref_mut(),
            distances: gradients.distances.as_deref_mut(),
        };
        let problem = buffers.widen(problem, &part, run.executor());
        run_backward(&problem, plan, part.clone(), run, saved, wide);
        narrow(&q, run.executor(), &mut gradients.q[range(steps[0])]);
        narrow(&k, run.executor(), &mut gradients.k[range(steps[1])]);
        narrow(&v, run.executor(), &mut gradients.v[range(steps[2])]);
    }
    Ok(())
}
