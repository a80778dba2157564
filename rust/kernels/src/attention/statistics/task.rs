//! One task of the statistics: some tiles of one query head.

use super::positions::Positions;
use super::tile_scores::TileScores;
use crate::attention::deal::TaskRows;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::head::HeadContext;
use crate::attention::micro::{cover, load_lanes, store_lanes};
use crate::attention::problem::Problem;
use crate::attention::widths::AtWidths;
use crate::interrupt;
use crate::plan::{Planned, TILE};
use fearless_simd::{Simd, prelude::*};
use std::ops::Range;

/// What a task writes.
pub(super) struct Measured<'a, A> {
    pub(super) entropy: TaskRows<'a, A>,
    pub(super) maximum: TaskRows<'a, A>,
    pub(super) distance: TaskRows<'a, A>,
    /// What the task's queries add to the mass of every key.
    pub(super) columns: &'a mut [A],
}

/// What one task is given.
pub(super) struct MeasureArgs<'a, 'o, T: Storage> {
    pub(super) problem: &'a Problem<'a, T>,
    pub(super) plan: Planned<'a>,
    pub(super) head: &'a HeadContext<T::Acc>,
    pub(super) tiles: Range<usize>,
    pub(super) first_position: i64,
    pub(super) to: &'a mut Measured<'o, T::Acc>,
}

impl<S: Simd, T: Storage> AtWidths<S> for MeasureArgs<'_, '_, T> {
    #[inline(always)]
    fn run<const NQ: usize, const FK: usize, const BK: usize, const ND: usize, const NC: usize, const DC: usize>(
        self,
        simd: S,
    ) {
        let Self { problem, plan, head, tiles, first_position, to } = self;
        let mut scores = TileScores::<T, NQ, FK, ND>::new(problem, plan, false);
        scores.select(head);
        to.columns.fill(T::Acc::default());
        let first = tiles.start;
        for tile in tiles {
            interrupt::check();
            scores.read(tile);
            simd.vectorize(
                #[inline(always)]
                || scores.score(simd, head, tile),
            );
            let positions = Positions::new(plan, tile, first_position);
            let mut sums = Sums::default();
            simd.vectorize(
                #[inline(always)]
                || sums.measure(simd, &mut scores, &positions),
            );
            let inverse = sums.write(plan.lanes(tile), (tile - first) * TILE, to);
            simd.vectorize(
                #[inline(always)]
                || add_columns(simd, &scores, &inverse, to.columns),
            );
        }
    }
}

/// Sums over the keys of each lane, of weights e = exp(score − base).
#[derive(Debug, Default)]
struct Sums<A> {
    /// e.
    one: [A; TILE],
    /// e · (score − base).
    log: [A; TILE],
    /// e · distance.
    distance: [A; TILE],
}

impl<A: Accumulator> Sums<A> {
    /// Turns the scores into weights and sums them.
    #[inline(always)]
    fn measure<S: Simd, T: Storage<Acc = A>, const NQ: usize, const NK: usize, const ND: usize>(
        &mut self,
        simd: S,
        scores: &mut TileScores<'_, T, NQ, NK, ND>,
        positions: &Positions<A>,
    ) {
        let base = load_lanes::<S, A, NQ>(simd, &scores.base);
        let places = load_lanes::<S, A, NQ>(simd, &positions.lanes);
        let zero = A::V::<S>::splat(simd, A::default());
        let (mut one, mut log, mut distance) = ([zero; NQ], [zero; NQ], [zero; NQ]);
        for (&key, e) in scores.shared.keys.iter().zip(scores.of_shared.lanes_mut()) {
            let mut s = load_lanes::<S, A, NQ>(simd, e);
            let place = A::V::<S>::splat(simd, positions.of_key(key));
            for n in 0..NQ {
                let below = s[n] - base[n];
                let weight = A::exp(simd, below);
                one[n] += weight;
                // A hidden key lies infinitely below.
                log[n] = weight.mul_add(weight.simd_gt(zero).select(below, zero), log[n]);
                distance[n] = weight.mul_add((place - places[n]).abs(), distance[n]);
                s[n] = weight;
            }
            store_lanes::<S, A, NQ>(e, s);
        }
        store_lanes::<S, A, NQ>(&mut self.one, one);
        store_lanes::<S, A, NQ>(&mut self.log, log);
        store_lanes::<S, A, NQ>(&mut self.distance, distance);
        if scores.lanes.longest() > 0 {
            self.measure_rows::<S, T, NQ, NK, ND>(simd, scores, positions);
        }
    }

