//! Statistics of attention weights, row by row and key by key, without the weights.
//!
//! With weights p of a query over its keys: entropy `−Σ p log p`, maximum, mean distance `Σ p |i − j|`, and the mass of
//! each key, the sum of its weights over all queries. All scores of a tile are held at once, so that one pass over the
//! plan does.
//!
//! A task is a chunk of queries of one head. It adds to masses of its own; these are summed in the order of the chunks,
//! which are cut by problem size, so sums have one order whatever the executor.

mod chosen;
mod positions;
mod task;
mod tile_scores;

use super::deal::deal;
use super::element::{Accumulator, Storage};
use super::head::HeadContext;
use super::problem::Problem;
use super::widths::at_widths;
use crate::error::{KernelError, Result};
use crate::executor::for_each_chunk;
use crate::memory::{self, OrLeave};
use crate::plan::{Planned, TILE};
use crate::simd::{Run, dispatch};
pub(crate) use chosen::{ChosenRow, weigh_rows};
pub(crate) use positions::Positions;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use task::{MeasureArgs, Measured};
pub(crate) use tile_scores::TileScores;

/// Fewest queries of a chunk.
const CHUNK: usize = 512;

/// Most chunks of a head; each has masses of its own for all keys.
const CHUNKS: usize = 16;

/// Tasks that one wave aims for; it bounds the masses that are held.
const WAVE_TASKS: usize = 32;

/// Where the statistics go; all contiguous.
#[derive(Debug)]
pub struct WeightStatistics<'a, A> {
    /// Entropy of each row in nats, `(B, H, Nq)`; 0 where a query has no key, as for the next two.
    pub entropy: &'a mut [A],
    /// Greatest weight of each row, `(B, H, Nq)`.
    pub maximum: &'a mut [A],
    /// Mean distance of each row, `(B, H, Nq)`.
    pub distance: &'a mut [A],
    /// Mass of each key, `(B, H, Nk)`.
    pub columns: &'a mut [A],
}

impl<A> WeightStatistics<'_, A> {
    /// Those of some query heads.
    pub(super) fn part(&mut self, heads: Range<usize>, n_queries: usize, n_keys: usize) -> WeightStatistics<'_, A> {
        let rows = heads.start * n_queries..heads.end * n_queries;
        WeightStatistics {
            entropy: &mut self.entropy[rows.clone()],
            maximum: &mut self.maximum[rows.clone()],
            distance: &mut self.distance[rows],
            columns: &mut self.columns[heads.start * n_keys..heads.end * n_keys],
        }
    }

    /// Refuses other sizes than the problem's.
    pub(super) fn check<T: Storage>(&self, problem: &Problem<'_, T>) -> Result<()> {
        let [batch, heads, n, _] = problem.q.shape;
        let (rows, columns) = (batch * heads * n, batch * heads * problem.k.shape[2]);
        for (name, given, wanted) in [
            ("entropy", self.entropy.len(), rows),
            ("maximum", self.maximum.len(), rows),
            ("mean_distance", self.distance.len(), rows),
            ("column_mass", self.columns.len(), columns),
        ] {
            if given != wanted {
                return Err(KernelError::shape(name, format!("{given} values"), wanted));
            }
        }
        Ok(())
    }
}

/// The statistics of some groups, whose outputs alone are given; query i stands at key `first_position + i`. The
/// problem was checked; its values and its dropout are not looked at.
pub(super) fn run_groups<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    groups: Range<usize>,
    run: Run<'_>,
    first_position: i64,
    mut out: WeightStatistics<'_, T::Acc>,
) {
    let (n, n_keys) = (plan.n_queries(), plan.n_keys());
    let tiles = n.div_ceil(CHUNKS).max(CHUNK).div_ceil(TILE);
    let chunks = plan.tiles().div_ceil(tiles);
    let together = WAVE_TASKS.div_ceil(chunks);
    let contexts = HeadContext::all(problem, plan, groups).or_leave();
    let masses = together.min(contexts.len()) * chunks * n_keys;
    let mut masses = memory::zeros::<T::Acc>("k", masses).or_leave();
    for first in (0..contexts.len()).step_by(together) {
        let last = (first + together).min(contexts.len());
        let out = out.part(first..last, n, n_keys);
        let rows = deal(&plan, out.entropy, 1, tiles)
            .into_iter()
            .zip(deal(&plan, out.maximum, 1, tiles))
            .zip(deal(&plan, out.distance, 1, tiles))
            .zip(masses.chunks_mut(n_keys))
            .map(|(((entropy, maximum), distance), columns)| {
                Mutex::new(Measured { entropy, maximum, distance, columns })
            });
        let tasks = memory::collected("q", rows).or_leave();
        run.for_each_task(tasks.len(), |level, i| {
            let mut to = tasks[i].lock().unwrap_or_else(PoisonError::into_inner);
            let (head, chunk) = (&contexts[first + i / chunks], i % chunks);
            let tiles = chunk * tiles..((chunk + 1) * tiles).min(plan.tiles());
            let args = MeasureArgs { problem, plan, head, tiles, first_position, to: &mut to };
            dispatch!(level, simd => at_widths::<_, T::Acc>(simd, args));
        });
        drop(tasks);
        for_each_chunk(run.executor(), out.columns, n_keys, |head, out| {
            let masses = &masses[head * chunks * n_keys..][..chunks * n_keys];
            for (key, out) in out.iter_mut().enumerate() {
                *out = T::Acc::from_f64(masses[key..].iter().step_by(n_keys).map(|x| x.to_f64()).sum());
            }
        });
    }
}
