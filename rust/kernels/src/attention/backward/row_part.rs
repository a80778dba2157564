//! The keys that few of a tile's queries use, by query: dQ, and a (p, ds) pair of each for the sweep by keys.

use super::query_sweep::Sweep;
use super::task::QueryTask;
use crate::attention::element::{Real, Storage};
use crate::attention::head::HeadContext;
use crate::attention::micro::{add_rows, dots};
use crate::attention::scratch::{hide_rest, row_biased};
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
        let (d, dv) = (self.qt.len() / TILE, self.dot.len() / TILE);
        let scale = T::Acc::from_f64(self.problem.scale);
        let scale2 = <T::Acc as Real>::N::<S>::splat(simd, self.problem.scale2());
        let (mut k, mut v) = ([0; ND], [0; ND]);
        for at in (0..self.lanes.longest()).step_by(ND) {
            for lane in 0..self.lanes.count() {
                let Some(list) = self.lanes.part::<ND>(lane, at) else { continue };
                let (keys, values) = (self.keys.fetch(list, &mut k), self.values.fetch(list, &mut v));
                let pairs = self.lanes.pairs(lane, at, list.len());
                let mut s = [T::Acc::default(); ND];
                (dots::<S, T::Acc, ND>(simd, &self.q_rows[lane * d..][..d], keys, &k) * scale2).store_slice(&mut s);
                row_biased::<T>(head, list, pairs, &mut s);
                hide_rest(list.len(), &mut s);
                let lse = <T::Acc as Real>::N::<S>::splat(simd, self.lse[lane]);
                let weight = T::Acc::exp2_native(simd, <T::Acc as Real>::N::<S>::from_slice(simd, &s) - lse);
                let mut dp = dots::<S, T::Acc, ND>(simd, &self.dout_rows[lane * dv..][..dv], values, &v);
                let mut p = weight;
                if let Some(draw) = &head.draw {
                    let query = self.plan.query(tile, lane);
                    let mut factor = [T::Acc::ONE; ND];
                    for (x, &key) in factor.iter_mut().zip(list) {
                        *x = draw.factor(query, key as usize);
                    }
                    let factor = <T::Acc as Real>::N::<S>::from_slice(simd, &factor);
                    p *= factor;
                    dp *= factor;
                }
                let ds = weight * (dp - <T::Acc as Real>::N::<S>::splat(simd, self.delta[lane]));
                let (mut p_lanes, mut ds_lanes) = ([T::Acc::default(); ND], [T::Acc::default(); ND]);
                p.store_slice(&mut p_lanes);
                ds.store_slice(&mut ds_lanes);
                let out = &mut *task.row_pairs[g];
                for (&pair, (&p, &ds)) in pairs.iter().zip(p_lanes.iter().zip(&ds_lanes)) {
                    out[pair - task.first_pair] = [p, ds];
                }
                (ds * scale).store_slice(&mut ds_lanes);
                let dq = &mut self.dq[lane * d..][..d];
                add_rows::<S, T::Acc, NC>(simd, dq, &ds_lanes[..list.len()], keys, &k[..list.len()]);
            }
        }
    }
}
