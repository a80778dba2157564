//! First backward sweep of the statistics, by chunks of queries: `ds = p (x − Σ p x)`, where x is the gradient of a
//! weight, up to a constant of its row.
//!
//! For entropy −Σ p log p that is −log p = log Σ e − (score − base), for the mean distance the distance, for the masses of
//! keys the gradient of the key's own. Everything but the incoming gradients is computed again from queries and keys.

use super::pass::{Pass, QueryPart};
use super::query_sweep::copy_tile;
use super::saved::StatisticsGradients;
use super::task::QueryTask;
use crate::attention::buffers::{Aligned, padded};
use crate::attention::element::{Accumulator, Storage};
use crate::attention::head::HeadContext;
use crate::attention::micro::{cover, load_lanes, store_lanes};
use crate::attention::problem::{Problem, View};
use crate::attention::statistics::{Positions, TileScores};
use crate::attention::widths::{AtWidths, at_widths};
use crate::interrupt;
use crate::plan::{Chunks, Planned, TILE};
use crate::simd::{Level, dispatch};
use fearless_simd::{Simd, prelude::*};
use std::ops::Range;

/// What one task is given.
struct StatisticsSweepArgs<'a, 'o, A: Accumulator> {
    part: QueryPart<'a, 'o, A>,
    given: &'a StatisticsGradients<'a, A>,
}

impl<'p, A: Accumulator> Pass<'p, A> for StatisticsGradients<'p, A> {
    const ROUNDS: bool = false;

    fn douts(&self) -> Option<View<'p, A>> {
        None
    }

    fn sweep_queries(&self, part: QueryPart<'_, '_, A>, level: Level) {
        let args = StatisticsSweepArgs { part, given: self };
        dispatch!(level, simd => at_widths::<_, A>(simd, args));
    }
}

impl<S: Simd, A: Accumulator> AtWidths<S> for StatisticsSweepArgs<'_, '_, A> {
    #[inline(always)]
    fn run<const NQ: usize, const FK: usize, const BK: usize, const ND: usize, const NC: usize, const DC: usize>(
        self,
        simd: S,
    ) {
        let QueryPart { task, problem, plan, chunks, heads } = self.part;
        let mut sweep = StatisticsSweep::<A, NQ, BK, ND, NC>::new(problem, plan, self.given, chunks, task.chunk);
        sweep.run(simd, task, heads);
    }
}

/// Scratch of a sweep: `NQ` vectors for a tile, `NK` keys at a time, native vectors of `ND` lanes, `NC` of them at a time.
pub(super) struct StatisticsSweep<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize> {
    pub(super) problem: &'p Problem<'p, T>,
    pub(super) plan: Planned<'p>,
    pub(super) given: &'p StatisticsGradients<'p, T::Acc>,
    pub(super) chunks: &'p Chunks,
    pub(super) own: Range<usize>,
    /// Slot in the halo of each foreign place.
    pub(super) slots: Vec<u32>,
    /// Scores, then weights, of a tile.
    pub(super) scores: TileScores<'p, T, NQ, NK, ND>,
    /// Scores below the base, then x, then ds, in the places of the scores.
    pub(super) x_shared: Aligned<T::Acc>,
    pub(super) x_rows: Aligned<T::Acc>,
    pub(super) q_rows: Aligned<T::Acc>,
    pub(super) dq: Aligned<T::Acc>,
    /// Of each lane: Σ e, then Σ p x.
    pub(super) sums: [T::Acc; TILE],
    /// Of each lane: 1 / Σ e and log Σ e, 0 where there is no key.
    pub(super) inverse: [T::Acc; TILE],
    pub(super) log: [T::Acc; TILE],
    /// Of each lane: Σ e · distance, then the mean distance. Without it, far keys would leave little of x in `f32`.
    pub(super) far: [T::Acc; TILE],
    pub(super) dentropy: [T::Acc; TILE],
    pub(super) ddistance: [T::Acc; TILE],
}

