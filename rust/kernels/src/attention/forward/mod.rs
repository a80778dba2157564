//! The forward pass: output and log-sum-exp.

mod decode;
mod row_part;
mod softmax;
mod tile_part;

use super::element::{Real, Storage};
use super::head::HeadContext;
use super::log_sums::LogSums;
use super::problem::Problem;
use super::rows::{Panel, TaskRows, deal};
use super::scratch::{Aligned, KEY_BLOCK, LaneKeys, ROW_BLOCK, padded};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::interrupt;
use crate::memory::{self, OrLeave};
use crate::plan::{Plan, TILE, TileKeys};
use decode::decode;
use fearless_simd::{Level, Simd, dispatch, prelude::*};
use softmax::Softmax;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
pub(super) use tile_part::add_terms;

/// Tiles of one task.
const TASK_TILES: usize = 16;

/// Query heads of one task: they share the rows of one key head.
const HEADS: usize = 4;

/// Fills `out (B, H, Nq, Dv)` and the log-sums, all contiguous.
pub fn forward<T: Storage>(
    problem: &Problem<'_, T>,
    plan: &Plan,
    level: Level,
    executor: &dyn Executor,
    out: &mut [T],
    logs: LogSums<'_, T::Acc>,
) -> Result<()> {
    check_outputs(problem, out, &logs)?;
    problem.check(plan)?;
    run_pairs(problem, plan, problem.pairs(), level, executor, out, logs);
    Ok(())
}

/// [`forward`] of one query, whose keys are given, without a plan.
pub(super) fn forward_one<T: Storage>(
    problem: &Problem<'_, T>,
    keys: &[u32],
    n_keys: usize,
    level: Level,
    executor: &dyn Executor,
    out: &mut [T],
    logs: LogSums<'_, T::Acc>,
) -> Result<()> {
    check_outputs(problem, out, &logs)?;
    problem.check_sizes(1, n_keys)?;
    decode(problem, keys, problem.pairs(), level, executor, out, logs);
    Ok(())
}

/// Refuses outputs of another size than the problem's.
pub(super) fn check_outputs<T: Storage>(problem: &Problem<'_, T>, out: &[T], logs: &LogSums<'_, T::Acc>) -> Result<()> {
    let rows = problem.q.shape[..3].iter().product::<usize>();
    if out.len() != rows * problem.widths().1 || logs.lse.len() != rows {
        return Err(KernelError::shape("out", format!("{} values", out.len()), rows * problem.widths().1));
    }
    if let Some(rest) = logs.rest.as_ref().filter(|rest| rest.len() != rows) {
        return Err(KernelError::shape("lse_rest", format!("{} values", rest.len()), rows));
    }
    Ok(())
}

/// [`forward`] of some (batch, key head) pairs, whose outputs alone are given; the problem was checked.
pub(super) fn run_pairs<T: Storage>(
    problem: &Problem<'_, T>,
    plan: &Plan,
    pairs: Range<usize>,
    level: Level,
    executor: &dyn Executor,
    out: &mut [T],
    logs: LogSums<'_, T::Acc>,
) {
    if plan.n_queries() == 1 && problem.edge_bias.is_none() {
        return decode(problem, &plan.keys(0).or_leave(), pairs, level, executor, out, logs);
    }
    let contexts = problem.contexts(pairs).or_leave();
    let group = problem.group();
    let parts = plan.tiles().div_ceil(TASK_TILES);
    let out = deal(plan, out, problem.widths().1, TASK_TILES);
    let lse = deal(plan, logs.lse, 1, TASK_TILES);
    let mut rest = logs.rest.map(|rest| deal(plan, rest, 1, TASK_TILES).into_iter());
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
    executor.run(tasks.len(), &|task| {
        let (heads, part, outputs) = &tasks[task];
        let mut outputs = outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let tiles = part * TASK_TILES..((part + 1) * TASK_TILES).min(plan.tiles());
        dispatch!(level, simd => run_task(simd, problem, plan, &contexts[heads.clone()], tiles, &mut outputs));
    });
}

/// The rows that a task writes for one head.
struct Outputs<'a, T: Storage> {
    out: TaskRows<'a, T>,
    lse: TaskRows<'a, T::Acc>,
    rest: Option<TaskRows<'a, T::Acc>>,
}