    #[inline(always)]
    fn measure_rows<S: Simd, T: Storage<Acc = A>, const NQ: usize, const NK: usize, const ND: usize>(
        &mut self,
        simd: S,
        scores: &mut TileScores<'_, T, NQ, NK, ND>,
        positions: &Positions<A>,
    ) {
        let zero = A::N::<S>::splat(simd, A::default());
        let mut far = [A::default(); ND];
        for lane in 0..scores.lanes.count() {
            let base = A::N::<S>::splat(simd, scores.base[lane]);
            let (mut one, mut log, mut distance) = (zero, zero, zero);
            let mut at = 0;
            while let Some(keys) = scores.lanes.part::<ND>(lane, at) {
                let e = &mut scores.of_rows[lane * scores.stride + at..][..ND];
                let below = A::N::<S>::from_slice(simd, e) - base;
                let weight = A::exp_native(simd, below);
                positions.distances(lane, keys, &mut far);
                one += weight;
                log = weight.mul_add(weight.simd_gt(zero).select(below, zero), log);
                distance = weight.mul_add(A::N::<S>::from_slice(simd, &far), distance);
                weight.store_slice(e);
                at += ND;
            }
            self.one[lane] += one.reduce_sum();
            self.log[lane] += log.reduce_sum();
            self.distance[lane] += distance.reduce_sum();
        }
    }

    /// Writes the statistics of the lanes; returns the factors that make weights sum to 1.
    fn write(&self, lanes: usize, first: usize, to: &mut Measured<'_, A>) -> [A; TILE] {
        let mut inverse = [A::default(); TILE];
        for lane in 0..lanes {
            let sum = self.one[lane].to_f64();
            let (mut log, mut factor) = (0.0, 0.0);
            if sum != 0.0 {
                (log, factor) = (sum.ln(), 1.0 / sum);
            }
            inverse[lane] = A::from_f64(factor);
            let row = first + lane;
            // Both parts are positive: nothing cancels.
            to.entropy.row(row)[0] = A::from_f64(log - self.log[lane].to_f64() * factor);
            // The greatest weight was exp 0.
            to.maximum.row(row)[0] = inverse[lane];
            to.distance.row(row)[0] = A::from_f64(self.distance[lane].to_f64() * factor);
        }
        inverse
    }
}

/// Adds the weights of a tile to the mass of their keys.
#[inline(always)]
fn add_columns<S: Simd, T: Storage, const NQ: usize, const NK: usize, const ND: usize>(
    simd: S,
    scores: &TileScores<'_, T, NQ, NK, ND>,
    inverse: &[T::Acc; TILE],
    columns: &mut [T::Acc],
) {
    let factors = load_lanes::<S, T::Acc, NQ>(simd, inverse);
    for ((&key, &mask), e) in scores.shared.keys.iter().zip(&scores.shared.masks).zip(scores.of_shared.lanes()) {
        let mut p = load_lanes::<S, T::Acc, NQ>(simd, e);
        for n in 0..NQ {
            p[n] *= factors[n];
        }
        // NaN in a query reaches the keys that it attends to, and no others.
        cover::<S, T::Acc, NQ>(simd, &mut p, mask, T::Acc::default());
        let mut sum = p[0];
        for n in 1..NQ {
            sum += p[n];
        }
        columns[key as usize] += sum.reduce_sum();
    }
    if scores.lanes.longest() == 0 {
        return;
    }
    for lane in 0..scores.lanes.count() {
        let factor = inverse[lane];
        let mut at = 0;
        while let Some(keys) = scores.lanes.part::<ND>(lane, at) {
            for (&key, &e) in keys.iter().zip(&scores.of_rows[lane * scores.stride + at..]) {
                columns[key as usize] += e * factor;
            }
            at += ND;
        }
    }
}
