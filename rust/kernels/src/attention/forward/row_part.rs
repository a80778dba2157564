//! Row keys, which few of a tile's queries use: gathered dot products and sums, a native vector of keys at a time.

use super::task::{HEADS, Head, Task};
use crate::attention::bias::{OfTile, store_biased};
use crate::attention::buffers::ROW_BLOCK;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::gather::Gather;
use crate::attention::lane_keys::LaneKeys;
use crate::attention::micro::store_lanes;
use crate::plan::{Planned, TILE};
use fearless_simd::{Simd, prelude::*};

impl<T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> Task<'_, T, NQ, NK, ND, NC> {
    #[inline(always)]
    pub(super) fn row_part<S: Simd>(&mut self, simd: S, tile: usize) {
        let plan = self.plan;
        for head in &mut self.heads {
            head.queries.gather((0..plan.lanes(tile)).map(|lane| plan.query(tile, lane)));
        }
        for from in (0..self.lanes.longest()).step_by(ROW_BLOCK) {
            let (heads, lanes, scale) = (&mut self.heads[..], &self.lanes, self.problem.scale());
            let places = (&self.places, Some(&self.edges));
            let tops = match self.keys.blocks() {
                Some(mut keys) => score::<S, T, _, ND>(simd, heads, &mut keys, scale, (lanes, places), from),
                None => score::<S, T, _, ND>(simd, heads, &mut self.keys, scale, (lanes, places), from),
            };
            for (head, top) in heads.iter_mut().zip(&tops) {
                let mut vectors = [<T::Acc as Accumulator>::V::<S>::splat(simd, T::Acc::default()); NQ];
                for n in 0..NQ {
                    let top = &top[n * (TILE / NQ)..(n + 1) * (TILE / NQ)];
                    vectors[n] = <T::Acc as Accumulator>::V::<S>::from_slice(simd, top);
                }
                let base = head.softmax.raise(simd, vectors);
                let mut minus = [T::Acc::default(); TILE];
                store_lanes::<S, T::Acc, NQ>(&mut minus, base);
                head.softmax.begin(simd);
                head.weigh_rows::<S, ND>(simd, plan, tile, lanes, from, &minus);
            }
            match self.values.blocks() {
                Some(mut values) => sum::<S, T, _, ND, NC>(simd, heads, &mut values, lanes, from),
                None => sum::<S, T, _, ND, NC>(simd, heads, &mut self.values, lanes, from),
            }
        }
    }
}

impl<T: Storage> Head<'_, T> {
    /// Turns scores into weights and adds them to the sums.
    #[inline(always)]
    fn weigh_rows<S: Simd, const ND: usize>(
        &mut self,
        simd: S,
        plan: Planned<'_>,
        tile: usize,
        lanes: &LaneKeys,
        from: usize,
        base: &[T::Acc; TILE],
    ) {
        for lane in 0..plan.lanes(tile) {
            let Some(list) = lanes.part::<ROW_BLOCK>(lane, from) else { continue };
            let scores = &mut self.row_scores[lane * ROW_BLOCK..][..ROW_BLOCK];
            let minus = <T::Acc as Accumulator>::N::<S>::splat(simd, base[lane]);
            let mut sum = <T::Acc as Accumulator>::N::<S>::splat(simd, T::Acc::default());
            for p in scores[..list.len().next_multiple_of(ND)].chunks_exact_mut(ND) {
                let e = T::Acc::exp_native(simd, <T::Acc as Accumulator>::N::<S>::from_slice(simd, p) - minus);
                sum += e;
                e.store_slice(p);
            }
            self.softmax.sum[lane] += sum.reduce_sum();
            if let Some(draw) = &self.context.draw {
                let query = plan.query(tile, lane);
                for (p, &key) in scores.iter_mut().zip(list) {
                    *p *= draw.factor(query, key as usize);
                }
            }
        }
    }
}

