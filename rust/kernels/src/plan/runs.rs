//! The plan of rows of runs, made without listing the rows.
//!
//! The runs of a tile's queries begin and end at a few places; between two of them every key has the same users. The
//! keys of such a piece go where listed keys with these users go, and a piece in the tile is one entry, unless it is
//! short. Only a piece of [`LONG`] keys or more always joins the tile, as listing its keys would cost more than idle
//! lanes.

use super::listed::Listed;
use super::tile::{FEW, RUN, THRESHOLD, push_run};
use crate::error::Result;
use crate::executor::Executor;
use crate::index_set::KeyRun;
use crate::memory::{self, OrLeave};

/// Keys of a piece that is not listed for the few queries that use it: 4 KiB for each of them.
const LONG: usize = 1024;

/// Scratch of one task.
#[derive(Default)]
struct Pieces {
    /// Where runs begin and end, with the bit of the lane, which flips there.
    flips: Vec<(i32, u16)>,
    /// `[first, end)` with its users, increasing.
    pieces: Vec<(KeyRun, u16)>,
}

/// Plans rows of runs.
pub(super) fn plan(indptr: &[i64], runs: &[KeyRun], order: Option<&[u32]>, executor: &dyn Executor) -> Result<Listed> {
    Listed::in_parallel(indptr.len() - 1, executor, Pieces::default, |scratch, positions, plan| {
        let rows = positions
            .map(|at| order.map_or(at, |o| o[at] as usize))
            .map(|query| &runs[indptr[query] as usize..indptr[query + 1] as usize]);
        let lanes = scratch.cut(rows).or_leave();
        scratch.tile(lanes, plan).or_leave();
    })
}

impl Pieces {
    /// Cuts the keys of a tile into pieces of one mask; returns the number of rows.
    fn cut<'a>(&mut self, rows: impl Iterator<Item = &'a [KeyRun]>) -> Result<usize> {
        self.flips.clear();
        let mut lanes = 0;
        for (lane, row) in rows.enumerate() {
            memory::reserve("index_set", &mut self.flips, 2 * row.len())?;
            self.flips.extend(row.iter().flatten().map(|&place| (place, 1 << lane)));
            lanes = lane + 1;
        }
        self.flips.sort_unstable();
        self.pieces.clear();
        memory::reserve("index_set", &mut self.pieces, self.flips.len())?;
        let (mut from, mut users) = (0, 0);
        for &(place, lane) in &self.flips {
            if users != 0 && from < place {
                self.pieces.push(([from, place], users));
            }
            (from, users) = (place, users ^ lane);
        }
        Ok(lanes)
    }

    fn tile(&self, lanes: usize, plan: &mut Listed) -> Result<()> {
        let length = |run: &KeyRun| (run[1] - run[0]) as usize;
        let alone = |(run, users): &(KeyRun, u16)| length(run) < LONG && users.count_ones() < THRESHOLD;
        let left: usize = self.pieces.iter().filter(|piece| alone(piece)).map(|(run, _)| length(run)).sum();
        let in_rows = |piece: &(KeyRun, u16)| left > FEW && alone(piece);
        for &(run, users) in self.pieces.iter().filter(|piece| !in_rows(piece)) {
            memory::reserve("index_set", &mut plan.keys, RUN)?;
            memory::reserve("index_set", &mut plan.masks, RUN)?;
            if length(&run) >= RUN {
                push_run(run[0] as u32, length(&run) as u32, users, &mut plan.keys, &mut plan.masks);
            } else {
                plan.keys.extend((run[0]..run[1]).map(|key| key as u32));
                plan.masks.resize(plan.keys.len(), users);
            }
        }
        plan.tile_ptr.push(plan.keys.len());
        for lane in 0..lanes {
            for &(run, users) in self.pieces.iter().filter(|piece| in_rows(piece)) {
                if users >> lane & 1 == 1 {
                    memory::extend("index_set", &mut plan.row_keys, (run[0]..run[1]).map(|key| key as u32))?;
                }
            }
            plan.row_ptr.push(plan.row_keys.len());
        }
        Ok(())
    }
}
