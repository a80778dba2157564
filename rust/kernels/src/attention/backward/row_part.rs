//! The keys that few of a tile's queries use, by query: dQ, and (p, ds) of each edge for the sweep by keys.

use super::query_sweep::Sweep;
use super::task::QueryTask;
use crate::attention::bias::{hide_rest, row_biased};
use crate::attention::element::{Accumulator, Storage};
use crate::attention::head::HeadContext;
use crate::attention::micro::{add_rows, dots};
use crate::plan::TILE;
use fearless_simd::{Simd, prelude::*};

impl<T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> Sweep<'_, T, NQ, NK, ND, NC> {
    #[inline(always)]
    pub(super) fn row_part<S: Simd>(
        &mut self,
        simd: S,
        task: &mut QueryTask<'_, T>,
        g: usize,
        head: &HeadContext<T::Acc>,
        tile: usize,
    ) {
        let (d, dv) = (self.tiles[0].qt.len() / TILE, self.tiles[0].dot.len() / TILE);
        let scale = self.problem.scale();
        let factor = <T::Acc as Accumulator>::N::<S>::splat(simd, scale);
        let (mut k, mut v) = ([0; ND], [0; ND]);
        for at in (0..self.lanes.longest()).step_by(ND) {
            for lane in 0..self.lanes.count() {
                let Some(list) = self.lanes.part::<ND>(lane, at) else { continue };
                let (keys, values) = (self.keys.fetch(list, &mut k), self.values.fetch(list, &mut v));
                let edges = self.lanes.edges(lane, at, list.len());
                let mut s = dots::<S, T::Acc, ND>(simd, &self.tiles[0].q_rows[lane * d..][..d], keys, &k) * factor;
                let mut slope = <T::Acc as Accumulator>::N::<S>::splat(simd, T::Acc::ONE);
                if let Some(cap) = &head.soft_cap {
                    s = cap.apply_native(simd, s);
                    slope = cap.slope_native(simd, s);
                }
                if head.biased() || list.len() < ND {
                    let mut lanes = [T::Acc::default(); ND];
                    s.store_slice(&mut lanes);
                    row_biased::<T>(head, (&self.places, Some(&self.edges)), lane, list, edges, &mut lanes);
                    hide_rest(list.len(), &mut lanes);
                    s = <T::Acc as Accumulator>::N::<S>::from_slice(simd, &lanes);
                }
                let lse = <T::Acc as Accumulator>::N::<S>::splat(simd, self.tiles[0].lse[lane]);
                let rest = <T::Acc as Accumulator>::N::<S>::splat(simd, self.tiles[0].rest[lane]);
                let weight = T::Acc::exp_native(simd, (s - lse) - rest);
                let mut dp = dots::<S, T::Acc, ND>(simd, &self.tiles[0].dout_rows[lane * dv..][..dv], values, &v);
                let mut p = weight;
                if let Some(draw) = &head.draw {
                    let query = self.plan.query(tile, lane);
                    let mut factor = [T::Acc::ONE; ND];
                    for (x, &key) in factor.iter_mut().zip(list) {
                        *x = draw.factor(query, key as usize);
                    }
                    let factor = <T::Acc as Accumulator>::N::<S>::from_slice(simd, &factor);
                    p *= factor;
                    dp *= factor;
                }
                let ds = weight * (dp - <T::Acc as Accumulator>::N::<S>::splat(simd, self.tiles[0].delta[lane]));
                let out = &mut *task.p_ds[g];
                let mut both = [[T::Acc::default(); 2]; ND];
                let (low, high) = both.as_flattened_mut().split_at_mut(ND);
                p.zip_low(ds).store_slice(low);
                p.zip_high(ds).store_slice(high);
                if self.lanes.consecutive() {
                    out[edges[0] - task.first_row_edge..][..list.len()].copy_from_slice(&both[..list.len()]);
                } else {
                    for (&edge, &both) in edges.iter().zip(&both) {
                        out[edge - task.first_row_edge] = both;
                    }
                }
                let mut ds_lanes = [T::Acc::default(); ND];
                if let (Some(table), Some(to)) = (&head.distances, task.distances.get_mut(g)) {
                    ds.store_slice(&mut ds_lanes);
                    for (&key, &ds) in list.iter().zip(&ds_lanes) {
                        to[table.start(self.places.distance(lane, key))] += ds;
                    }
                }
                if let (Some(_), Some(to)) = (head.edges_in_place, task.row_edges.get_mut(g)) {
                    ds.store_slice(&mut ds_lanes);
                    for (&key, &ds) in list.iter().zip(&ds_lanes) {
                        to[self.edges.number(lane, key) - task.first_edge] = ds;
                    }
                }
                if let Some(slopes) = task.slopes.get_mut(g) {
                    let mut lanes = [T::Acc::default(); ND];
                    slope.store_slice(&mut lanes);
                    for (&edge, &slope) in edges.iter().zip(&lanes) {
                        slopes[edge - task.first_row_edge] = slope;
                    }
                }
                (ds * slope * scale).store_slice(&mut ds_lanes);
                let dq = &mut self.tiles[0].dq[lane * d..][..d];
                add_rows::<S, T::Acc, NC>(simd, dq, &ds_lanes[..list.len()], keys, &k[..list.len()]);
            }
        }
    }
}
