//! Biases by distance: tables that vectors are read from, and where queries and keys stand.

use super::element::{Accumulator, Storage};
use super::modifiers::DistanceBias;
use super::problem::Problem;
use crate::error::{KernelError, Result};
use crate::memory::{self, OrLeave};
use crate::plan::{Plan, TILE};

impl<T: Storage> Problem<'_, T> {
    /// Refuses modifiers that do not fit the sizes.
    pub(super) fn check_modifiers(&self) -> Result<()> {
        let ([_, heads, n_queries, _], n_keys) = (self.q.shape, self.k.shape[2]);
        if let Some(cap) = self.modifiers.soft_cap
            && !(cap.is_finite() && cap > 0.0)
        {
            return Err(KernelError::value("soft_cap", cap, "a finite number above 0"));
        }
        if let Some(sinks) = self.modifiers.sinks
            && sinks.len() != heads
        {
            return Err(KernelError::shape("sinks", format!("{} values", sinks.len()), format!("({heads},)")));
        }
        if let Some(bias) = &self.modifiers.distances {
            let length = bias.length();
            if length == 0 || ![1, heads].contains(&bias.heads) || bias.values.len() != bias.heads * length {
                let given = format!("{} values for {} heads", bias.values.len(), bias.heads);
                return Err(KernelError::shape("distances", given, format!("({heads} or 1, at least 1)")));
            }
            if let Some((queries, keys)) = bias.places
                && (queries.len(), keys.len()) != (n_queries, n_keys)
            {
                let given = format!("{} and {}", queries.len(), keys.len());
                return Err(KernelError::shape("places", given, format!("{n_queries} queries and {n_keys} keys")));
            }
        }
        Ok(())
    }

    /// Refuses modifiers, for what has none.
    pub(super) fn check_unmodified(&self, what: &str) -> Result<()> {
        if self.modifiers.is_empty() {
            return Ok(());
        }
        Err(KernelError::value("modifiers", "modifiers of scores", format!("none {what}")))
    }

    /// Refuses what the GPU's kernels do not have.
    pub(super) fn check_without_tables(&self) -> Result<()> {
        if self.modifiers.distances.is_none() && self.modifiers.sinks.is_none() {
            return Ok(());
        }
        Err(KernelError::value("modifiers", "a table of distances or sinks", "a soft cap alone on the GPU"))
    }
}

/// One head's table of distances. Its ends are repeated, so that the entries of 16 queries in a row, of whatever key,
/// lie in a row.
#[derive(Debug)]
pub(crate) struct Distances<A> {
    padded: Vec<A>,
    origin: i64,
}

impl<A: Accumulator> Distances<A> {
    pub(crate) fn new(bias: &DistanceBias<'_, A>, head: usize) -> Self {
        let (values, length) = (bias.row(head), bias.length());
        let entry = |at: usize| values[at.saturating_sub(TILE - 1).min(length - 1)];
        let padded = memory::collected("distances", (0..Self::padded(length)).map(entry)).or_leave();
        Self { padded, origin: bias.origin }
    }

    /// Entries of a padded table.
    pub(crate) fn padded(length: usize) -> usize {
        length + 2 * (TILE - 1)
    }

    /// Where the entries of queries begin that stand in a row, the first of them `distance` beyond a key.
    #[inline(always)]
    pub(crate) fn start(&self, distance: i64) -> usize {
        let pad = TILE as i64 - 1;
        // The last place from which a whole vector can be read.
        let last = self.padded.len() as i64 - TILE as i64;
        (distance + self.origin + pad).clamp(0, last) as usize
    }

    /// The entry of one query.
    #[inline(always)]
    pub(crate) fn one(&self, distance: i64) -> A {
        self.padded[self.start(distance)]
    }

    /// The entries of queries that stand in a row.
    #[inline(always)]
    pub(crate) fn row(&self, distance: i64) -> &[A; TILE] {
        let (rows, _) = self.padded[self.start(distance)..].as_chunks::<TILE>();
        &rows[0]
    }

    /// Adds the gradient of a padded table to that of the table.
    pub(crate) fn fold(padded: &[A], to: &mut [A]) {
        let last = to.len() - 1;
        for (at, &x) in padded.iter().enumerate() {
            to[at.saturating_sub(TILE - 1).min(last)] += x;
        }
    }
}

/// Where a tile's queries stand, as biases by distance count.
#[derive(Debug)]
pub(crate) struct TilePlaces<'p> {
    keys: Option<&'p [i32]>,
    queries: Option<&'p [i32]>,
    used: bool,
    at: [i64; TILE],
    /// Whether they stand in a row.
    in_a_row: bool,
}

impl<'p> TilePlaces<'p> {
    pub(crate) fn new<T: Storage>(problem: &Problem<'p, T>) -> Self {
        let distances = &problem.modifiers.distances;
        let places = distances.as_ref().and_then(|bias| bias.places);
        Self {
            keys: places.map(|(_, keys)| keys),
            queries: places.map(|(queries, _)| queries),
            used: distances.is_some(),
            at: [0; TILE],
            in_a_row: true,
        }
    }

    /// Reads the places of a tile's queries.
    #[inline(always)]
    pub(crate) fn select(&mut self, plan: &Plan, tile: usize) {
        if !self.used {
            return;
        }
        for lane in 0..plan.lanes(tile) {
            self.at[lane] = self.query(plan.query(tile, lane));
        }
        // Lanes without a query read whatever is there.
        for lane in plan.lanes(tile)..TILE {
            self.at[lane] = self.at[0] + lane as i64;
        }
        self.in_a_row = (0..TILE).all(|lane| self.at[lane] == self.at[0] + lane as i64);
    }

    #[inline(always)]
    pub(crate) fn query(&self, query: usize) -> i64 {
        self.queries.map_or(query as i64, |places| i64::from(places[query]))
    }

    #[inline(always)]
    pub(crate) fn key(&self, key: u32) -> i64 {
        self.keys.map_or(i64::from(key), |places| i64::from(places[key as usize]))
    }

    /// The distance of one lane's query from a key.
    #[inline(always)]
    pub(crate) fn distance(&self, lane: usize, key: u32) -> i64 {
        self.at[lane] - self.key(key)
    }

    /// The bias of a key by lane.
    #[inline(always)]
    pub(crate) fn biases<A: Accumulator>(&self, table: &Distances<A>, key: u32) -> [A; TILE] {
        let key = self.key(key);
        if self.in_a_row {
            return *table.row(self.at[0] - key);
        }
        let mut lanes = [A::default(); TILE];
        for lane in 0..TILE {
            lanes[lane] = table.one(self.at[lane] - key);
        }
        lanes
    }

    /// Adds ds of a key by lane to the gradient of a padded table.
    #[inline(never)]
    pub(crate) fn add<A: Accumulator>(&self, table: &Distances<A>, key: u32, ds: &[A; TILE], to: &mut [A]) {
        let key = self.key(key);
        if self.in_a_row {
            let to = &mut to[table.start(self.at[0] - key)..][..TILE];
            for lane in 0..TILE {
                to[lane] += ds[lane];
            }
            return;
        }
        for lane in 0..TILE {
            to[table.start(self.at[lane] - key)] += ds[lane];
        }
    }
}
