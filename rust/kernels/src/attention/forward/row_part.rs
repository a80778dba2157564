//! The keys that few of a tile's queries use: gathered dot products and sums, 16 keys of each lane at a time.

use super::Task;
use crate::attention::element::{Real, Storage};
use crate::attention::micro::{add_rows, dots};
use crate::attention::scratch::{ROW_BLOCK, hide_rest, row_biased};
use crate::plan::TILE;
use fearless_simd::{Simd, prelude::*};

impl<T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> Task<'_, T, NQ, NK, ND, NC> {
    #[inline(always)]
    pub(super) fn row_part<S: Simd>(&mut self, simd: S, tile: usize) {
        for from in (0..self.lanes.longest()).step_by(ROW_BLOCK) {
            let top = self.score_rows(simd, tile, from);
            let mut tops = [<T::Acc as Real>::V::<S>::splat(simd, T::Acc::default()); NQ];
            for n in 0..NQ {
                tops[n] = <T::Acc as Real>::V::<S>::from_slice(simd, &top[n * (TILE / NQ)..(n + 1) * (TILE / NQ)]);
            }
            let base = self.softmax.raise(simd, tops);
            let mut minus = [T::Acc::default(); TILE];
            crate::attention::micro::store_lanes::<S, T::Acc, NQ>(&mut minus, base);
            self.softmax.begin(simd);
            self.weigh_rows(simd, tile, from, &minus);
            self.sum_rows(simd, from);
        }
    }

    /// Base-2 scores of up to `ROW_BLOCK` keys of each lane; returns their maximum by lane.
    #[inline(always)]
    fn score_rows<S: Simd>(&mut self, simd: S, tile: usize, from: usize) -> [T::Acc; TILE] {
        let (plan, head) = (self.plan, self.head);
        let lanes = plan.lanes(tile);
        let width = self.qt.len();
        let scale = <T::Acc as Real>::N::<S>::splat(simd, self.problem.scale2());
        let queries = self.queries.gather((0..lanes).map(|lane| plan.query(tile, lane)));
        let mut tops = [<T::Acc as Real>::N::<S>::splat(simd, T::Acc::NEG_INFINITY); TILE];
        let last = self.lanes.longest().min(from + ROW_BLOCK);
        for at in (from..last).step_by(ND) {
            for lane in 0..lanes {
                let Some(list) = self.lanes.part::<ND>(lane, at) else { continue };
                let q = &queries.data[queries.starts[lane]..][..width];
                let keys = self.keys.gather((0..ND).map(|i| list[i.min(list.len() - 1)] as usize));
                let Some(starts) = keys.starts.first_chunk::<ND>() else { continue };
                let s = dots::<S, T::Acc, ND>(simd, q, keys.data, starts) * scale;
                let out = &mut self.row_scores[lane][at - from..][..ND];
                s.store_slice(out);
                row_biased::<T>(head, list, self.lanes.pair(lane, at), out);
                hide_rest(list.len(), out);
                tops[lane] = tops[lane].max(<T::Acc as Real>::N::<S>::from_slice(simd, out));
            }
        }
        let mut top = [T::Acc::NEG_INFINITY; TILE];
        for lane in 0..lanes {
            top[lane] = tops[lane].reduce_max();
        }
        top
    }

    /// Turns scores into weights and adds them to the sums.
    #[inline(always)]
    fn weigh_rows<S: Simd>(&mut self, simd: S, tile: usize, from: usize, base: &[T::Acc; TILE]) {
        for lane in 0..self.plan.lanes(tile) {
            let list = self.lanes.lane(lane);
            let list = &list[from.min(list.len())..(from + ROW_BLOCK).min(list.len())];
            let minus = <T::Acc as Real>::N::<S>::splat(simd, base[lane]);
            let mut sum = <T::Acc as Real>::N::<S>::splat(simd, T::Acc::default());
            for p in self.row_scores[lane][..list.len().next_multiple_of(ND)].chunks_exact_mut(ND) {
                let e = T::Acc::exp2_native(simd, <T::Acc as Real>::N::<S>::from_slice(simd, p) - minus);
                sum += e;
                e.store_slice(p);
            }
            self.softmax.sum[lane] += sum.reduce_sum();
            if let Some(draw) = &self.head.draw {
                let query = self.plan.query(tile, lane);
                for (p, &key) in self.row_scores[lane].iter_mut().zip(list) {
                    *p *= draw.factor(query, key as usize);
                }
            }
        }
    }

    /// Adds weighted values.
    #[inline(always)]
    fn sum_rows<S: Simd>(&mut self, simd: S, from: usize) {
        let last = self.lanes.longest().min(from + ROW_BLOCK);
        for at in (from..last).step_by(ND) {
            for lane in 0..self.lanes.count() {
                let Some(list) = self.lanes.part::<ND>(lane, at) else { continue };
                let values = self.values.gather(list.iter().map(|&j| j as usize));
                let out = &mut self.softmax.out[lane * self.softmax.width..][..self.softmax.width];
                let weights = &self.row_scores[lane][at - from..][..list.len()];
                add_rows::<S, T::Acc, NC>(simd, out, weights, values.data, values.starts);
            }
        }
    }
}
