//! What the ds of statistics adds to dQ, dK and the biases.

use super::statistics_sweep::StatisticsSweep;
use super::task::{Place, QueryTask};
use super::tile_part::{Terms, add_to_keys, place, scale_lanes};
use crate::attention::accumulate::add_terms;
use crate::attention::buffers::whole_steps;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::lane_keys::quad_ranges;
use crate::attention::micro::{add_rows, cover, load_lanes, store_lanes};
use crate::plan::TILE;
use fearless_simd::{Simd, prelude::*};

impl<T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize>
    StatisticsSweep<'_, T, NQ, NK, ND, NC>
{
    /// ds of the shared keys, and what it adds to dQ, dK and the biases.
    #[inline(always)]
    pub(super) fn add_shared<S: Simd>(&mut self, simd: S, task: &mut QueryTask<'_, T>, g: usize, tile: usize) {
        let sums = load_lanes::<S, T::Acc, NQ>(simd, &self.sums);
        let count = self.scores.shared.keys.len();
        let weights = self.scores.of_shared.lanes().iter().zip(&self.scores.shared.masks);
        for ((p, &mask), ds) in weights.zip(self.x_shared.lanes_mut()) {
            let mut p = load_lanes::<S, T::Acc, NQ>(simd, p);
            let x = load_lanes::<S, T::Acc, NQ>(simd, ds);
            for n in 0..NQ {
                p[n] *= x[n] - sums[n];
            }
            cover::<S, T::Acc, NQ>(simd, &mut p, mask, T::Acc::default());
            store_lanes::<S, T::Acc, NQ>(ds, p);
        }
        let shared = &self.scores.shared;
        let ds = &mut self.x_shared.lanes_mut()[..count];
        if task.wants_biases() {
            let mut edge = self.plan.edges.map_or(0, |map| map.tile_starts[tile]);
            for (i, ds) in ds.iter().enumerate() {
                // The last key is repeated, with an empty mask, and then adds nothing.
                let (key, mask) = (shared.keys[i] as usize, shared.masks[i]);
                task.add_bias(g, place(self.chunks, &self.own, &self.slots, key), mask, ds, &mut edge);
            }
        }
        scale_lanes::<S, T::Acc, NQ>(simd, ds, self.problem.scale());
        for (four, ds) in ds.as_chunks::<4>().0.iter().enumerate() {
            let masks = &shared.masks[4 * four..][..4];
            let union = masks[0] | masks[1] | masks[2] | masks[3];
            if union == 0 {
                continue;
            }
            let lanes = union.trailing_zeros() as usize..TILE - union.leading_zeros() as usize;
            let mut places = [Place::default(); 4];
            // Repeated keys have the last masks; only one of them may be written.
            let mut used = 0;
            for r in 0..4 {
                if masks[r] != 0 {
                    places[r] = place(self.chunks, &self.own, &self.slots, shared.keys[4 * four + r] as usize);
                    used = r + 1;
                }
            }
            let target = [&mut task.own.k, &mut task.halo.k];
            let terms = [Terms { weights: ds, lanes, rows: &self.q_rows }];
            add_to_keys::<S, T::Acc, NC>(simd, target, &places[..used], &terms);
        }
        let (width, ranges) = (self.dq.len() / TILE, quad_ranges(shared));
        for first in (0..count).step_by(whole_steps(NK)) {
            let last = (first + whole_steps(NK)).min(count);
            let keys = self.scores.keys.gather(shared.keys[first..last].iter().map(|&j| j as usize));
            for (quad, range) in ranges.iter().enumerate() {
                let range = range.start.clamp(first, last)..range.end.clamp(first, last);
                let dq = &mut self.dq[4 * quad * width..][..4 * width];
                let ds = &self.x_shared.lanes()[range.clone()];
                add_terms::<S, T::Acc, NC>(
                    simd,
                    dq,
                    false,
                    ds,
                    quad,
                    keys.range(range.start - first..range.end - first),
                );
            }
        }
    }

    /// ds of the row keys for the sweep by keys, and what it adds to dQ.
    #[inline(always)]
    pub(super) fn add_row_keys<S: Simd>(&mut self, simd: S, task: &mut QueryTask<'_, T>, g: usize) {
        let (width, scale) = (self.dq.len() / TILE, self.problem.scale());
        let mut starts = [0; ND];
        for lane in 0..self.scores.lanes.count() {
            let sum = <T::Acc as Accumulator>::N::<S>::splat(simd, self.sums[lane]);
            let mut at = 0;
            while let Some(list) = self.scores.lanes.part::<ND>(lane, at) {
                let place = lane * self.scores.stride + at;
                let p = <T::Acc as Accumulator>::N::<S>::from_slice(simd, &self.scores.of_rows[place..][..ND]);
                let x = <T::Acc as Accumulator>::N::<S>::from_slice(simd, &self.x_rows[place..][..ND]);
                let (ds, mut lanes) = (p * (x - sum), [T::Acc::default(); ND]);
                ds.store_slice(&mut lanes);
                for (&edge, &ds) in self.scores.lanes.edges(lane, at, list.len()).iter().zip(&lanes) {
                    task.p_ds[g][edge - task.first_row_edge] = [T::Acc::default(), ds];
                }
                (ds * scale).store_slice(&mut lanes);
                let keys = self.scores.keys.fetch(list, &mut starts);
                let dq = &mut self.dq[lane * width..][..width];
                add_rows::<S, T::Acc, NC>(simd, dq, &lanes[..list.len()], keys, &starts[..list.len()]);
                at += ND;
            }
        }
    }
}
