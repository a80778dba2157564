//! The tile's shared keys: two small matrix products with a softmax between.

use super::task::{Head, Progress, Task};
use crate::attention::accumulate::add_terms;
use crate::attention::bias::{biased, capped};
use crate::attention::buffers::whole_steps;
use crate::attention::distances::TilePlaces;
use crate::attention::edge_lanes::EdgeLanes;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::gathered_rows::GatheredRows;
use crate::attention::lane_keys::quad_ranges;
use crate::attention::micro::{hide, load_lanes, scores, store_lanes, transpose};
use crate::attention::problem::Problem;
use crate::plan::{Planned, TILE, TileKeys};
use fearless_simd::{Simd, prelude::*};
use std::ops::Range;

impl<T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> Task<'_, T, NQ, NK, ND, NC> {
    /// The next block of a tile's keys, for some of the heads; `false` if there is none.
    #[inline(always)]
    pub(super) fn tile_part<S: Simd>(
        &mut self,
        simd: S,
        tile: usize,
        heads: Range<usize>,
        progress: &mut Progress,
    ) -> bool {
        if !self.plan.tile_block(tile, &mut progress.cursor, whole_steps(NK), &mut self.block) {
            return false;
        }
        self.block.pad(NK);
        self.places.select(&self.plan, tile);
        self.edges.select(self.plan, tile);
        let ranges = quad_ranges(&self.block);
        let keys = self.keys.gather(self.block.keys.iter().map(|&j| j as usize));
        let values = self.values.gather(self.block.keys.iter().map(|&j| j as usize));
        let mut edge = progress.edge;
        for head in &mut self.heads[heads] {
            if !progress.prepared {
                head.prepare(simd, self.problem, self.plan, tile);
            }
            edge = progress.edge;
            if let Some(first) = head.context.edges_in_place {
                self.edges.fill(simd, first, &self.block);
            }
            let scores = &mut self.scores.lanes_mut()[..self.block.keys.len()];
            let of_block = (&self.block, &self.places, &self.edges);
            let top = head.score_block::<S, NQ, NK>(simd, self.plan, tile, of_block, keys, scores, &mut edge);
            head.weigh_block::<S, NQ>(simd, top, scores);
            if let Some(draw) = &head.context.draw {
                for (p, &key) in scores.iter_mut().zip(&self.block.keys) {
                    for (lane, p) in p.iter_mut().enumerate().take(self.plan.lanes(tile)) {
                        *p *= draw.factor(self.plan.query(tile, lane), key as usize);
                    }
                }
            }
            let softmax = &mut head.softmax;
            let fresh = softmax.fresh();
            softmax.begun();
            for (quad, range) in ranges.iter().cloned().enumerate() {
                let out = &mut softmax.out[4 * quad * softmax.width..][..4 * softmax.width];
                let weights = &scores[range.clone()];
                add_terms::<S, T::Acc, NC>(simd, out, fresh, weights, quad, values.range(range));
            }
        }
        (progress.edge, progress.prepared) = (edge, true);
        true
    }
}

impl<T: Storage> Head<'_, T> {
    /// Transposes the tile's queries.
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, problem: &Problem<'_, T>, plan: Planned<'_>, tile: usize) {
        let rows = self.queries.gather((0..plan.lanes(tile)).map(|lane| plan.query(tile, lane)));
        transpose(simd, rows, problem.scale(), self.qt.lanes_mut());
    }

    /// Scores of the block's keys, biased and masked; returns their maximum by lane.
    #[inline(always)]
    fn score_block<S: Simd, const NQ: usize, const NK: usize>(
        &mut self,
        simd: S,
        plan: Planned<'_>,
        tile: usize,
        (block, places, edges): (&TileKeys, &TilePlaces<'_>, &EdgeLanes<'_, T::Acc>),
        keys: GatheredRows<'_, T::Acc>,
        out: &mut [[T::Acc; TILE]],
        edge: &mut usize,
    ) -> [<T::Acc as Accumulator>::V<S>; NQ] {
        let mut top = [<T::Acc as Accumulator>::V::<S>::splat(simd, T::Acc::NEG_INFINITY); NQ];
        let (capped_, biased_) = (self.context.soft_cap.is_some(), self.context.biased());
        let (out, _) = out.as_chunks_mut::<NK>();
        let (masks, _) = block.masks.as_chunks::<NK>();
        let in_place = self.context.edges_in_place.map(|_| edges.lanes());
        for (step, (out, masks)) in out.iter_mut().zip(masks).enumerate() {
            let mut s = scores::<S, T::Acc, NK, NQ>(simd, keys, step * NK, self.qt.lanes());
            for i in 0..NK {
                if capped_ {
                    capped::<S, T::Acc, NQ>(simd, self.context, &mut s[i]);
                }
                if biased_ {
                    biased::<S, T, NQ>(
                        simd,
                        self.context,
                        places,
                        block,
                        step * NK + i,
                        edge,
                        in_place.map(|lanes| &lanes[step * NK + i]),
                        &mut s[i],
                    );
                }
                hide::<S, T::Acc, NQ>(simd, &mut s[i], masks[i]);
                for n in 0..NQ {
                    top[n] = top[n].max(s[i][n]);
                }
                store_lanes::<S, T::Acc, NQ>(&mut out[i], s[i]);
            }
            // Prefetches the next tile's queries while this tile's scores are computed.
            for query in plan.next_queries(tile, step) {
                self.queries.touch(query);
            }
        }
        top
    }

    /// Turns the block's scores into weights and adds them to the sums.
    #[inline(always)]
    fn weigh_block<S: Simd, const NQ: usize>(
        &mut self,
        simd: S,
        top: [<T::Acc as Accumulator>::V<S>; NQ],
        scores: &mut [[T::Acc; TILE]],
    ) {
        let base = self.softmax.raise(simd, top);
        let mut sums = load_lanes::<S, T::Acc, NQ>(simd, &self.softmax.sum);
        for p in scores {
            let mut s = load_lanes::<S, T::Acc, NQ>(simd, p);
            for n in 0..NQ {
                s[n] = T::Acc::exp(simd, s[n] - base[n]);
                sums[n] += s[n];
            }
            store_lanes::<S, T::Acc, NQ>(p, s);
        }
        store_lanes::<S, T::Acc, NQ>(&mut self.softmax.sum, sums);
    }
}
