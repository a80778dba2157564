//! Where the queries of a tile stand among the keys.

use crate::attention::element::Accumulator;
use crate::plan::{Planned, TILE};

/// The positions of a tile's lanes, as distances from that of the first one: exact in `f32`, too, for near keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Positions<A> {
    origin: f64,
    pub(crate) lanes: [A; TILE],
}

impl<A: Accumulator> Positions<A> {
    /// Query i stands at key `first + i`.
    #[inline(always)]
    pub(crate) fn new(plan: Planned<'_>, tile: usize, first: i64) -> Self {
        let place = |lane: usize| (plan.query(tile, lane) as i64 + first) as f64;
        let origin = place(0);
        let mut lanes = [A::default(); TILE];
        for (lane, x) in lanes.iter_mut().enumerate().take(plan.lanes(tile)) {
            *x = A::from_f64(place(lane) - origin);
        }
        Self { origin, lanes }
    }

    /// A key on the scale of the lanes.
    #[inline(always)]
    pub(crate) fn of_key(&self, key: u32) -> A {
        A::from_f64(f64::from(key) - self.origin)
    }

    /// Writes the distances of some keys from a lane.
    #[inline(always)]
    pub(crate) fn distances(&self, lane: usize, keys: &[u32], to: &mut [A]) {
        let place = self.origin + self.lanes[lane].to_f64();
        for (to, &key) in to.iter_mut().zip(keys) {
            *to = A::from_f64((f64::from(key) - place).abs());
        }
    }
}
