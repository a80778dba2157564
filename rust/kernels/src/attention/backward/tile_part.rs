//! The tile's shared keys: scores, dP, and the three products that end in dV, dK and dQ.

use super::query_sweep::Sweep;
use super::task::{Place, QueryTask};
use crate::attention::element::{Real, Storage};
use crate::attention::forward::add_terms;
use crate::attention::head::HeadContext;
use crate::attention::micro::{by_lane, hide, load, load_lanes, scores, store, store_lanes};
use crate::attention::rows::Rows;
use crate::attention::scratch::{KEY_BLOCK, biased, group_ranges};
use crate::plan::{Cursor, TILE};
use fearless_simd::{Simd, prelude::*};

impl<T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> Sweep<'_, T, NQ, NK, ND, NC> {
    #[inline(always)]
    pub(super) fn tile_part<S: Simd>(
        &mut self,
        simd: S,
        task: &mut QueryTask<'_, T>,
        g: usize,
        head: &HeadContext<T::Acc>,
        tile: usize,
    ) {
        let mut pair = self.problem.edge_bias.map_or(0, |e| e.map.tile_starts[tile]);
        let mut cursor = Cursor::default();
        self.fresh = true;
        while self.plan.tile_block(tile, &mut cursor, KEY_BLOCK, &mut self.block) {
            let count = self.block.keys.len();
            self.block.pad(NK);
            let keys = self.keys.gather(self.block.keys.iter().map(|&j| j as usize));
            let values = self.values.gather(self.block.keys.iter().map(|&j| j as usize));
            for first in (0..count).step_by(NK) {
                self.inputs.touch_next(self.plan, tile, first / NK);
                let mut weights = Weights([[T::Acc::default(); TILE]; NK]);
                let p = &mut weights.0;
                let pair_before = pair;
                // Scores, then weights.
                let mut s = scores::<S, T::Acc, NK, NQ>(simd, keys, first, self.qt.lanes());
                let lse = load_lanes::<S, T::Acc, NQ>(simd, &self.lse);
                for i in 0..NK {
                    if head.biased() {
                        biased::<S, T, NQ>(simd, head, &self.block, first + i, &mut pair, &mut s[i]);
                    }
                    hide::<S, T::Acc, NQ>(simd, &mut s[i], self.block.masks[first + i]);
                    for n in 0..NQ {
                        s[i][n] = T::Acc::exp2(simd, s[i][n] - lse[n]);
                    }
                    store_lanes::<S, T::Acc, NQ>(&mut p[i], s[i]);
                }
                let dp = scores::<S, T::Acc, NK, NQ>(simd, values, first, self.dot.lanes());
                let delta = load_lanes::<S, T::Acc, NQ>(simd, &self.delta);
                let scale = <T::Acc as Real>::V::<S>::splat(simd, T::Acc::from_f64(self.problem.scale));
                let ds = &mut self.ds.lanes_mut()[first..first + NK];
                if let Some(draw) = &head.draw {
                    for i in 0..NK {
                        let mut lanes = [T::Acc::ONE; TILE];
                        for (lane, x) in lanes.iter_mut().enumerate().take(self.plan.lanes(tile)) {
                            *x = draw.factor(self.plan.query(tile, lane), self.block.keys[first + i] as usize);
                        }
                        let factor = load_lanes::<S, T::Acc, NQ>(simd, &lanes);
                        let mut weight = load_lanes::<S, T::Acc, NQ>(simd, &p[i]);
                        let mut d = weight;
                        for n in 0..NQ {
                            d[n] = weight[n] * (dp[i][n] * factor[n] - delta[n]);
                            weight[n] *= factor[n];
                        }
                        store_lanes::<S, T::Acc, NQ>(&mut p[i], weight);
                        store_lanes::<S, T::Acc, NQ>(&mut ds[i], d);
                    }
                } else {
                    for i in 0..NK {
                        let mut d = load_lanes::<S, T::Acc, NQ>(simd, &p[i]);
                        for n in 0..NQ {
                            d[n] *= dp[i][n] - delta[n];
                        }
                        store_lanes::<S, T::Acc, NQ>(&mut ds[i], d);
                    }
                }
                if task.wants_biases() {
                    pair = pair_before;
                    for i in 0..NK.min(count - first) {
                        let (key, mask) = (self.block.keys[first + i] as usize, self.block.masks[first + i]);
                        task.add_bias(
                            g,
                            place(&self.own, &self.slots, key),
                            mask,
                            &self.ds.lanes()[first + i],
                            &mut pair,
                        );
                    }
                }
                let ds = &mut self.ds.lanes_mut()[first..first + NK];
                for d in ds.iter_mut() {
                    let mut x = load_lanes::<S, T::Acc, NQ>(simd, d);
                    for n in 0..NQ {
                        x[n] *= scale;
                    }
                    store_lanes::<S, T::Acc, NQ>(d, x);
                }
                for (four, (p, ds)) in
                    p.as_chunks::<4>().0.iter().zip(self.ds.lanes()[first..].as_chunks::<4>().0).enumerate()
                {
                    let at = first + 4 * four;
                    let masks = &self.block.masks[at..at + 4];
                    let union = masks[0] | masks[1] | masks[2] | masks[3];
                    if at >= count || union == 0 {
                        continue;
                    }
                    let lanes = union.trailing_zeros() as usize..TILE - union.leading_zeros() as usize;
                    let mut places = [Place::default(); 4];
                    for r in 0..4 {
                        places[r] = place(&self.own, &self.slots, self.block.keys[at + r] as usize);
                    }
                    let places = &places[..(count - at).min(4)];
                    let target = [&mut *task.own.v, &mut task.halo.v];
                    add_to_keys::<S, T::Acc, NC>(simd, target, places, p, lanes.clone(), &self.dout_rows);
                    let target = [&mut *task.own.k, &mut task.halo.k];
                    add_to_keys::<S, T::Acc, NC>(simd, target, places, ds, lanes, &self.q_rows);
                }
            }
            let width = self.qt.len() / TILE;
            for (group, range) in group_ranges(&self.block).into_iter().enumerate() {
                let dq = &mut self.dq[4 * group * width..][..4 * width];
                let rows = Rows { data: keys.data, starts: keys.starts }.range(range.clone());
                add_terms::<S, T::Acc, NC>(simd, dq, self.fresh, &self.ds.lanes()[range], group, rows);
            }
            self.fresh = false;
        }
    }
}

