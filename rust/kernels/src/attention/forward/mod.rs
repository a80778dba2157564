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
use super::widths::at_widths;
use crate::error::Result;
use crate::memory::{self, OrLeave};
use crate::plan::Planned;
use crate::simd::{Run, dispatch};
use decode::decode;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use task::{HEADS, Outputs, TaskArgs};

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
    run_groups(problem, plan, problem.groups(), run, out, logs);
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
    decode(problem, keys, problem.groups(), run, out, logs);
    Ok(())
}

/// [`forward`] of some groups, whose outputs alone are given; the problem was checked.
pub(super) fn run_groups<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    groups: Range<usize>,
    run: Run<'_>,
    out: &mut [T],
    logs: LogSums<'_, T::Acc>,
) {
    if plan.n_queries() == 1 && problem.edge_bias.is_none() {
        return decode(problem, &plan.keys(0).or_leave(), groups, run, out, logs);
    }
    let contexts = HeadContext::all(problem, plan, groups).or_leave();
    let group_size = problem.group_size();
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
    for first in (0..contexts.len()).step_by(group_size) {
        for together in (first..first + group_size).step_by(HEADS) {
            let heads = together..(together + HEADS).min(first + group_size);
            for part in 0..parts {
                let outputs: Vec<_> = heads.clone().filter_map(|head| outputs[head * parts + part].take()).collect();
                tasks.push((heads.clone(), part, Mutex::new(outputs)));
            }
        }
    }
    run.for_each_task(tasks.len(), |level, task| {
        let (heads, part, outputs) = &tasks[task];
        let mut outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let tiles = part * TASK_TILES..((part + 1) * TASK_TILES).min(plan.tiles());
        let heads = &contexts[heads.clone()];
        let args = TaskArgs { problem, plan, heads, tiles, outputs: &mut outputs };
        dispatch!(level, simd => at_widths::<_, T::Acc>(simd, args));
    });
}
