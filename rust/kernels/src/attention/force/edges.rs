//! The edges of one near point: distances, scores and their gradients, a native vector of edges at a time.

use crate::attention::buffers::padded;
use crate::attention::element::Accumulator;
use crate::attention::micro::{add_rows, dot, scale_row};
use crate::attention::problem::View;
use crate::memory::{self, OrLeave};
use fearless_simd::{Simd, prelude::*};

/// Native vectors of columns that are summed at a time.
const COLUMNS: usize = 4;

/// Constants of a head, and what the near point has.
#[derive(Clone, Copy)]
pub(super) struct EdgeHead<A> {
    pub(super) strength: A,
    pub(super) rate: A,
    /// 1 where the near point is the query, else −1.
    pub(super) sign: A,
    pub(super) shift: A,
}

/// Sums over the edges of a near point and a head.
pub(super) struct EdgeSums<A> {
    pub(super) shift: A,
    pub(super) strength: A,
    pub(super) rate: A,
}

/// Scratch of a task. Lists of values have zeros behind the last edge, up to a whole vector.
#[derive(Default)]
pub(super) struct Edges<A> {
    pub(super) far: Vec<u32>,
    pub(super) numbers: Vec<usize>,
    starts: Vec<usize>,
    distance: Vec<A>,
    /// 1 / (distance + eps).
    inverse: Vec<A>,
    /// Shifts of the far points.
    pub(super) shift: Vec<A>,
    pub(super) dots: Vec<A>,
    /// What a score gains by a near shift of 1.
    slope: Vec<A>,
    /// Scores by a strength of 1.
    force: Vec<A>,
    /// Scores, then weights.
    score: Vec<A>,
    /// Gradients of weights, then of scores.
    pub(super) given: Vec<A>,
    pub(super) lse: Vec<A>,
    pub(super) delta: Vec<A>,
    /// Gradients of distances.
    pull: Vec<A>,
    /// A row of columns.
    pub(super) sum: Vec<A>,
}

impl<A: Accumulator> Edges<A> {
    /// Zeros for as many edges as are listed.
    #[inline(never)]
    pub(super) fn clear(&mut self) {
        let n = padded(self.far.len());
        for list in [
            &mut self.distance,
            &mut self.inverse,
            &mut self.shift,
            &mut self.dots,
            &mut self.slope,
            &mut self.force,
            &mut self.score,
            &mut self.given,
            &mut self.lse,
            &mut self.delta,
            &mut self.pull,
        ] {
            list.clear();
            memory::resize("index_set", list, n, A::default()).or_leave();
        }
    }

    /// Where the rows of the far points start.
    #[inline(never)]
    pub(super) fn starts(&mut self, view: &View<'_, A>, batch: usize, head: usize) {
        self.starts.clear();
        memory::extend("index_set", &mut self.starts, self.far.iter().map(|&j| view.start(batch, head, j as usize)))
            .or_leave();
    }

    /// A row of zeros.
    #[inline(never)]
    fn zeros(&mut self, width: usize) {
        self.sum.clear();
        memory::resize("v", &mut self.sum, width, A::default()).or_leave();
    }

    /// Distances to the far points, whose rows [`Self::starts`] has.
    #[inline(always)]
    pub(super) fn measure<S: Simd>(&mut self, simd: S, near: &[A], data: &[A], eps: A) {
        for (distance, &start) in self.distance.iter_mut().zip(&self.starts) {
            *distance = square::<S, A>(simd, near, &data[start..][..near.len()]);
        }
        let (eps, one) = (A::N::<S>::splat(simd, eps), A::N::<S>::splat(simd, A::ONE));
        let lanes = A::N::<S>::LEN;
        for (distance, inverse) in self.distance.chunks_exact_mut(lanes).zip(self.inverse.chunks_exact_mut(lanes)) {
            let d = A::N::<S>::from_slice(simd, distance).sqrt();
            d.store_slice(distance);
            (one / (d + eps)).store_slice(inverse);
        }
    }

    /// Dot products with the far rows, into the list of dot products or into that of gradients.
    #[inline(always)]
    pub(super) fn multiply<S: Simd>(&mut self, simd: S, near: &[A], data: &[A], given: bool) {
        let products = if given { &mut self.given } else { &mut self.dots };
        for (product, &start) in products.iter_mut().zip(&self.starts) {
            *product = dot::<S, A>(simd, near, &data[start..][..near.len()]);
        }
    }

    /// Scores of a head, −∞ behind the last edge.
    #[inline(always)]
    pub(super) fn weigh<S: Simd>(&mut self, simd: S, head: EdgeHead<A>, scale: A) {
        let splat = |x| A::N::<S>::splat(simd, x);
        let (near, sign, zero) = (splat(head.shift), splat(head.sign), splat(A::default()));
        let (strength, rate, scale) = (splat(head.strength), splat(head.rate), splat(scale));
        for at in (0..self.score.len()).step_by(A::N::<S>::LEN) {
            let of = |list: &[A]| A::N::<S>::from_slice(simd, &list[at..at + A::N::<S>::LEN]);
            let decline = A::exp_native(simd, zero - of(&self.distance) * rate);
            let slope = of(&self.inverse) * decline;
            let force = (near - of(&self.shift)) * sign * slope;
            let score = force.mul_add(strength, of(&self.dots) * scale);
            let to = at..at + A::N::<S>::LEN;
            slope.store_slice(&mut self.slope[to.clone()]);
            force.store_slice(&mut self.force[to.clone()]);
            score.store_slice(&mut self.score[to]);
        }
        self.score[self.far.len()..].fill(A::NEG_INFINITY);
    }

