//! Attention over lists of keys that change at every call. They run as rows, without tiles.

use super::backward::{Gradients, Saved, StatisticsGradients};
use super::element::Storage;
use super::log_sums::LogSums;
use super::problem::Problem;
use super::statistics::WeightStatistics;
use super::widened::{backward_widened, forward_widened, statistics_backward_widened, statistics_widened};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::memory;
use crate::plan::Plan;
use crate::simd::Run;
use std::ops::Range;

/// Lists of keys by batch, key head and query: `(B or 1, Hkv or 1, Nq, K)`, contiguous; −1 is a pad.
///
/// Keys may be in any order; one that is listed twice counts twice.
#[derive(Clone, Copy, Debug)]
pub struct KeyLists<'a> {
    /// Keys.
    pub values: ListValues<'a>,
    /// Batches, key heads, queries, keys in a list.
    pub shape: [usize; 4],
}

/// The keys of lists in either width.
#[derive(Clone, Copy, Debug)]
pub enum ListValues<'a> {
    /// 32 bits.
    I32(&'a [i32]),
    /// 64 bits.
    I64(&'a [i64]),
}

impl ListValues<'_> {
    fn len(&self) -> usize {
        match self {
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// The plan of a part of the values.
    fn plan(&self, part: Range<usize>, n_queries: usize, n_keys: usize, executor: &dyn Executor) -> Result<Plan> {
        match self {
            Self::I32(values) => Plan::from_lists(&values[part], n_queries, n_keys, executor),
            Self::I64(values) => Plan::from_lists(&values[part], n_queries, n_keys, executor),
        }
    }
}

impl KeyLists<'_> {
    pub(super) fn check<T: Storage>(&self, problem: &Problem<'_, T>) -> Result<()> {
        let [batch, kv_heads, ..] = problem.k.shape;
        self.check_sizes([batch, kv_heads, problem.q.shape[2]])
    }

    fn check_sizes(&self, [batch, kv_heads, n_queries]: [usize; 3]) -> Result<()> {
        let [b, h, n, width] = self.shape;
        if ![1, batch].contains(&b) || ![1, kv_heads].contains(&h) || n != n_queries || width == 0 {
            let allowed = format!("({batch} or 1, {kv_heads} or 1, {n_queries}, at least 1)");
            return Err(KernelError::shape("index_set", format!("shape {:?}", self.shape), allowed));
        }
        if self.values.len() != self.shape.iter().product::<usize>() {
            return Err(KernelError::shape("index_set", format!("{} values", self.values.len()), "as its shape says"));
        }
        Ok(())
    }

    /// For each set of lists, the groups that use it and the plan that runs them.
    pub fn plans<T: Storage>(
        &self,
        problem: &Problem<'_, T>,
        executor: &dyn Executor,
    ) -> Result<Vec<(Range<usize>, Plan)>> {
        let [batch, kv_heads, n_keys, _] = problem.k.shape;
        self.plans_of([batch, kv_heads, problem.q.shape[2], n_keys], executor)
    }

    /// [`Self::plans`] for so many batch entries, key heads, queries and keys.
    pub(super) fn plans_of(
        &self,
        [batch, kv_heads, n_queries, n_keys]: [usize; 4],
        executor: &dyn Executor,
    ) -> Result<Vec<(Range<usize>, Plan)>> {
        self.check_sizes([batch, kv_heads, n_queries])?;
        let [b, h, n, width] = self.shape;
        let groups = batch * kv_heads;
        // One set for all, one for each batch entry, or one for each group.
        let sets = if h > 1 { groups } else { b };
        let step = groups / sets;
        let mut plans = memory::with_capacity("index_set", sets)?;
        for set in 0..sets {
            let first = set * step;
            let list = (first / kv_heads).min(b - 1) * h + (first % kv_heads).min(h - 1);
            let part = list * n * width..(list + 1) * n * width;
            plans.push((first..first + step, self.values.plan(part, n, n_keys, executor)?));
        }
        Ok(plans)
    }
}

/// [`forward`](super::forward) over lists.
pub(super) fn forward_lists<T: Storage>(
    problem: &Problem<'_, T>,
    lists: KeyLists<'_>,
    run: Run<'_>,
    out: &mut [T],
    mut logs: LogSums<'_, T::Acc>,
) -> Result<()> {
    problem.check_outputs(out, &logs)?;
    let (out_step, row_step) = (out.len() / problem.groups().len(), logs.lse.len() / problem.groups().len());
    for (groups, plan) in lists.plans(problem, run.executor())? {
        let out = &mut out[groups.start * out_step..groups.end * out_step];
        let logs = logs.part(groups.start * row_step..groups.end * row_step);
        forward_widened(problem, (&plan).into(), groups, run, out, logs)?;
    }
    Ok(())
}

/// [`backward`](super::backward) over lists.
pub(super) fn backward_lists<T: Storage>(
    problem: &Problem<'_, T>,
    lists: KeyLists<'_>,
    run: Run<'_>,
    saved: Saved<'_, T>,
    mut gradients: Gradients<'_, T>,
) -> Result<()> {
    problem.check_gradients(&saved, &gradients)?;
    let count = problem.groups().len();
    let steps = [gradients.q.len() / count, gradients.k.len() / count, gradients.v.len() / count];
    for (groups, plan) in lists.plans(problem, run.executor())? {
        let part = |step: usize| groups.start * step..groups.end * step;
        let gradients = Gradients {
            q: &mut gradients.q[part(steps[0])],
            k: &mut gradients.k[part(steps[1])],
            v: &mut gradients.v[part(steps[2])],
            key_bias: gradients.key_bias.as_deref_mut(),
            edge_bias: None,
            distances: gradients.distances.as_deref_mut(),
        };
        backward_widened(problem, (&plan).into(), groups, run, saved, gradients)?;
    }
    Ok(())
}

/// Statistics over lists.
pub(super) fn statistics_lists<T: Storage>(
    problem: &Problem<'_, T>,
    lists: KeyLists<'_>,
    run: Run<'_>,
    first_position: i64,
    mut out: WeightStatistics<'_, T::Acc>,
) -> Result<()> {
    for (groups, plan) in lists.plans(problem, run.executor())? {
        let out = out.part(problem.query_heads(&groups), plan.n_queries(), plan.n_keys());
        statistics_widened(problem, (&plan).into(), groups, run, first_position, out)?;
    }
    Ok(())
}

/// The gradients of [`statistics_lists`].
pub(super) fn statistics_backward_lists<T: Storage>(
    problem: &Problem<'_, T>,
    lists: KeyLists<'_>,
    run: Run<'_>,
    given: StatisticsGradients<'_, T::Acc>,
    mut gradients: Gradients<'_, T>,
) -> Result<()> {
    let count = problem.groups().len();
    let steps = [gradients.q.len() / count, gradients.k.len() / count];
    for (groups, plan) in lists.plans(problem, run.executor())? {
        let part = |step: usize| groups.start * step..groups.end * step;
        let gradients = Gradients {
            q: &mut gradients.q[part(steps[0])],
            k: &mut gradients.k[part(steps[1])],
            v: &mut [],
            key_bias: gradients.key_bias.as_deref_mut(),
            edge_bias: None,
            distances: None,
        };
        statistics_backward_widened(problem, (&plan).into(), groups, run, given, gradients)?;
    }
    Ok(())
}
