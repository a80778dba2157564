//! One task of the forward pass: some tiles, for the query heads that share a key head.

use super::softmax::Softmax;
use crate::attention::buffers::{Aligned, KEY_BLOCK, ROW_BLOCK, padded};
use crate::attention::deal::TaskRows;
use crate::attention::distances::TilePlaces;
use crate::attention::edge_lanes::EdgeLanes;
use crate::attention::element::Storage;
use crate::attention::head::HeadContext;
use crate::attention::lane_keys::LaneKeys;
use crate::attention::panel::Panel;
use crate::attention::problem::Problem;
use crate::attention::widths::AtWidths;
use crate::interrupt;
use crate::plan::{Cursor, Planned, TILE, TileKeys};
use fearless_simd::Simd;
use std::ops::Range;

/// Most query heads of one task; they share the rows of a key head.
pub(super) const HEADS: usize = 4;

/// Tiles, each of one head, that read a block of keys together where they share most of them.
const TOGETHER: usize = 8;

/// How far a tile is.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) cursor: Cursor,
    /// The number of the first edge of the next block, where edges have a bias.
    pub(super) edge: usize,
    /// Whether the tile's queries were read.
    pub(super) prepared: bool,
}

/// The rows that a task writes for one head.
pub(super) struct Outputs<'a, T: Storage> {
    pub(super) out: TaskRows<'a, T>,
    pub(super) lse: TaskRows<'a, T::Acc>,
    pub(super) rest: Option<TaskRows<'a, T::Acc>>,
}

/// What one task is given.
pub(super) struct TaskArgs<'a, 'o, T: Storage> {
    pub(super) problem: &'a Problem<'a, T>,
    pub(super) plan: Planned<'a>,
    pub(super) heads: &'a [HeadContext<T::Acc>],
    pub(super) tiles: Range<usize>,
    pub(super) outputs: &'a mut [Outputs<'o, T>],
}

impl<S: Simd, T: Storage> AtWidths<S> for TaskArgs<'_, '_, T> {
    #[inline(always)]
    fn run<const NQ: usize, const FK: usize, const BK: usize, const ND: usize, const NC: usize, const DC: usize>(
        self,
        simd: S,
    ) {
        let mut task = Task::<T, NQ, FK, ND, NC>::new(self.problem, self.plan, self.heads);
        task.run(simd, self.tiles, self.outputs);
    }
}

/// One task: `NQ` vectors for a tile, `NK` keys at a time, native vectors of `ND` lanes, `NC` of them at a time.
pub(super) struct Task<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> {
    pub(super) problem: &'p Problem<'p, T>,
    pub(super) plan: Planned<'p>,
    /// The heads of the first of some tiles, then of the next.
    pub(super) heads: Vec<Head<'p, T>>,
    pub(super) keys: Panel<'p, T>,
    pub(super) values: Panel<'p, T>,
    /// Scores, then weights, of a block of the tile's keys and one head.
    pub(super) scores: Aligned<T::Acc>,
    pub(super) block: TileKeys,
    pub(super) lanes: LaneKeys,
    pub(super) places: TilePlaces<'p>,
    pub(super) edges: EdgeLanes<'p, T::Acc>,
}

/// One of the query heads of a task, for one tile.
pub(super) struct Head<'p, T: Storage> {
    pub(super) context: &'p HeadContext<T::Acc>,
    pub(super) queries: Panel<'p, T>,
    /// The tile's queries as columns, scaled.
    pub(super) qt: Aligned<T::Acc>,
    /// Scores, then weights, of row keys, lane by lane.
    pub(super) row_scores: Aligned<T::Acc>,
    pub(super) softmax: Softmax<T::Acc>,
}

impl<'p, T: Storage> Head<'p, T> {
    fn new(problem: &'p Problem<'p, T>, plan: Planned<'_>, context: &'p HeadContext<T::Acc>) -> Self {
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
    fn new(problem: &'p Problem<'p, T>, plan: Planned<'p>, heads: &'p [HeadContext<T::Acc>]) -> Self {
        let (mut keys, mut values) = (Panel::new(problem.k), Panel::new(problem.v));
        keys.select(heads[0].batch, heads[0].key_head);
        values.select(heads[0].batch, heads[0].key_head);
        let together = if plan.has_long_runs() { TOGETHER.div_ceil(heads.len()) } else { 1 };
        let each_tile = (0..together).flat_map(|_| heads);
        Self {
            problem,
            plan,
            heads: each_tile.map(|context| Head::new(problem, plan, context)).collect(),
            keys,
            values,
            scores: Aligned::zeros(if plan.has_tiles() { TILE * KEY_BLOCK } else { 0 }),
            block: TileKeys::default(),
            lanes: LaneKeys::default(),
            places: TilePlaces::new(problem),
            edges: EdgeLanes::new(problem, plan),
        }
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, tiles: Range<usize>, outputs: &mut [Outputs<'_, T>]) {
        let (start, together) = (tiles.start, self.heads.len() / outputs.len());
        for first in tiles.clone().step_by(together) {
            interrupt::check();
            let tiles = first..(first + together).min(tiles.end);
            for head in &mut self.heads {
                head.softmax.clear();
            }
            let mut progress = [Progress::default(); TOGETHER];
            for (tile, progress) in tiles.clone().zip(&mut progress) {
                progress.edge = self.plan.edges.map_or(0, |map| map.tile_starts[tile]);
            }
            // A block of the keys of each tile in turn: neighbours that share their keys find them in the cache.
            let mut more = true;
            while more {
                more = false;
                for (i, (tile, progress)) in tiles.clone().zip(&mut progress).enumerate() {
                    let heads = i * outputs.len()..(i + 1) * outputs.len();
                    more |= simd.vectorize(
                        #[inline(always)]
                        || self.tile_part(simd, tile, heads, progress),
                    );
                }
            }
            if self.plan.has_rows() {
                self.places.select(&self.plan, first);
                self.edges.select(self.plan, first);
                self.lanes.fill(&self.plan, first, self.plan.edges.is_some());
                simd.vectorize(
                    #[inline(always)]
                    || self.row_part(simd, first),
                );
            }
            for (i, tile) in tiles.enumerate() {
                simd.vectorize(
                    #[inline(always)]
                    || self.finish(simd, tile, i, (tile - start) * TILE, outputs),
                );
            }
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, tile: usize, i: usize, first: usize, outputs: &mut [Outputs<'_, T>]) {
        let lanes = self.plan.lanes(tile);
        for (head, outputs) in self.heads[i * outputs.len()..].iter_mut().zip(outputs) {
            if let Some(sink) = head.context.sink {
                head.softmax.add_sink(simd, sink);
            }
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