    /// The output, in [`Self::sum`], and the log-sum-exp, over the far rows.
    #[inline(always)]
    pub(super) fn attend<S: Simd>(&mut self, simd: S, data: &[A], width: usize) -> A {
        let lanes = A::N::<S>::LEN;
        self.zeros(width);
        let (mut tops, mut sum) = (A::N::<S>::splat(simd, A::NEG_INFINITY), A::N::<S>::splat(simd, A::default()));
        for score in self.score.chunks_exact(lanes) {
            tops = tops.max(A::N::<S>::from_slice(simd, score));
        }
        let top = tops.reduce_max();
        let tops = A::N::<S>::splat(simd, top);
        for score in self.score.chunks_exact_mut(lanes) {
            let weight = A::exp_native(simd, A::N::<S>::from_slice(simd, score) - tops);
            weight.store_slice(score);
            sum += weight;
        }
        let sum = sum.reduce_sum();
        self.add(simd, false, data);
        scale_row::<S, A>(simd, &mut self.sum, A::from_f64(1.0 / sum.to_f64()));
        top + A::from_f64(sum.to_f64().ln())
    }

    /// Weights from the log-sum-exp, and gradients of scores from those of weights; what they sum to, by head.
    #[inline(always)]
    pub(super) fn differentiate<S: Simd>(&mut self, simd: S, head: EdgeHead<A>) -> EdgeSums<A> {
        let splat = |x| A::N::<S>::splat(simd, x);
        let (strength, rate) = (splat(head.strength), splat(head.rate));
        let [mut shifts, mut strengths, mut rates] = [splat(A::default()); 3];
        for at in (0..self.score.len()).step_by(A::N::<S>::LEN) {
            let to = at..at + A::N::<S>::LEN;
            let of = |list: &[A]| A::N::<S>::from_slice(simd, &list[at..at + A::N::<S>::LEN]);
            let weight = A::exp_native(simd, of(&self.score) - of(&self.lse));
            let given = weight * (of(&self.given) - of(&self.delta));
            let by_strength = given * of(&self.force);
            let by_score = by_strength * strength;
            shifts += given * strength * of(&self.slope);
            strengths += by_strength;
            rates += by_score * of(&self.distance);
            let pull = of(&self.pull) - by_score * (of(&self.inverse) + rate);
            weight.store_slice(&mut self.score[to.clone()]);
            given.store_slice(&mut self.given[to.clone()]);
            pull.store_slice(&mut self.pull[to]);
        }
        EdgeSums {
            shift: shifts.reduce_sum() * head.sign,
            strength: strengths.reduce_sum(),
            rate: (splat(A::default()) - rates).reduce_sum(),
        }
    }

    /// Sums the far rows by weights, or by gradients of scores with a factor, in [`Self::sum`].
    #[inline(always)]
    pub(super) fn gather<S: Simd>(&mut self, simd: S, data: &[A], width: usize, factor: Option<A>) {
        self.zeros(width);
        self.add(simd, factor.is_some(), data);
        if let Some(factor) = factor {
            scale_row::<S, A>(simd, &mut self.sum, factor);
        }
    }

    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, given: bool, data: &[A]) {
        let weights = if given { &self.given } else { &self.score };
        add_rows::<S, A, COLUMNS>(simd, &mut self.sum, &weights[..self.starts.len()], data, &self.starts);
    }

    /// The gradient of the near point, in [`Self::sum`]: by unit vectors from the far points, 0 from one in its place.
    #[inline(always)]
    pub(super) fn spread<S: Simd>(&mut self, simd: S, near: &[A], data: &[A]) {
        let (lanes, zero) = (A::N::<S>::LEN, A::N::<S>::splat(simd, A::default()));
        self.zeros(near.len());
        for (pull, distance) in self.pull.chunks_exact_mut(lanes).zip(self.distance.chunks_exact(lanes)) {
            let d = A::N::<S>::from_slice(simd, distance);
            d.simd_eq(zero).select(zero, A::N::<S>::from_slice(simd, pull) / d).store_slice(pull);
        }
        for (&pull, &start) in self.pull.iter().zip(&self.starts) {
            let (pull, far) = (A::N::<S>::splat(simd, pull), &data[start..][..near.len()]);
            let columns = near.chunks_exact(lanes).zip(far.chunks_exact(lanes));
            for (sum, (x, y)) in self.sum.chunks_exact_mut(lanes).zip(columns) {
                let away = A::N::<S>::from_slice(simd, x) - A::N::<S>::from_slice(simd, y);
                away.mul_add(pull, A::N::<S>::from_slice(simd, sum)).store_slice(sum);
            }
        }
    }
}

/// The squared distance of two equally wide rows.
#[inline(always)]
fn square<S: Simd, A: Accumulator>(simd: S, x: &[A], y: &[A]) -> A {
    let lanes = A::N::<S>::LEN;
    let mut sum = A::N::<S>::splat(simd, A::default());
    for (x, y) in x.chunks_exact(lanes).zip(y.chunks_exact(lanes)) {
        let away = A::N::<S>::from_slice(simd, x) - A::N::<S>::from_slice(simd, y);
        sum = away.mul_add(away, sum);
    }
    sum.reduce_sum()
}
