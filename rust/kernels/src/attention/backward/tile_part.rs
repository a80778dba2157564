//! The tile's shared keys: scores, dP, and the three products that end in dV, dK and dQ.

use super::query_sweep::Sweep;
use super::swept_tile::{Four, SweptTile, TOGETHER};
use super::task::{Place, QueryTask};
use crate::attention::accumulate::add_terms;
use crate::attention::bias::{biased, capped};
use crate::attention::deal::TaskRows;
use crate::attention::distances::TilePlaces;
use crate::attention::edge_lanes::EdgeLanes;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::head::HeadContext;
use crate::attention::lane_keys::quad_ranges;
use crate::attention::micro::{by_lane, hide, load, load_lanes, scores, store, store_lanes};
use crate::plan::{Chunks, Planned, TILE, TileKeys};
use fearless_simd::{Simd, prelude::*};
use std::ops::Range;

impl<T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> Sweep<'_, T, NQ, NK, ND, NC> {
    /// Weights, ds and dQ of a block of one tile's keys.
    #[inline(always)]
    pub(super) fn tile_part<S: Simd>(
        &mut self,
        simd: S,
        task: &mut QueryTask<'_, T>,
        g: usize,
        head: &HeadContext<T::Acc>,
        (tile, i): (usize, usize),
    ) {
        let swept = &mut self.tiles[i];
        let (block, mut edge) = (&mut swept.block, swept.edge);
        let count = block.keys.len();
        block.pad(NK);
        let keys = self.keys.gather(block.keys.iter().map(|&j| j as usize));
        let values = self.values.gather(block.keys.iter().map(|&j| j as usize));
        if let Some(first) = head.edges_in_place {
            self.edges.fill(simd, first, block);
        }
        let (lse, rest, delta) = (&swept.lse, &swept.rest, &swept.delta);
        let (block, places, edges) = (&swept.block, &self.places, &self.edges);
        let known = Known { plan: self.plan, tile, head, block, places, edges, lse, rest, delta };
        // ds is scaled for the products, but not for the biases.
        let plain = head.soft_cap.is_none() && head.edges_in_place.is_none() && head.distances.is_none();
        let plain = plain && !task.wants_biases();
        let factor = if plain { self.problem.scale() } else { T::Acc::ONE };
        for first in (0..count).step_by(NK) {
            if !self.chunks.rounds {
                self.panels.touch_next(self.plan, tile, first / NK);
            }
            let s = scores::<S, T::Acc, NK, NQ>(simd, keys, first, swept.qt.lanes());
            let dp = scores::<S, T::Acc, NK, NQ>(simd, values, first, swept.dot.lanes());
            let (p, ds) = (&mut swept.p.lanes_mut()[first..first + NK], &mut swept.ds.lanes_mut()[first..first + NK]);
            let edge_before = edge;
            let mut slopes = Weights([[T::Acc::default(); TILE]; NK]);
            let into = Into { p, ds: &mut *ds, slopes: &mut slopes.0, factor };
            known.differentiate::<S, T, NK, NQ>(simd, first, s, dp, into, &mut edge);
            if plain {
                continue;
            }
            if task.wants_biases() {
                edge = edge_before;
                for i in 0..NK.min(count - first) {
                    let (key, mask) = (block.keys[first + i] as usize, block.masks[first + i]);
                    task.add_bias(g, place(self.chunks, &self.own, &self.slots, key), mask, &ds[i], &mut edge);
                }
            }
            if let (Some(_), Some(to)) = (head.edges_in_place, task.row_edges.get_mut(g)) {
                let of = first..(first + NK).min(count);
                edges.store(&block.keys[of.clone()], &block.masks[of.clone()], &ds[..of.len()], to, task.first_edge);
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
        }
        swept.edge = edge;
        let width = swept.qt.len() / TILE;
        for (quad, range) in quad_ranges(&swept.block).into_iter().enumerate() {
            let dq = &mut swept.dq[4 * quad * width..][..4 * width];
            let ds = &swept.ds.lanes()[range.clone()];
            add_terms::<S, T::Acc, NC>(simd, dq, swept.fresh, ds, quad, keys.range(range));
        }
        swept.fresh = false;
    }

    /// What the blocks of the first tiles add to dV and dK: at once where they have the same keys, else one after the
    /// other.
    #[inline(always)]
    pub(super) fn key_part<S: Simd>(&mut self, simd: S, task: &mut QueryTask<'_, T>, tiles: usize) {
        let mut fours = std::mem::take(&mut self.fours);
        let tiles = &self.tiles[..tiles];
        let first = tiles.iter().position(|tile| !tile.block.keys.is_empty()).unwrap_or(0);
        let same = tiles.iter().all(|tile| tile.block.keys.is_empty() || tile.block.keys == tiles[first].block.keys);
        for tiles in tiles.chunks(if same { tiles.len() } else { 1 }) {
            let Some(block) = tiles.iter().map(|tile| &tile.block).find(|block| !block.keys.is_empty()) else {
                continue;
            };
            fours.clear();
            for (at, keys) in block.keys.as_chunks::<4>().0.iter().enumerate() {
                let mut four = Four { at: 4 * at, ..Four::default() };
                let mut used = [0; 4];
                for (tile, lanes) in tiles.iter().zip(&mut four.lanes) {
                    let Some(masks) = tile.block.masks.as_chunks::<4>().0.get(at) else { continue };
                    let union = masks[0] | masks[1] | masks[2] | masks[3];
                    for r in 0..4 {
                        used[r] |= masks[r];
                    }
                    if union != 0 {
                        *lanes = union.trailing_zeros() as usize..TILE - union.leading_zeros() as usize;
                    }
                }
                // Keys that pad the block have empty masks.
                four.count = used.iter().rposition(|&mask| mask != 0).map_or(0, |last| last + 1);
                for r in 0..four.count {
                    four.places[r] = place(self.chunks, &self.own, &self.slots, keys[r] as usize);
                }
                if four.count > 0 {
                    fours.push(four);
                }
            }
            add_fours::<S, T::Acc, NC>(simd, [&mut task.own.v, &mut task.halo.v], &fours, tiles, true);
            add_fours::<S, T::Acc, NC>(simd, [&mut task.own.k, &mut task.halo.k], &fours, tiles, false);
        }
        self.fours = fours;
    }
}

