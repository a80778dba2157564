//! First backward sweep, by chunks of queries: tiles, and the first half of the rows.

use super::saved::Saved;
use super::task::QueryTask;
use crate::attention::buffers::{Aligned, KEY_BLOCK, padded};
use crate::attention::element::{Real, Storage};
use crate::attention::head::HeadContext;
use crate::attention::lane_keys::LaneKeys;
use crate::attention::micro::{dot, transpose};
use crate::attention::panel::Panel;
use crate::attention::problem::Problem;
use crate::attention::rows::Rows;
use crate::interrupt;
use crate::memory::{self, OrLeave};
use crate::plan::{Chunks, Planned, TILE, TileKeys};
use fearless_simd::{Simd, prelude::*};
use std::ops::Range;

/// Runs one task at the widths that fill a level's registers, as the forward pass does.
#[inline(always)]
pub(super) fn sweep_queries<S: Simd, T: Storage>(
    simd: S,
    task: &mut QueryTask<'_, T>,
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    saved: &Saved<'_, T>,
    chunks: &Chunks,
    heads: &[HeadContext<T::Acc>],
) {
    let queries = <<T::Acc as Real>::V<S> as SimdBase<S>>::LEN;
    match (queries, <<T::Acc as Real>::N<S> as SimdBase<S>>::LEN) {
        (TILE, 16) => Sweep::<T, 1, 8, 16, 4>::new(problem, plan, saved, chunks, task.chunk).run(simd, task, heads),
        (TILE, 8) => Sweep::<T, 1, 4, 8, 2>::new(problem, plan, saved, chunks, task.chunk).run(simd, task, heads),
        (TILE, _) => Sweep::<T, 1, 4, 4, 2>::new(problem, plan, saved, chunks, task.chunk).run(simd, task, heads),
        (_, 8) => Sweep::<T, 2, 4, 8, 4>::new(problem, plan, saved, chunks, task.chunk).run(simd, task, heads),
        (_, 4) => Sweep::<T, 2, 4, 4, 2>::new(problem, plan, saved, chunks, task.chunk).run(simd, task, heads),
        (_, _) => Sweep::<T, 2, 4, 2, 2>::new(problem, plan, saved, chunks, task.chunk).run(simd, task, heads),
    }
}

/// The rows that a tile's queries read.
pub(super) struct Inputs<'p, T: Storage> {
    queries: Panel<'p, T>,
    douts: Panel<'p, T>,
    outs: Panel<'p, T>,
}

impl<T: Storage> Inputs<'_, T> {
    fn select(&mut self, batch: usize, head: usize) {
        for panel in [&mut self.queries, &mut self.douts, &mut self.outs] {
            panel.select(batch, head);
        }
    }

    /// The next tile's rows come from memory, two queries a step, while this tile's keys are worked on.
    #[inline(always)]
    pub(super) fn touch_next(&self, plan: Planned<'_>, tile: usize, step: usize) {
        for query in plan.next_queries(tile, step) {
            for panel in [&self.queries, &self.douts, &self.outs] {
                panel.touch(query);
            }
        }
    }
}

/// Scratch of a sweep: `NQ` vectors a tile, `NK` keys at a time, native vectors of `ND` lanes, `NC` of them at a time.
pub(super) struct Sweep<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> {
    pub(super) problem: &'p Problem<'p, T>,
    pub(super) plan: Planned<'p>,
    pub(super) saved: &'p Saved<'p, T>,
    pub(super) chunks: &'p Chunks,
    pub(super) own: Range<usize>,
    /// Halo slot of each foreign place.
    pub(super) slots: Vec<u32>,
    pub(super) inputs: Inputs<'p, T>,
    pub(super) keys: Panel<'p, T>,
    pub(super) values: Panel<'p, T>,
    /// The tile's queries, scaled, and output gradients: as columns and as rows.
    pub(super) qt: Aligned<T::Acc>,
    pub(super) dot: Aligned<T::Acc>,
    pub(super) q_rows: Aligned<T::Acc>,
    pub(super) dout_rows: Aligned<T::Acc>,
    pub(super) dq: Aligned<T::Acc>,
    /// `dq` holds nothing yet.
    pub(super) fresh: bool,
    /// ds of a block of the tile's keys.
    pub(super) ds: Aligned<T::Acc>,
    /// lse, +∞ where there is none, and what rounding took from it; delta − dlse.
    pub(super) lse: [T::Acc; TILE],
    pub(super) rest: [T::Acc; TILE],
    pub(super) delta: [T::Acc; TILE],
    pub(super) block: TileKeys,
    pub(super) lanes: LaneKeys,
}