impl<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize, const NC: usize>
    StatisticsSweep<'p, T, NQ, NK, ND, NC>
{
    fn new(
        problem: &'p Problem<'p, T>,
        plan: Planned<'p>,
        given: &'p StatisticsGradients<'p, T::Acc>,
        chunks: &'p Chunks,
        chunk: usize,
    ) -> Self {
        let (width, zeros) = (padded(problem.widths().0), [T::Acc::default(); TILE]);
        Self {
            problem,
            plan,
            given,
            chunks,
            own: chunks.own[chunk].clone(),
            slots: chunks.slots(chunk, plan.n_keys()),
            scores: TileScores::new(problem, plan, true),
            x_shared: Aligned::zeros(0),
            x_rows: Aligned::zeros(0),
            q_rows: Aligned::zeros(TILE * width),
            dq: Aligned::zeros(TILE * width),
            sums: zeros,
            inverse: zeros,
            log: zeros,
            far: zeros,
            dentropy: zeros,
            ddistance: zeros,
        }
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, task: &mut QueryTask<'_, T>, heads: &[HeadContext<T::Acc>]) {
        let width = self.dq.len() / TILE;
        if task.first {
            task.own.clear();
        }
        // They are zero already, but a fresh page whose first access is a read faults again at the first write.
        task.halo.clear();
        for tile in task.tiles.clone() {
            interrupt::check();
            self.scores.read(tile);
            if self.x_shared.len() < self.scores.of_shared.len() {
                self.x_shared = Aligned::zeros(self.scores.of_shared.len());
            }
            if self.x_rows.len() < self.scores.of_rows.len() {
                self.x_rows = Aligned::zeros(self.scores.of_rows.len());
            }
            let positions = Positions::new(self.plan, tile, self.given.first_position);
            for (g, head) in heads.iter().enumerate() {
                self.scores.select(head);
                simd.vectorize(
                    #[inline(always)]
                    || {
                        self.scores.score(simd, head, tile);
                        copy_tile(self.scores.queries.rows(), &mut self.q_rows);
                    },
                );
                self.prepare(head, tile);
                let at = head.batch * self.problem.heads().1 + head.query_head;
                let dcolumns = self.given.columns.map(|x| &x[at * self.plan.n_keys()..][..self.plan.n_keys()]);
                simd.vectorize(
                    #[inline(always)]
                    || {
                        self.weigh_shared(simd, &positions);
                        self.weigh_rows(simd, &positions);
                        self.invert();
                        self.spread_shared(simd, &positions, dcolumns);
                        self.spread_rows(simd, &positions, dcolumns);
                    },
                );
                self.dq.fill(T::Acc::default());
                simd.vectorize(
                    #[inline(always)]
                    || self.add_shared(simd, task, g, tile),
                );
                if self.scores.lanes.longest() > 0 {
                    simd.vectorize(
                        #[inline(always)]
                        || self.add_row_keys(simd, task, g),
                    );
                }
                let first = (tile - task.tiles.start) * TILE;
                for lane in 0..self.plan.lanes(tile) {
                    let to = task.dq[g].row(first + lane);
                    T::narrow(&self.dq[lane * width..][..to.len()], to);
                }
            }
        }
    }

    /// Reads what a tile's rows are given.
    fn prepare(&mut self, head: &HeadContext<T::Acc>, tile: usize) {
        let first = (head.batch * self.problem.heads().1 + head.query_head) * self.plan.n_queries();
        for lane in 0..self.plan.lanes(tile) {
            let at = first + self.plan.query(tile, lane);
            self.dentropy[lane] = self.given.entropy.map_or(T::Acc::default(), |x| x[at]);
            self.ddistance[lane] = self.given.distance.map_or(T::Acc::default(), |x| x[at]);
        }
    }

    /// Turns the scores of shared keys into weights e, whose sums begin, and leaves what they lie below the base.
    #[inline(always)]
    fn weigh_shared<S: Simd>(&mut self, simd: S, positions: &Positions<T::Acc>) {
        let base = load_lanes::<S, T::Acc, NQ>(simd, &self.scores.base);
        let zero = <T::Acc as Accumulator>::V::<S>::splat(simd, T::Acc::default());
        let places = load_lanes::<S, T::Acc, NQ>(simd, &positions.lanes);
        let (mut sums, mut far) = ([zero; NQ], [zero; NQ]);
        let lanes = self.scores.of_shared.lanes_mut().iter_mut().zip(self.x_shared.lanes_mut());
        for (&key, (e, x)) in self.scores.shared.keys.iter().zip(lanes) {
            let place = <T::Acc as Accumulator>::V::<S>::splat(simd, positions.of_key(key));
            let mut s = load_lanes::<S, T::Acc, NQ>(simd, e);
            let mut below = s;
            for n in 0..NQ {
                below[n] = s[n] - base[n];
                s[n] = T::Acc::exp(simd, below[n]);
                sums[n] += s[n];
                far[n] = s[n].mul_add((place - places[n]).abs(), far[n]);
                // A hidden key lies infinitely below.
                below[n] = s[n].simd_gt(zero).select(below[n], zero);
            }
            store_lanes::<S, T::Acc, NQ>(e, s);
            store_lanes::<S, T::Acc, NQ>(x, below);
        }
        store_lanes::<S, T::Acc, NQ>(&mut self.sums, sums);
        store_lanes::<S, T::Acc, NQ>(&mut self.far, far);
    }

    /// [`Self::weigh_shared`] for row keys.
    #[inline(always)]
    fn weigh_rows<S: Simd>(&mut self, simd: S, positions: &Positions<T::Acc>) {
        if self.scores.lanes.longest() == 0 {
            return;
        }
        let zero = <T::Acc as Accumulator>::N::<S>::splat(simd, T::Acc::default());
        let mut distances = [T::Acc::default(); ND];
        for lane in 0..self.scores.lanes.count() {
            let base = <T::Acc as Accumulator>::N::<S>::splat(simd, self.scores.base[lane]);
            let (mut sum, mut far, mut at) = (zero, zero, 0);
            while let Some(keys) = self.scores.lanes.part::<ND>(lane, at) {
                positions.distances(lane, keys, &mut distances);
                let place = lane * self.scores.stride + at;
                let e = &mut self.scores.of_rows[place..][..ND];
                let below = <T::Acc as Accumulator>::N::<S>::from_slice(simd, e) - base;
                let weight = T::Acc::exp_native(simd, below);
                sum += weight;
                far = weight.mul_add(<T::Acc as Accumulator>::N::<S>::from_slice(simd, &distances), far);
                weight.store_slice(e);
                weight.simd_gt(zero).select(below, zero).store_slice(&mut self.x_rows[place..][..ND]);
                at += ND;
            }
            self.sums[lane] += sum.reduce_sum();
            self.far[lane] += far.reduce_sum();
        }
    }

    /// From the sums of e, the factor and the logarithm of each lane, and its mean distance.
    #[inline(always)]
    fn invert(&mut self) {
        for lane in 0..TILE {
            let sum = self.sums[lane].to_f64();
            let (mut log, mut factor) = (0.0, 0.0);
            if sum != 0.0 {
                (log, factor) = (sum.ln(), 1.0 / sum);
            }
            (self.log[lane], self.inverse[lane]) = (T::Acc::from_f64(log), T::Acc::from_f64(factor));
            self.far[lane] *= self.inverse[lane];
        }
        self.sums = [T::Acc::default(); TILE];
    }

    /// p and x of the shared keys, and Σ p x.
    #[inline(always)]
    fn spread_shared<S: Simd>(&mut self, simd: S, positions: &Positions<T::Acc>, dcolumns: Option<&[T::Acc]>) {
        let places = load_lanes::<S, T::Acc, NQ>(simd, &positions.lanes);
        let inverse = load_lanes::<S, T::Acc, NQ>(simd, &self.inverse);
        let log = load_lanes::<S, T::Acc, NQ>(simd, &self.log);
        let mean = load_lanes::<S, T::Acc, NQ>(simd, &self.far);
        let dentropy = load_lanes::<S, T::Acc, NQ>(simd, &self.dentropy);
        let ddistance = load_lanes::<S, T::Acc, NQ>(simd, &self.ddistance);
        let mut sums = [<T::Acc as Accumulator>::V::<S>::splat(simd, T::Acc::default()); NQ];
        let shared = &self.scores.shared;
        let keys = shared.keys.iter().zip(&shared.masks);
        let lanes = self.scores.of_shared.lanes_mut().iter_mut().zip(self.x_shared.lanes_mut());
        for ((&key, &mask), (e, x_lanes)) in keys.zip(lanes) {
            let mut p = load_lanes::<S, T::Acc, NQ>(simd, e);
            let mut x = load_lanes::<S, T::Acc, NQ>(simd, x_lanes);
            let of_key = dcolumns.map_or(T::Acc::default(), |x| x[key as usize]);
            let of_key = <T::Acc as Accumulator>::V::<S>::splat(simd, of_key);
            let place = <T::Acc as Accumulator>::V::<S>::splat(simd, positions.of_key(key));
            for n in 0..NQ {
                p[n] *= inverse[n];
                let far = (place - places[n]).abs() - mean[n];
                x[n] = dentropy[n].mul_add(log[n] - x[n], ddistance[n].mul_add(far, of_key));
            }
            // What one query, or the gradient of one key, has of NaN reaches no query that does not attend to the key.
            cover::<S, T::Acc, NQ>(simd, &mut p, mask, T::Acc::default());
            cover::<S, T::Acc, NQ>(simd, &mut x, mask, T::Acc::default());
            for n in 0..NQ {
                sums[n] = p[n].mul_add(x[n], sums[n]);
            }
            store_lanes::<S, T::Acc, NQ>(e, p);
            store_lanes::<S, T::Acc, NQ>(x_lanes, x);
        }
        store_lanes::<S, T::Acc, NQ>(&mut self.sums, sums);
    }

    /// [`Self::spread_shared`] for row keys.
    #[inline(always)]
    fn spread_rows<S: Simd>(&mut self, simd: S, positions: &Positions<T::Acc>, dcolumns: Option<&[T::Acc]>) {
        if self.scores.lanes.longest() == 0 {
            return;
        }
        let splat = |x: T::Acc| <T::Acc as Accumulator>::N::<S>::splat(simd, x);
        let (mut far, mut of_keys) = ([T::Acc::default(); ND], [T::Acc::default(); ND]);
        for lane in 0..self.scores.lanes.count() {
            let (inverse, log) = (splat(self.inverse[lane]), splat(self.log[lane]));
            let (dentropy, ddistance) = (splat(self.dentropy[lane]), splat(self.ddistance[lane]));
            let mean = splat(self.far[lane]);
            let (mut sum, mut at) = (splat(T::Acc::default()), 0);
            while let Some(keys) = self.scores.lanes.part::<ND>(lane, at) {
                let place = lane * self.scores.stride + at;
                let (e, x_lanes) = (&mut self.scores.of_rows[place..][..ND], &mut self.x_rows[place..][..ND]);
                positions.distances(lane, keys, &mut far);
                if let Some(dcolumns) = dcolumns {
                    for (x, &key) in of_keys.iter_mut().zip(keys) {
                        *x = dcolumns[key as usize];
                    }
                }
                let p = <T::Acc as Accumulator>::N::<S>::from_slice(simd, e) * inverse;
                let below = <T::Acc as Accumulator>::N::<S>::from_slice(simd, x_lanes);
                let far = <T::Acc as Accumulator>::N::<S>::from_slice(simd, &far) - mean;
                let of_keys = <T::Acc as Accumulator>::N::<S>::from_slice(simd, &of_keys);
                let x = dentropy.mul_add(log - below, ddistance.mul_add(far, of_keys));
                sum = p.mul_add(x, sum);
                p.store_slice(e);
                x.store_slice(x_lanes);
                at += ND;
            }
            self.sums[lane] += sum.reduce_sum();
        }
    }
}