/// The weights of a few keys, at a cache line.
#[repr(align(64))]
struct Weights<A, const NK: usize>([[A; TILE]; NK]);

/// Where a key's gradient goes.
#[inline(always)]
fn place(own: &std::ops::Range<usize>, slots: &[u32], key: usize) -> Place {
    if own.contains(&key) {
        Place { halo: false, row: key - own.start }
    } else {
        Place { halo: true, row: slots[key] as usize }
    }
}

/// Adds `Σ_lane weights[key][lane] · tile[lane]` to the gradient rows of up to four keys.
#[inline(always)]
fn add_to_keys<S: Simd, A: Real, const NC: usize>(
    simd: S,
    mut targets: [&mut [A]; 2],
    places: &[Place],
    weights: &[[A; TILE]; 4],
    lanes: std::ops::Range<usize>,
    tile: &[A],
) {
    let vector = A::N::<S>::LEN;
    let width = tile.len() / TILE;
    let mut column = 0;
    while column + NC * vector <= width {
        key_columns::<S, A, NC>(simd, &mut targets, places, weights, lanes.clone(), tile, column);
        column += NC * vector;
    }
    while column < width {
        key_columns::<S, A, 1>(simd, &mut targets, places, weights, lanes.clone(), tile, column);
        column += vector;
    }
}

#[inline(always)]
fn key_columns<S: Simd, A: Real, const C: usize>(
    simd: S,
    targets: &mut [&mut [A]; 2],
    places: &[Place],
    weights: &[[A; TILE]; 4],
    lanes: std::ops::Range<usize>,
    tile: &[A],
    column: usize,
) {
    let width = tile.len() / TILE;
    let mut sums = [[A::N::<S>::splat(simd, A::default()); C]; 4];
    for r in 0..4 {
        if let Some(place) = places.get(r) {
            sums[r] = load::<S, A, C>(simd, targets[usize::from(place.halo)], place.row * width + column);
        }
    }
    let sums = by_lane::<S, A, C>(simd, sums, weights, lanes, tile, width, column);
    for r in 0..4 {
        if let Some(place) = places.get(r) {
            store::<S, A, C>(targets[usize::from(place.halo)], place.row * width + column, sums[r]);
        }
    }
}