impl<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> Sweep<'p, T, NQ, NK, ND, NC> {
    fn new(
        problem: &'p Problem<'p, T>,
        plan: Planned<'p>,
        saved: &'p Saved<'p, T>,
        chunks: &'p Chunks,
        chunk: usize,
    ) -> Self {
        let (d, dv) = problem.widths();
        let (d, dv) = (padded(d), padded(dv));
        let zero = T::Acc::default();
        let halo = &chunks.halo[chunk];
        let slots = if halo.is_empty() { 0 } else { plan.n_keys() };
        let mut slots = memory::zeros::<u32>("index_set", slots).or_leave();
        for (slot, &place) in halo.iter().enumerate() {
            slots[place as usize] = slot as u32;
        }
        Self {
            problem,
            plan,
            saved,
            chunks,
            own: chunks.own[chunk].clone(),
            slots,
            inputs: Inputs {
                queries: Panel::new(problem.q),
                douts: Panel::new(saved.dout),
                outs: Panel::new(saved.out),
            },
            keys: Panel::new(problem.k),
            values: Panel::new(problem.v),
            qt: Aligned::zeros(TILE * d),
            dot: Aligned::zeros(TILE * dv),
            q_rows: Aligned::zeros(TILE * d),
            dout_rows: Aligned::zeros(TILE * dv),
            dq: Aligned::zeros(TILE * d),
            fresh: true,
            ds: Aligned::zeros(if plan.has_tiles() { TILE * KEY_BLOCK } else { 0 }),
            lse: [zero; TILE],
            rest: [zero; TILE],
            delta: [zero; TILE],
            block: TileKeys::default(),
            lanes: LaneKeys::default(),
        }
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, task: &mut QueryTask<'_, T>, heads: &[HeadContext<T::Acc>]) {
        let width = self.qt.len() / TILE;
        if task.first {
            task.own.clear();
        }
        // They are zeros, but a system that has not yet given the pages would do so twice: for the first read, then for
        // the first write.
        task.halo.clear();
        self.keys.select(heads[0].batch, heads[0].key_head);
        self.values.select(heads[0].batch, heads[0].key_head);
        for tile in task.tiles.clone() {
            interrupt::check();
            if self.plan.has_rows() {
                self.lanes.fill(&self.plan, tile, true);
            }
            // The query heads of a key head one after the other, while its rows and their gradients are in cache.
            for (g, head) in heads.iter().enumerate() {
                self.inputs.select(head.batch, head.query_head);
                simd.vectorize(
                    #[inline(always)]
                    || self.prepare(simd, head, tile),
                );
                simd.vectorize(
                    #[inline(always)]
                    || self.tile_part(simd, task, g, head, tile),
                );
                if self.fresh {
                    self.dq.fill(T::Acc::default());
                }
                if self.plan.has_rows() {
                    simd.vectorize(
                        #[inline(always)]
                        || self.row_part(simd, task, g, head, tile),
                    );
                }
                let first = (tile - task.tiles.start) * TILE;
                for lane in 0..self.plan.lanes(tile) {
                    let to = task.dq[g].row(first + lane);
                    T::narrow(&self.dq[lane * width..][..to.len()], to);
                }
            }
        }
    }

    /// Reads the tile's queries and output gradients, its lse and delta.
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, head: &HeadContext<T::Acc>, tile: usize) {
        let (plan, saved, n) = (self.plan, self.saved, self.plan.lanes(tile));
        let rows = || (0..n).map(|lane| plan.query(tile, lane));
        let queries = self.inputs.queries.gather(rows());
        transpose(simd, queries, self.problem.scale(), self.qt.lanes_mut());
        copy_tile(queries, &mut self.q_rows);
        let douts = self.inputs.douts.gather(rows());
        transpose(simd, douts, T::Acc::ONE, self.dot.lanes_mut());
        copy_tile(douts, &mut self.dout_rows);
        let outs = self.inputs.outs.gather(rows());
        let first = (head.batch * self.problem.heads().1 + head.query_head) * plan.n_queries();
        self.lse = [T::Acc::default() - T::Acc::NEG_INFINITY; TILE];
        self.delta = [T::Acc::default(); TILE];
        let width = self.dot.len() / TILE;
        for lane in 0..n {
            let at = first + plan.query(tile, lane);
            let lse = saved.lse[at];
            if lse != T::Acc::NEG_INFINITY {
                self.lse[lane] = lse;
            }
            self.rest[lane] = saved.rest[at];
            let out = &outs.data[outs.starts[lane]..][..width];
            let delta = dot::<S, T::Acc>(simd, &self.dout_rows[lane * width..][..width], out);
            self.delta[lane] = delta - saved.dlse.map_or(T::Acc::default(), |d| d[at]);
        }
    }
}

/// The rows one after the other, zeros for missing ones.
#[inline(always)]
fn copy_tile<A: Real>(rows: Rows<'_, A>, to: &mut [A]) {
    let width = to.len() / TILE;
    for (lane, to) in to.chunks_exact_mut(width).enumerate() {
        match rows.starts.get(lane) {
            Some(&start) => to.copy_from_slice(&rows.data[start..start + width]),
            None => to.fill(A::default()),
        }
    }
}