#[inline(always)]
fn run_task<S: Simd, T: Storage>(
    simd: S,
    problem: &Problem<'_, T>,
    plan: &Plan,
    heads: &[HeadContext<T::Acc>],
    tiles: Range<usize>,
    outputs: &mut [Outputs<'_, T>],
) {
    // Vectors a tile, keys scored at a time, native lanes, native vectors of columns at a time: what fills 32 registers
    // of 512 bits, 16 of 256, 16 or 32 of 128.
    let queries = <<T::Acc as Real>::V<S> as SimdBase<S>>::LEN;
    match (queries, <<T::Acc as Real>::N<S> as SimdBase<S>>::LEN) {
        (TILE, 16) => Task::<T, 1, 8, 16, 4>::new(problem, plan, heads).run(simd, tiles, outputs),
        (TILE, 8) => Task::<T, 1, 6, 8, 2>::new(problem, plan, heads).run(simd, tiles, outputs),
        (TILE, _) => Task::<T, 1, 2, 4, 2>::new(problem, plan, heads).run(simd, tiles, outputs),
        (_, 8) => Task::<T, 2, 4, 8, 4>::new(problem, plan, heads).run(simd, tiles, outputs),
        (_, 4) => Task::<T, 2, 2, 4, 2>::new(problem, plan, heads).run(simd, tiles, outputs),
        (_, _) => Task::<T, 2, 1, 2, 2>::new(problem, plan, heads).run(simd, tiles, outputs),
    }
}

/// One task: `NQ` vectors a tile, `NK` keys at a time, native vectors of `ND` lanes, `NC` of them at a time.
struct Task<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> {
    problem: &'p Problem<'p, T>,
    plan: &'p Plan,
    heads: Vec<Head<'p, T>>,
    keys: Panel<'p, T>,
    values: Panel<'p, T>,
    /// Scores, then weights, of a block of the tile's keys and one head.
    scores: Aligned<T::Acc>,
    block: TileKeys,
    lanes: LaneKeys,
}

/// One of the query heads of a task.
struct Head<'p, T: Storage> {
    context: &'p HeadContext<T::Acc>,
    queries: Panel<'p, T>,
    /// The tile's queries as columns, scaled.
    qt: Aligned<T::Acc>,
    /// Scores, then weights, of row keys, lane by lane.
    row_scores: Aligned<T::Acc>,
    softmax: Softmax<T::Acc>,
}

impl<'p, T: Storage> Head<'p, T> {
    fn new(problem: &'p Problem<'p, T>, plan: &Plan, context: &'p HeadContext<T::Acc>) -> Self {
        let (d, dv) = problem.widths();
        let mut queries = Panel::new(problem.q);
        queries.select(context.batch, context.query_head);
        Self {
            context,
            queries,
            qt: Aligned::zeros(TILE * padded(d)),
            row_scores: Aligned::zeros(if plan.has_rows() { TILE * ROW_BLOCK } else { 0 }),
            softmax: Softmax::new(padded(dv)),
        }
    }
}

impl<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> Task<'p, T, NQ, NK, ND, NC> {
    fn new(problem: &'p Problem<'p, T>, plan: &'p Plan, heads: &'p [HeadContext<T::Acc>]) -> Self {
        let (mut keys, mut values) = (Panel::new(problem.k), Panel::new(problem.v));
        keys.select(heads[0].batch, heads[0].key_head);
        values.select(heads[0].batch, heads[0].key_head);
        Self {
            problem,
            plan,
            heads: heads.iter().map(|context| Head::new(problem, plan, context)).collect(),
            keys,
            values,
            scores: Aligned::zeros(if plan.has_tiles() { TILE * KEY_BLOCK } else { 0 }),
            block: TileKeys::default(),
            lanes: LaneKeys::default(),
        }
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, tiles: Range<usize>, outputs: &mut [Outputs<'_, T>]) {
        let first = tiles.start;
        for tile in tiles {
            interrupt::check();
            for head in &mut self.heads {
                head.softmax.clear();
            }
            simd.vectorize(
                #[inline(always)]
                || self.tile_part(simd, tile),
            );
            if self.plan.has_rows() {
                self.lanes.fill(self.plan, tile, self.problem.edge_bias.is_some());
                simd.vectorize(
                    #[inline(always)]
                    || self.row_part(simd, tile),
                );
            }
            simd.vectorize(
                #[inline(always)]
                || self.finish(simd, self.plan.lanes(tile), (tile - first) * TILE, outputs),
            );
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, lanes: usize, first: usize, outputs: &mut [Outputs<'_, T>]) {
        for (head, outputs) in self.heads.iter_mut().zip(outputs) {
            for lane in 0..lanes {
                let log = head.softmax.log_sum(lane);
                outputs.lse.row(first + lane)[0] = log.lse;
                if let Some(rest) = &mut outputs.rest {
                    rest.row(first + lane)[0] = log.rest;
                }
                head.softmax.write(simd, lane, outputs.out.row(first + lane));
            }
        }
    }
}
