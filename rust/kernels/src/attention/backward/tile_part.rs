//! The tile's shared keys: scores, dP, and the three products that end in dV, dK and dQ.

use super::query_sweep::Sweep;
use super::task::{Place, QueryTask};
use crate::attention::accumulate::add_terms;
use crate::attention::bias::{biased, capped};
use crate::attention::buffers::whole_steps;
use crate::attention::deal::TaskRows;
use crate::attention::distances::TilePlaces;
use crate::attention::edge_lanes::EdgeLanes;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::head::HeadContext;
use crate::attention::lane_keys::quad_ranges;
use crate::attention::micro::{by_lane, hide, load, load_lanes, scores, store, store_lanes};
use crate::plan::{Chunks, Cursor, Planned, TILE, TileKeys};
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
        let mut edge = self.plan.edges.map_or(0, |map| map.tile_starts[tile]);
        let mut cursor = Cursor::default();
        self.fresh = true;
        while self.plan.tile_block(tile, &mut cursor, whole_steps(NK), &mut self.block) {
            let count = self.block.keys.len();
            self.block.pad(NK);
            let keys = self.keys.gather(self.block.keys.iter().map(|&j| j as usize));
            let values = self.values.gather(self.block.keys.iter().map(|&j| j as usize));
            if let Some(first) = head.edges_in_place {
                self.edges.fill(simd, first, &self.block);
            }
            for first in (0..count).step_by(NK) {
                self.panels.touch_next(self.plan, tile, first / NK);
                let mut p = Weights([[T::Acc::default(); TILE]; NK]);
                let s = scores::<S, T::Acc, NK, NQ>(simd, keys, first, self.qt.lanes());
                let dp = scores::<S, T::Acc, NK, NQ>(simd, values, first, self.dot.lanes());
                let ds = &mut self.ds.lanes_mut()[first..first + NK];
                let (lse, rest, delta) = (&self.lse, &self.rest, &self.delta);
                let (block, places, edges) = (&self.block, &self.places, &self.edges);
                let known = Known { plan: self.plan, tile, head, block, places, edges, lse, rest, delta };
                let edge_before = edge;
                let mut slopes = Weights([[T::Acc::default(); TILE]; NK]);
                let into = Into { p: &mut p.0, ds: &mut *ds, slopes: &mut slopes.0 };
                known.differentiate::<S, T, NK, NQ>(simd, first, s, dp, into, &mut edge);
                if task.wants_biases() {
                    edge = edge_before;
                    for i in 0..NK.min(count - first) {
                        let (key, mask) = (self.block.keys[first + i] as usize, self.block.masks[first + i]);
                        task.add_bias(g, place(self.chunks, &self.own, &self.slots, key), mask, &ds[i], &mut edge);
                    }
                }
                if let (Some(_), Some(to)) = (head.edges_in_place, task.row_edges.get_mut(g)) {
                    let of = first..(first + NK).min(count);
                    edges.store(
                        &block.keys[of.clone()],
                        &block.masks[of.clone()],
                        &ds[..of.len()],
                        to,
                        task.first_edge,
                    );
                }
                if let (Some(table), Some(to)) = (&head.distances, task.distances.get_mut(g)) {
                    for i in 0..NK.min(count - first) {
                        places.add(table, block.keys[first + i], &ds[i], to);
                    }
                }
                if head.soft_cap.is_some() {
                    for (ds, slopes) in ds.iter_mut().zip(&slopes.0) {
                        ds.iter_mut().zip(slopes).for_each(|(x, &slope)| *x *= slope);
                    }
                }
                scale_lanes::<S, T::Acc, NQ>(simd, ds, self.problem.scale());
                for (four, (p, ds)) in p.0.as_chunks::<4>().0.iter().zip(ds.as_chunks::<4>().0).enumerate() {
                    let at = first + 4 * four;
                    let masks = &self.block.masks[at..at + 4];
                    let union = masks[0] | masks[1] | masks[2] | masks[3];
                    if at >= count || union == 0 {
                        continue;
                    }
                    let lanes = union.trailing_zeros() as usize..TILE - union.leading_zeros() as usize;
                    let mut places = [Place::default(); 4];
                    for r in 0..4 {
                        places[r] = place(self.chunks, &self.own, &self.slots, self.block.keys[at + r] as usize);
                    }
                    let places = &places[..(count - at).min(4)];
                    let target = [&mut task.own.v, &mut task.halo.v];
                    add_to_keys::<S, T::Acc, NC>(simd, target, places, p, lanes.clone(), &self.dout_rows);
                    let target = [&mut task.own.k, &mut task.halo.k];
                    add_to_keys::<S, T::Acc, NC>(simd, target, places, ds, lanes, &self.q_rows);
                }
            }
            let width = self.qt.len() / TILE;
            for (quad, range) in quad_ranges(&self.block).into_iter().enumerate() {
                let dq = &mut self.dq[4 * quad * width..][..4 * width];
                let ds = &self.ds.lanes()[range.clone()];
                add_terms::<S, T::Acc, NC>(simd, dq, self.fresh, ds, quad, keys.range(range));
            }
            self.fresh = false;
        }
    }
}

