//! The forward pass: output and log-sum-exp.

mod decode;
mod row_part;
mod softmax;
mod task;
mod tile_part;

use super::deal::deal;
use super::element::Storage;
use super::head::HeadContext;
use super::log_sums::LogSums;
use super::problem::Problem;
use crate::error::Result;
use crate::memory::{self, OrLeave};
use crate::plan::Planned;
use crate::simd::Run;
use decode::decode;
use fearless_simd::dispatch;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use task::{HEADS, Outputs, run_task};

/// Tiles of one task.
const TASK_TILES: usize = 16;

/// Fills `out (B, H, Nq, Dv)` and the log-sums, all contiguous.
pub fn forward<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    run: Run<'_>,
    out: &mut [T],
    logs: LogSums<'_, T::Acc>,
) -> Result<()> {
    problem.check_outputs(out, &logs)?;
    problem.check(plan)?;
    run_pairs(problem, plan, problem.pairs(), run, out, logs);
    Ok(())
}

/// [`forward`] of one query, whose keys are given, without a plan.
pub(super) fn forward_one<T: Storage>(
    problem: &Problem<'_, T>,
    keys: &[u32],
    n_keys: usize,
    run: Run<'_>,
    out: &mut [T],
    logs: LogSums<'_, T::Acc>,
) -> Result<()> {
    problem.check_outputs(out, &logs)?;
    problem.check_sizes(1, n_keys)?;
    decode(problem, keys, problem.pairs(), run, out, logs);
    Ok(())
}

/// [`forward`] of some (batch, key head) pairs, whose outputs alone are given; the problem was checked.
pub(super) fn run_pairs<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    pairs: Range<usize>,
    run: Run<'_>,
    out: &mut [T],
    logs: LogSums<'_, T::Acc>,
) {
    if plan.n_queries() == 1 && problem.edge_bias.is_none() {
        return decode(problem, &plan.keys(0).or_leave(), pairs, run, out, logs);
    }
    let contexts = HeadContext::all(problem, plan.edges, pairs).or_leave();
    let group = problem.group();
    let parts = plan.tiles().div_ceil(TASK_TILES);
    let out = deal(&plan, out, problem.widths().1, TASK_TILES);
    let lse = deal(&plan, logs.lse, 1, TASK_TILES);
    let mut rest = logs.rest.map(|rest| deal(&plan, rest, 1, TASK_TILES).into_iter());
    let outputs = out
        .into_iter()
        .zip(lse)
        .map(|(out, lse)| Some(Outputs { out, lse, rest: rest.as_mut().and_then(Iterator::next) }));
    let mut outputs: Vec<Option<Outputs<'_, T>>> = memory::collected("q, k, v", outputs).or_leave();
    // The query heads of a key head share its rows.
    let mut tasks = memory::with_capacity("q, k, v", outputs.len()).or_leave();
    for first in (0..contexts.len()).step_by(group) {
        for together in (first..first + group).step_by(HEADS) {
            let heads = together..(together + HEADS).min(first + group);
            for part in 0..parts {
                let outputs: Vec<_> = heads.clone().filter_map(|head| outputs[head * parts + part].take()).collect();
                tasks.push((heads.clone(), part, Mutex::new(outputs)));
            }
        }
    }
    run.executor.run(tasks.len(), &|task| {
        let (heads, part, outputs) = &tasks[task];
        let mut outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let tiles = part * TASK_TILES..((part + 1) * TASK_TILES).min(plan.tiles());
        dispatch!(run.level, simd => run_task(simd, problem, plan, &contexts[heads.clone()], tiles, &mut outputs));
    });
}
