//! First backward sweep, by chunks of queries: the tiles, and of the rows dQ and (p, ds).

use super::pass::{Pass, QueryPart};
use super::saved::Saved;
use super::task::QueryTask;
use crate::attention::buffers::{Aligned, KEY_BLOCK, padded};
use crate::attention::distances::TilePlaces;
use crate::attention::edge_lanes::EdgeLanes;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::gathered_rows::GatheredRows;
use crate::attention::head::HeadContext;
use crate::attention::lane_keys::LaneKeys;
use crate::attention::micro::{dot, transpose};
use crate::attention::panel::Panel;
use crate::attention::problem::{Problem, View};
use crate::attention::widths::{AtWidths, at_widths};
use crate::interrupt;
use crate::plan::{Chunks, Planned, TILE, TileKeys};
use crate::simd::{Level, dispatch};
use fearless_simd::Simd;
use std::ops::Range;

/// What one task of the first sweep is given.
struct QuerySweepArgs<'a, 'o, T: Storage> {
    part: QueryPart<'a, 'o, T>,
    saved: &'a Saved<'a, T>,
}

impl<'p, T: Storage> Pass<'p, T> for Saved<'p, T> {
    fn douts(&self) -> Option<View<'p, T>> {
        Some(self.dout)
    }

    fn sweep_queries(&self, part: QueryPart<'_, '_, T>, level: Level) {
        let args = QuerySweepArgs { part, saved: self };
        dispatch!(level, simd => at_widths::<_, T::Acc>(simd, args));
    }
}

impl<S: Simd, T: Storage> AtWidths<S> for QuerySweepArgs<'_, '_, T> {
    #[inline(always)]
    fn run<const NQ: usize, const FK: usize, const BK: usize, const ND: usize, const NC: usize, const DC: usize>(
        self,
        simd: S,
    ) {
        let QueryPart { task, problem, plan, chunks, heads } = self.part;
        let mut sweep = Sweep::<T, NQ, BK, ND, NC>::new(problem, plan, self.saved, chunks, task.chunk);
        sweep.run(simd, task, heads);
    }
}

/// The rows that a tile's queries read.
pub(super) struct QueryPanels<'p, T: Storage> {
    queries: Panel<'p, T>,
    douts: Panel<'p, T>,
    outs: Panel<'p, T>,
}

impl<T: Storage> QueryPanels<'_, T> {
    fn select(&mut self, batch: usize, head: usize) {
        for panel in [&mut self.queries, &mut self.douts, &mut self.outs] {
            panel.select(batch, head);
        }
    }

    /// Prefetches the next tile's rows, two queries a step, while this tile's keys are processed.
    #[inline(always)]
    pub(super) fn touch_next(&self, plan: Planned<'_>, tile: usize, step: usize) {
        for query in plan.next_queries(tile, step) {
            for panel in [&self.queries, &self.douts, &self.outs] {
                panel.touch(query);
            }
        }
    }
}

/// Scratch of a sweep: `NQ` vectors for a tile, `NK` keys at a time, native vectors of `ND` lanes, `NC` of them at a time.
pub(super) struct Sweep<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> {
    pub(super) problem: &'p Problem<'p, T>,
    pub(super) plan: Planned<'p>,
    pub(super) saved: &'p Saved<'p, T>,
    pub(super) chunks: &'p Chunks,
    pub(super) own: Range<usize>,
    /// Slot in the halo of each foreign place.
    pub(super) slots: Vec<u32>,
    pub(super) panels: QueryPanels<'p, T>,
    pub(super) keys: Panel<'p, T>,
    pub(super) values: Panel<'p, T>,
    /// The tile's queries, scaled, and output gradients: as columns and as rows.
    pub(super) qt: Aligned<T::Acc>,
    pub(super) dot: Aligned<T::Acc>,
    pub(super) q_rows: Aligned<T::Acc>,
    pub(super) dout_rows: Aligned<T::Acc>,
    pub(super) dq: Aligned<T::Acc>,
    /// Whether `dq` is still undefined.
    pub(super) fresh: bool,
    /// ds of a block of the tile's keys.
    pub(super) ds: Aligned<T::Acc>,
    /// lse, +∞ where a lane has none, and its rounding error; delta − dlse.
    pub(super) lse: [T::Acc; TILE],
    pub(super) rest: [T::Acc; TILE],
    pub(super) delta: [T::Acc; TILE],
    pub(super) block: TileKeys,
    pub(super) lanes: LaneKeys,
    pub(super) places: TilePlaces<'p>,
    pub(super) edges: EdgeLanes<'p, T::Acc>,
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
        Self {
            problem,
            plan,
            saved,
            chunks,
            own: chunks.own[chunk].clone(),
            slots: chunks.slots(chunk, plan.n_keys()),
            panels: QueryPanels {
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
            places: TilePlaces::new(problem),
            edges: EdgeLanes::new(problem, plan),
        }
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, task: &mut QueryTask<'_, T>, heads: &[HeadContext<T::Acc>]) {
        let width = self.qt.len() / TILE;
        if task.first {
            task.own.clear();
        }
        // They are zero already, but a fresh page whose first access is a read faults again at the first write.
        task.halo.clear();
        self.keys.select(heads[0].batch, heads[0].key_head);
        self.values.select(heads[0].batch, heads[0].key_head);
        for tile in task.tiles.clone() {
            interrupt::check();
            self.places.select(&self.plan, tile);
            self.edges.select(self.plan, tile);
            if self.plan.has_rows() {
                self.lanes.fill(&self.plan, tile, true);
            }
            // One query head of the group after the other, while the key head's rows and gradients are in cache.
            for (g, head) in heads.iter().enumerate() {
                self.panels.select(head.batch, head.query_head);
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
        let queries = self.panels.queries.gather(rows());
        transpose(simd, queries, self.problem.scale(), self.qt.lanes_mut());
        copy_tile(queries, &mut self.q_rows);
        let douts = self.panels.douts.gather(rows());
        transpose(simd, douts, T::Acc::ONE, self.dot.lanes_mut());
        copy_tile(douts, &mut self.dout_rows);
        let outs = self.panels.outs.gather(rows());
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
pub(super) fn copy_tile<A: Accumulator>(rows: GatheredRows<'_, A>, to: &mut [A]) {
    let width = to.len() / TILE;
    for (lane, to) in to.chunks_exact_mut(width).enumerate() {
        match rows.starts.get(lane) {
            Some(&start) => to.copy_from_slice(&rows.data[start..start + width]),
            None => to.fill(A::default()),
        }
    }
}