/// Scores of up to `ROW_BLOCK` keys of each lane and head; returns their maximum by lane. A key's row is read for
/// one head after the other.
#[inline(always)]
fn score<S: Simd, T: Storage, K: Gather<T::Acc>, const ND: usize>(
    simd: S,
    heads: &mut [Head<'_, T>],
    keys: &mut K,
    scale: T::Acc,
    (lanes, places): (&LaneKeys, OfTile<'_, '_, T::Acc>),
    from: usize,
) -> [[T::Acc; TILE]; HEADS] {
    let scale = <T::Acc as Accumulator>::N::<S>::splat(simd, scale);
    let last = lanes.longest().min(from + ROW_BLOCK);
    let mut tops = [[<T::Acc as Accumulator>::N::<S>::splat(simd, T::Acc::NEG_INFINITY); TILE]; HEADS];
    // A single head, with its slices in registers: the other loop takes up to 7 % longer for it (ladders).
    if let [head] = heads {
        let (queries, width, context) = (head.queries.rows(), head.qt.len() / TILE, head.context);
        let (scores, tops) = (&mut head.row_scores[..], &mut tops[0]);
        for at in (from..last).step_by(ND) {
            for (lane, &start) in queries.starts.iter().enumerate() {
                let Some(list) = lanes.part::<ND>(lane, at) else { continue };
                let out = &mut scores[lane * ROW_BLOCK + at - from..][..ND];
                let s = keys.dots::<S, ND>(simd, &queries.data[start..][..width], list) * scale;
                let edges = lanes.edges(lane, at, list.len());
                let s = store_biased::<S, T, ND>(simd, context, places, (lane, edges), list, s, out);
                tops[lane] = tops[lane].max(s);
            }
        }
    } else {
        for at in (from..last).step_by(ND) {
            for lane in 0..lanes.count() {
                let Some(list) = lanes.part::<ND>(lane, at) else { continue };
                for (head, tops) in heads.iter_mut().zip(&mut tops) {
                    let (queries, width) = (head.queries.rows(), head.qt.len() / TILE);
                    let out = &mut head.row_scores[lane * ROW_BLOCK + at - from..][..ND];
                    let query = &queries.data[queries.starts[lane]..][..width];
                    let s = keys.dots::<S, ND>(simd, query, list) * scale;
                    let edges = lanes.edges(lane, at, list.len());
                    let s = store_biased::<S, T, ND>(simd, head.context, places, (lane, edges), list, s, out);
                    tops[lane] = tops[lane].max(s);
                }
            }
        }
    }
    let mut top = [[T::Acc::NEG_INFINITY; TILE]; HEADS];
    for (top, tops) in top.iter_mut().zip(&tops).take(heads.len()) {
        for lane in 0..TILE {
            top[lane] = tops[lane].reduce_max();
        }
    }
    top
}

/// Adds weighted values, a value's row for one head after the other.
#[inline(always)]
fn sum<S: Simd, T: Storage, V: Gather<T::Acc>, const ND: usize, const NC: usize>(
    simd: S,
    heads: &mut [Head<'_, T>],
    values: &mut V,
    lanes: &LaneKeys,
    from: usize,
) {
    let last = lanes.longest().min(from + ROW_BLOCK);
    // A single head, as in `score`: 2 %.
    if let [head] = heads {
        let width = head.softmax.width;
        let (sums, weights) = (&mut head.softmax.out[..], &head.row_scores[..]);
        for at in (from..last).step_by(ND) {
            for lane in 0..lanes.count() {
                let Some(list) = lanes.part::<ND>(lane, at) else { continue };
                let weights = &weights[lane * ROW_BLOCK + at - from..][..list.len()];
                values.add::<S, ND, NC>(simd, &mut sums[lane * width..][..width], weights, list);
            }
        }
        return;
    }
    for at in (from..last).step_by(ND) {
        for lane in 0..lanes.count() {
            let Some(list) = lanes.part::<ND>(lane, at) else { continue };
            for head in &mut *heads {
                let width = head.softmax.width;
                let weights = &head.row_scores[lane * ROW_BLOCK + at - from..][..list.len()];
                values.add::<S, ND, NC>(simd, &mut head.softmax.out[lane * width..][..width], weights, list);
            }
        }
    }
}
