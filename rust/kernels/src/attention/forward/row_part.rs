//! The keys that few of a tile's queries use: gathered dot products and sums, 16 keys of each lane at a time.

use super::Task;
use super::softmax::Softmax;
use crate::attention::element::{Real, Storage};
use crate::attention::gather::Gather;
use crate::attention::head::HeadContext;
use crate::attention::rows::Rows;
use crate::attention::scratch::{LaneKeys, ROW_BLOCK, hide_rest, row_biased};
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
        let plan = self.plan;
        let scale = self.problem.scale2();
        let width = self.qt.len() / TILE;
        let queries = self.queries.gather((0..plan.lanes(tile)).map(|lane| plan.query(tile, lane)));
        let (head, lanes, scores) = (self.head, &self.lanes, &mut self.row_scores);
        match self.keys.blocks() {
            Some(mut keys) => score::<S, T, _, ND>(simd, head, &mut keys, queries, width, scale, lanes, from, scores),
            None => score::<S, T, _, ND>(simd, head, &mut self.keys, queries, width, scale, lanes, from, scores),
        }
    }

    /// Turns scores into weights and adds them to the sums.
    #[inline(always)]
    fn weigh_rows<S: Simd>(&mut self, simd: S, tile: usize, from: usize, base: &[T::Acc; TILE]) {
        for lane in 0..self.plan.lanes(tile) {
            let Some(list) = self.lanes.part::<ROW_BLOCK>(lane, from) else { continue };
            let scores = &mut self.row_scores[lane * ROW_BLOCK..][..ROW_BLOCK];
            let minus = <T::Acc as Real>::N::<S>::splat(simd, base[lane]);
            let mut sum = <T::Acc as Real>::N::<S>::splat(simd, T::Acc::default());
            for p in scores[..list.len().next_multiple_of(ND)].chunks_exact_mut(ND) {
                let e = T::Acc::exp2_native(simd, <T::Acc as Real>::N::<S>::from_slice(simd, p) - minus);
                sum += e;
                e.store_slice(p);
            }
            self.softmax.sum[lane] += sum.reduce_sum();
            if let Some(draw) = &self.head.draw {
                let query = self.plan.query(tile, lane);
                for (p, &key) in scores.iter_mut().zip(list) {
                    *p *= draw.factor(query, key as usize);
                }
            }
        }
    }

    /// Adds weighted values.
    #[inline(always)]
    fn sum_rows<S: Simd>(&mut self, simd: S, from: usize) {
        let (lanes, weights, softmax) = (&self.lanes, &self.row_scores, &mut self.softmax);
        match self.values.blocks() {
            Some(mut values) => sum::<S, T::Acc, _, ND, NC>(simd, &mut values, lanes, from, weights, softmax),
            None => sum::<S, T::Acc, _, ND, NC>(simd, &mut self.values, lanes, from, weights, softmax),
        }
    }
}

#[inline(always)]
fn score<S: Simd, T: Storage, K: Gather<T::Acc>, const ND: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    keys: &mut K,
    queries: Rows<'_, T::Acc>,
    width: usize,
    scale: T::Acc,
    lanes: &LaneKeys,
    from: usize,
    scores: &mut [T::Acc],
) -> [T::Acc; TILE] {
    let scale = <T::Acc as Real>::N::<S>::splat(simd, scale);
    let mut tops = [<T::Acc as Real>::N::<S>::splat(simd, T::Acc::NEG_INFINITY); TILE];
    let (last, biased) = (lanes.longest().min(from + ROW_BLOCK), head.biased());
    for at in (from..last).step_by(ND) {
        for (lane, &start) in queries.starts.iter().enumerate() {
            let Some(list) = lanes.part::<ND>(lane, at) else { continue };
            let mut s = keys.dots::<S, ND>(simd, &queries.data[start..][..width], list) * scale;
            let out = &mut scores[lane * ROW_BLOCK + at - from..][..ND];
            s.store_slice(out);
            if biased || list.len() < ND {
                row_biased::<T>(head, list, lanes.pairs(lane, at, list.len()), out);
                hide_rest(list.len(), out);
                s = <T::Acc as Real>::N::<S>::from_slice(simd, out);
            }
            tops[lane] = tops[lane].max(s);
        }
    }
    let mut top = [T::Acc::NEG_INFINITY; TILE];
    for lane in 0..TILE {
        top[lane] = tops[lane].reduce_max();
    }
    top
}

#[inline(always)]
fn sum<S: Simd, A: Real, V: Gather<A>, const ND: usize, const NC: usize>(
    simd: S,
    values: &mut V,
    lanes: &LaneKeys,
    from: usize,
    weights: &[A],
    softmax: &mut Softmax<A>,
) {
    let last = lanes.longest().min(from + ROW_BLOCK);
    for at in (from..last).step_by(ND) {
        for lane in 0..lanes.count() {
            let Some(list) = lanes.part::<ND>(lane, at) else { continue };
            let out = &mut softmax.out[lane * softmax.width..][..softmax.width];
            let weights = &weights[lane * ROW_BLOCK + at - from..][..list.len()];
            values.add::<S, ND, NC>(simd, out, weights, list);
        }
    }
}
