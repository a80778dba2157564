//! Biases of edges that are read where they lie, for rows that are one run of keys each.

use super::element::{Accumulator, Storage};
use super::problem::Problem;
use crate::plan::{EdgeRows, Planned, TILE};

/// The biases of a tile's edges.
#[derive(Debug)]
pub(crate) struct EdgeLanes<'p, A> {
    rows: Option<&'p EdgeRows>,
    values: &'p [A],
    /// By lane, the number of an edge less its key.
    at: [i64; TILE],
}

impl<'p, A: Accumulator> EdgeLanes<'p, A> {
    pub(crate) fn new<T: Storage<Acc = A>>(problem: &Problem<'p, T>, plan: Planned<'p>) -> Self {
        Self { rows: plan.edge_rows, values: problem.edge_bias.map_or(&[], |bias| bias.values), at: [0; TILE] }
    }

    /// Reads where the rows of a tile's queries begin.
    #[inline(always)]
    pub(crate) fn select(&mut self, plan: Planned<'_>, tile: usize) {
        let Some(rows) = self.rows else { return };
        for lane in 0..plan.lanes(tile) {
            self.at[lane] = rows.start(plan.query(tile, lane));
        }
        // Lanes without a query read what another one does.
        for lane in plan.lanes(tile)..TILE {
            self.at[lane] = self.at[0];
        }
    }

    /// The bias of one edge of the head whose biases begin at `head`.
    #[inline(always)]
    pub(crate) fn one(&self, head: usize, lane: usize, key: u32) -> A {
        self.values[head + self.number(lane, key)]
    }

    /// The number of an edge.
    #[inline(always)]
    pub(crate) fn number(&self, lane: usize, key: u32) -> usize {
        (self.at[lane] + i64::from(key)) as usize
    }

    /// The biases of some keys by lane; those of pairs that are no edge are arbitrary. Copies alone: it is no part of the
    /// vector code of every level and width.
    #[inline(never)]
    pub(crate) fn biases<const NK: usize>(&self, head: usize, keys: &[u32; NK], masks: &[u16; NK]) -> [[A; TILE]; NK] {
        let mut lanes = [[A::default(); TILE]; NK];
        if in_a_row(keys) {
            for lane in 0..TILE {
                let first = head as i64 + self.at[lane] + i64::from(keys[0]);
                let row = usize::try_from(first).ok().and_then(|first| self.values.get(first..first + NK));
                let Some(row) = row.and_then(|row| <&[A; NK]>::try_from(row).ok()) else {
                    self.column(head, keys, masks, lane, &mut lanes);
                    continue;
                };
                for i in 0..NK {
                    lanes[i][lane] = row[i];
                }
            }
        } else {
            for lane in 0..TILE {
                self.column(head, keys, masks, lane, &mut lanes);
            }
        }
        lanes
    }

    /// The biases of one lane, edge by edge.
    fn column<const NK: usize>(
        &self,
        head: usize,
        keys: &[u32; NK],
        masks: &[u16; NK],
        lane: usize,
        lanes: &mut [[A; TILE]; NK],
    ) {
        for i in 0..NK {
            if masks[i] >> lane & 1 == 1 {
                lanes[i][lane] = self.one(head, lane, keys[i]);
            }
        }
    }

    /// Writes ds of some keys by lane to where their edges are, of a head's edges from `first` on.
    #[inline(never)]
    pub(crate) fn store(&self, keys: &[u32], masks: &[u16], ds: &[[A; TILE]], to: &mut [A], first: usize) {
        let all = masks.iter().all(|&mask| mask == u16::MAX);
        let together =
            keys.last().zip(keys.first()).is_some_and(|(last, first)| (last - first) as usize == keys.len() - 1);
        for lane in 0..TILE {
            if all && together {
                let to = &mut to[self.number(lane, keys[0]) - first..][..keys.len()];
                to.iter_mut().zip(ds).for_each(|(to, ds)| *to = ds[lane]);
                continue;
            }
            for ((&key, mask), ds) in keys.iter().zip(masks).zip(ds) {
                if mask >> lane & 1 == 1 {
                    to[self.number(lane, key) - first] = ds[lane];
                }
            }
        }
    }
}

#[inline(always)]
fn in_a_row<const NK: usize>(keys: &[u32; NK]) -> bool {
    keys[NK - 1].wrapping_sub(keys[0]) as usize == NK - 1
}