/// Where weights, ds and the slopes of a soft cap go.
struct Into<'a, A, const NK: usize> {
    p: &'a mut [[A; TILE]; NK],
    ds: &'a mut [[A; TILE]],
    slopes: &'a mut [[A; TILE]; NK],
}

/// What a tile's weights and ds are computed from, beside scores and dP.
struct Known<'a, A> {
    plan: Planned<'a>,
    tile: usize,
    head: &'a HeadContext<A>,
    block: &'a TileKeys,
    places: &'a TilePlaces<'a>,
    edges: &'a EdgeLanes<'a, A>,
    lse: &'a [A; TILE],
    rest: &'a [A; TILE],
    delta: &'a [A; TILE],
}

impl<A: Accumulator> Known<'_, A> {
    /// `p = exp(s − lse)` and `ds = p (dp − delta)`, of `NK` keys from `first` on; and the slopes of a soft cap, which
    /// come between ds and the scaled products.
    #[inline(always)]
    fn differentiate<S: Simd, T: Storage<Acc = A>, const NK: usize, const NQ: usize>(
        &self,
        simd: S,
        first: usize,
        mut s: [[A::V<S>; NQ]; NK],
        mut dp: [[A::V<S>; NQ]; NK],
        into: Into<'_, A, NK>,
        edge: &mut usize,
    ) {
        let Into { p, ds, slopes } = into;
        let lse = load_lanes::<S, A, NQ>(simd, self.lse);
        let rest = load_lanes::<S, A, NQ>(simd, self.rest);
        let delta = load_lanes::<S, A, NQ>(simd, self.delta);
        let in_place = self.head.edges_in_place.map(|_| self.edges.lanes());
        for i in 0..NK {
            if let Some(cap) = &self.head.soft_cap {
                capped::<S, A, NQ>(simd, self.head, &mut s[i]);
                let mut slope = s[i];
                for n in 0..NQ {
                    slope[n] = cap.slope(simd, s[i][n]);
                }
                store_lanes::<S, A, NQ>(&mut slopes[i], slope);
            }
            if self.head.biased() {
                biased::<S, T, NQ>(
                    simd,
                    self.head,
                    self.places,
                    self.block,
                    first + i,
                    edge,
                    in_place.map(|lanes| &lanes[first + i]),
                    &mut s[i],
                );
            }
            hide::<S, A, NQ>(simd, &mut s[i], self.block.masks[first + i]);
            for n in 0..NQ {
                s[i][n] = A::exp(simd, (s[i][n] - lse[n]) - rest[n]);
            }
            let mut weight = s[i];
            if let Some(draw) = &self.head.draw {
                let mut lanes = [A::ONE; TILE];
                for (lane, x) in lanes.iter_mut().enumerate().take(self.plan.lanes(self.tile)) {
                    *x = draw.factor(self.plan.query(self.tile, lane), self.block.keys[first + i] as usize);
                }
                let factor = load_lanes::<S, A, NQ>(simd, &lanes);
                for n in 0..NQ {
                    weight[n] *= factor[n];
                    dp[i][n] *= factor[n];
                }
            }
            let mut d = s[i];
            for n in 0..NQ {
                d[n] *= dp[i][n] - delta[n];
            }
            store_lanes::<S, A, NQ>(&mut p[i], weight);
            store_lanes::<S, A, NQ>(&mut ds[i], d);
        }
    }
}

/// Multiplies every lane.
#[inline(always)]
pub(super) fn scale_lanes<S: Simd, A: Accumulator, const NQ: usize>(simd: S, rows: &mut [[A; TILE]], factor: A) {
    let factor = A::V::<S>::splat(simd, factor);
    for row in rows {
        let mut x = load_lanes::<S, A, NQ>(simd, row);
        for n in 0..NQ {
            x[n] *= factor;
        }
        store_lanes::<S, A, NQ>(row, x);
    }
}

/// The weights of a few keys, aligned to a cache line.
#[repr(align(64))]
struct Weights<A, const NK: usize>([[A; TILE]; NK]);

/// Where a key's gradient goes.
#[inline(always)]
pub(super) fn place(chunks: &Chunks, own: &std::ops::Range<usize>, slots: &[u32], key: usize) -> Place {
    let place = chunks.place(key);
    if own.contains(&place) {
        Place { halo: false, row: place - own.start }
    } else {
        Place { halo: true, row: slots[place] as usize }
    }
}

/// Adds `Σ_lane weights[key][lane] · tile[lane]` to the gradient rows of up to four keys.
#[inline(always)]
pub(super) fn add_to_keys<S: Simd, A: Accumulator, const NC: usize>(
    simd: S,
    mut targets: [&mut TaskRows<'_, A>; 2],
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
fn key_columns<S: Simd, A: Accumulator, const C: usize>(
    simd: S,
    targets: &mut [&mut TaskRows<'_, A>; 2],
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
            sums[r] = load::<S, A, C>(simd, targets[usize::from(place.halo)].row(place.row), column);
        }
    }
    let sums = by_lane::<S, A, C>(simd, sums, weights, lanes, tile, width, column);
    for r in 0..4 {
        if let Some(place) = places.get(r) {
            store::<S, A, C>(targets[usize::from(place.halo)].row(place.row), column, sums[r]);
        }
    }
}
