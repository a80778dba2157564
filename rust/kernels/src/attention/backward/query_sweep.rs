//! First backward sweep, by chunks of queries: the tiles, and of the rows dQ and (p, ds).

use super::pass::{Pass, QueryPart};
use super::saved::Saved;
use super::swept_tile::{Four, SweptTile, TOGETHER};
use super::task::QueryTask;
use crate::attention::buffers::{KEY_BLOCK, padded, whole_steps};
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
use crate::plan::{Chunks, Cursor, Planned, TILE};
use crate::simd::{Level, dispatch};
use fearless_simd::Simd;
use std::ops::Range;

/// Keys that [`TOGETHER`] tiles read together: these and what belongs to them stay in L1 for a tile, in L2 for all.
const SHARED_KEYS: usize = 64;

/// What one task of the first sweep is given.
struct QuerySweepArgs<'a, 'o, T: Storage> {
    part: QueryPart<'a, 'o, T>,
    saved: &'a Saved<'a, T>,
}

impl<'p, T: Storage> Pass<'p, T> for Saved<'p, T> {
    const ROUNDS: bool = true;

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
        let mut sweep = Sweep::<T, NQ, BK, ND, NC>::new(problem, plan, self.saved, chunks, task);
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
    pub(super) tiles: Vec<SweptTile<T::Acc>>,
    /// Scratch: the keys of a block, by fours.
    pub(super) fours: Vec<Four>,
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
        task: &QueryTask<'_, T>,
    ) -> Self {
        let (d, dv) = problem.widths();
        let (tiles, keys) = match (chunks.rounds, plan.has_tiles()) {
            // The rows of all of them, 64 columns at a time, are half of L1, and wide ones lie in half of its sets.
            (true, _) => (if d.max(dv) > 64 { TOGETHER / 2 } else { TOGETHER }, SHARED_KEYS.next_multiple_of(NK)),
            (false, true) => (1, KEY_BLOCK),
            (false, false) => (1, 0),
        };
        Self {
            problem,
            plan,
            saved,
            chunks,
            own: chunks.own[task.owned].clone(),
            slots: chunks.slots(task.chunk, plan.n_keys()),
            panels: QueryPanels {
                queries: Panel::new(problem.q),
                douts: Panel::new(saved.dout),
                outs: Panel::new(saved.out),
            },
            keys: Panel::new(problem.k),
            values: Panel::new(problem.v),
            tiles: (0..tiles).map(|_| SweptTile::new(padded(d), padded(dv), keys)).collect(),
            fours: Vec::new(),
            lanes: LaneKeys::default(),
            places: TilePlaces::new(problem),
            edges: EdgeLanes::new(problem, plan),
        }
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, task: &mut QueryTask<'_, T>, heads: &[HeadContext<T::Acc>]) {
        if task.first {
            task.own.clear();
        }
        // They are zero already, but a fresh page whose first access is a read faults again at the first write.
        task.halo.clear();
        self.keys.select(heads[0].batch, heads[0].key_head);
        self.values.select(heads[0].batch, heads[0].key_head);
        let rounds = self.chunks.rounds;
        let (all, step, most) = if rounds {
            (self.own.clone(), SHARED_KEYS, SHARED_KEYS)
        } else {
            (0..self.plan.n_keys(), self.plan.n_keys().max(1), whole_steps(NK))
        };
        for first in task.tiles.clone().step_by(self.tiles.len()) {
            interrupt::check();
            let tiles = first..(first + self.tiles.len()).min(task.tiles.end);
            if self.plan.has_rows() {
                self.lanes.fill(&self.plan, first, true);
            }
            // One query head of the group after the other, while the key head's rows and gradients are in cache.
            for (g, head) in heads.iter().enumerate() {
                self.panels.select(head.batch, head.query_head);
                for (i, tile) in tiles.clone().enumerate() {
                    let swept = &mut self.tiles[i];
                    swept.fresh = true;
                    swept.edge = self.plan.edges.map_or(0, |map| map.tile_starts[tile]);
                    let mut reads = || {
                        let mut cursor = Cursor::default();
                        self.plan.tile_block_within(tile, all.clone(), &mut cursor, 1, &mut swept.block)
                    };
                    if !rounds || reads() {
                        simd.vectorize(
                            #[inline(always)]
                            || self.prepare(simd, head, tile, i),
                        );
                    }
                }
                for key in all.clone().step_by(step) {
                    let keys = key..(key + step).min(all.end);
                    let mut cursors = [Cursor::default(); TOGETHER];
                    let mut block =
                        || self.block(simd, task, (g, head), tiles.clone(), (keys.clone(), most), &mut cursors);
                    while block() && !rounds {}
                }
                if self.plan.has_rows() {
                    if self.tiles[0].fresh {
                        self.tiles[0].dq.fill(T::Acc::default());
                        self.tiles[0].fresh = false;
                    }
                    self.places.select(&self.plan, first);
                    self.edges.select(self.plan, first);
                    simd.vectorize(
                        #[inline(always)]
                        || self.row_part(simd, task, g, head, first),
                    );
                }
                self.write(task, g, tiles.clone());
            }
        }
    }

    /// The next block of the keys of some tiles, of those in a range and up to `most`; `false` if no tile has more.
    #[inline(always)]
    fn block<S: Simd>(
        &mut self,
        simd: S,
        task: &mut QueryTask<'_, T>,
        (g, head): (usize, &HeadContext<T::Acc>),
        tiles: Range<usize>,
        (keys, most): (Range<usize>, usize),
        cursors: &mut [Cursor],
    ) -> bool {
        let mut any = false;
        for ((i, tile), cursor) in tiles.clone().enumerate().zip(cursors) {
            let swept = &mut self.tiles[i];
            if !self.plan.tile_block_within(tile, keys.clone(), cursor, most, &mut swept.block) {
                continue;
            }
            any = true;
            self.places.select(&self.plan, tile);
            self.edges.select(self.plan, tile);
            simd.vectorize(
                #[inline(always)]
                || self.tile_part(simd, task, g, head, (tile, i)),
            );
        }
        if any {
            simd.vectorize(
                #[inline(always)]
                || self.key_part(simd, task, tiles.len()),
            );
        }
        any
    }

    /// Writes the dq of some tiles, or adds it to that of earlier rounds.
    #[inline(always)]
    fn write(&mut self, task: &mut QueryTask<'_, T>, g: usize, tiles: Range<usize>) {
        for (tile, swept) in tiles.zip(&mut self.tiles) {
            let (width, first) = (swept.dq.len() / TILE, (tile - task.tiles.start) * TILE);
            if swept.fresh {
                if task.continued {
                    continue;
                }
                swept.dq.fill(T::Acc::default());
            }
            for lane in 0..self.plan.lanes(tile) {
                let to = task.dq[g].row(first + lane);
                let row = &swept.dq[lane * width..][..to.len()];
                match T::as_acc_mut(to).filter(|_| task.continued) {
                    Some(to) => to.iter_mut().zip(row).for_each(|(x, &y)| *x += y),
                    None => T::narrow(row, task.dq[g].row(first + lane)),
                }
            }
        }
    }

    /// Reads a tile's queries and output gradients, its lse and delta.
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, head: &HeadContext<T::Acc>, tile: usize, i: usize) {
        let (plan, saved, n) = (self.plan, self.saved, self.plan.lanes(tile));
        let swept = &mut self.tiles[i];
        let rows = || (0..n).map(|lane| plan.query(tile, lane));
        let queries = self.panels.queries.gather(rows());
        transpose(simd, queries, self.problem.scale(), swept.qt.lanes_mut());
        copy_tile(queries, &mut swept.q_rows);
        let douts = self.panels.douts.gather(rows());
        transpose(simd, douts, T::Acc::ONE, swept.dot.lanes_mut());
        copy_tile(douts, &mut swept.dout_rows);
        let outs = self.panels.outs.gather(rows());
        let first = (head.batch * self.problem.heads().1 + head.query_head) * plan.n_queries();
        swept.lse = [T::Acc::default() - T::Acc::NEG_INFINITY; TILE];
        swept.delta = [T::Acc::default(); TILE];
        let width = swept.dot.len() / TILE;
        for lane in 0..n {
            let at = first + plan.query(tile, lane);
            let lse = saved.lse[at];
            if lse != T::Acc::NEG_INFINITY {
                swept.lse[lane] = lse;
            }
            swept.rest[lane] = saved.rest[at];
            let out = &outs.data[outs.starts[lane]..][..width];
            let delta = dot::<S, T::Acc>(simd, &swept.dout_rows[lane * width..][..width], out);
            swept.delta[lane] = delta - saved.dlse.map_or(T::Acc::default(), |d| d[at]);
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