/// Adds what some tiles have for the values, or for the keys, of a block: some columns of all keys before the next, so
/// that those of the tiles' rows stay in L1.
#[inline(always)]
fn add_fours<S: Simd, A: Accumulator, const NC: usize>(
    simd: S,
    mut targets: [&mut TaskRows<'_, A>; 2],
    fours: &[Four],
    tiles: &[SweptTile<A>],
    values: bool,
) {
    let vector = A::N::<S>::LEN;
    let width = if values { tiles[0].dout_rows.len() } else { tiles[0].q_rows.len() } / TILE;
    let mut column = 0;
    while column + NC * vector <= width {
        four_columns::<S, A, NC>(simd, &mut targets, fours, tiles, values, (width, column));
        column += NC * vector;
    }
    while column < width {
        four_columns::<S, A, 1>(simd, &mut targets, fours, tiles, values, (width, column));
        column += vector;
    }
}

#[inline(always)]
fn four_columns<S: Simd, A: Accumulator, const C: usize>(
    simd: S,
    targets: &mut [&mut TaskRows<'_, A>; 2],
    fours: &[Four],
    tiles: &[SweptTile<A>],
    values: bool,
    (width, column): (usize, usize),
) {
    for four in fours {
        let mut terms = [const { Terms { weights: &[], lanes: 0..0, rows: &[] } }; TOGETHER];
        for ((tile, lanes), terms) in tiles.iter().zip(&four.lanes).zip(&mut terms) {
            if !lanes.is_empty() {
                let (weights, rows) = if values { (&tile.p, &tile.dout_rows) } else { (&tile.ds, &tile.q_rows) };
                *terms = Terms { weights: &weights.lanes()[four.at..][..4], lanes: lanes.clone(), rows };
            }
        }
        key_columns::<S, A, C>(simd, targets, &four.places[..four.count], &terms[..tiles.len()], width, column);
    }
}

/// What a tile adds to four keys: `Σ_lane weights[key][lane] · rows[lane]` over some lanes.
pub(super) struct Terms<'a, A> {
    pub(super) weights: &'a [[A; TILE]],
    pub(super) lanes: Range<usize>,
    pub(super) rows: &'a [A],
}

/// Where weights, ds and the slopes of a soft cap go.
struct Into<'a, A, const NK: usize> {
    p: &'a mut [[A; TILE]],
    ds: &'a mut [[A; TILE]],
    slopes: &'a mut [[A; TILE]; NK],
    /// What ds is multiplied by.
    factor: A,
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
        let Into { p, ds, slopes, factor } = into;
        let factor = A::V::<S>::splat(simd, factor);
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
                d[n] = d[n] * (dp[i][n] - delta[n]) * factor;
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
pub(super) fn place(chunks: &Chunks, own: &Range<usize>, slots: &[u32], key: usize) -> Place {
    let place = chunks.place(key);
    if own.contains(&place) {
        Place { halo: false, row: place - own.start }
    } else {
        Place { halo: true, row: slots[place] as usize }
    }
}

/// Adds to the gradient rows of up to four keys what some tiles, one at least, add to them.
#[inline(always)]
pub(super) fn add_to_keys<S: Simd, A: Accumulator, const NC: usize>(
    simd: S,
    mut targets: [&mut TaskRows<'_, A>; 2],
    places: &[Place],
    terms: &[Terms<'_, A>],
) {
    let vector = A::N::<S>::LEN;
    let width = terms.iter().map(|tile| tile.rows.len() / TILE).max().unwrap_or(0);
    let mut column = 0;
    while column + NC * vector <= width {
        key_columns::<S, A, NC>(simd, &mut targets, places, terms, width, column);
        column += NC * vector;
    }
    while column < width {
        key_columns::<S, A, 1>(simd, &mut targets, places, terms, width, column);
        column += vector;
    }
}

#[inline(always)]
fn key_columns<S: Simd, A: Accumulator, const C: usize>(
    simd: S,
    targets: &mut [&mut TaskRows<'_, A>; 2],
    places: &[Place],
    terms: &[Terms<'_, A>],
    width: usize,
    column: usize,
) {
    let mut sums = [[A::N::<S>::splat(simd, A::default()); C]; 4];
    for r in 0..4 {
        if let Some(place) = places.get(r) {
            sums[r] = load::<S, A, C>(simd, targets[usize::from(place.halo)].row(place.row), column);
        }
    }
    for tile in terms {
        if let Some(weights) = tile.weights.first_chunk() {
            sums = by_lane::<S, A, C>(simd, sums, weights, tile.lanes.clone(), tile.rows, width, column);
        }
    }
    for r in 0..4 {
        if let Some(place) = places.get(r) {
            store::<S, A, C>(targets[usize::from(place.halo)].row(place.row), column, sums[r]);
        }
    }
}
