//! Biases of edges that are read where they lie, for rows that are one run of keys each.

use super::buffers::Aligned;
use super::element::{Accumulator, Storage};
use super::gathered_rows::GatheredRows;
use super::micro::transpose;
use super::problem::Problem;
use crate::plan::{EdgeRows, Planned, TILE, TileKeys};
use fearless_simd::Simd;

/// The biases of a tile's edges.
#[derive(Debug)]
pub(crate) struct EdgeLanes<'p, A> {
    rows: Option<&'p EdgeRows>,
    values: &'p [A],
    /// By lane, the number of an edge less its key.
    at: [i64; TILE],
    /// The biases of a block's keys, by lane.
    block: Aligned<A>,
}

impl<'p, A: Accumulator> EdgeLanes<'p, A> {
    pub(crate) fn new<T: Storage<Acc = A>>(problem: &Problem<'p, T>, plan: Planned<'p>) -> Self {
        Self {
            rows: plan.edge_rows,
            values: problem.edge_bias.map_or(&[], |bias| bias.values),
            at: [0; TILE],
            block: Aligned::zeros(0),
        }
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

    /// Reads the biases of a block's keys by lane; those of pairs that are no edge are arbitrary.
    ///
    /// A function of its own for each level: it is no part of the code of every width.
    #[inline(never)]
    pub(crate) fn fill<S: Simd>(&mut self, simd: S, head: usize, block: &TileKeys) {
        simd.vectorize(
            #[inline(always)]
            || self.read(simd, head, block),
        );
    }

    #[inline(always)]
    fn read<S: Simd>(&mut self, simd: S, head: usize, block: &TileKeys) {
        if self.block.len() < block.keys.len() * TILE {
            self.block = Aligned::zeros(block.keys.len() * TILE);
        }
        let mut starts = [0; TILE];
        for first in (0..block.keys.len()).step_by(TILE) {
            let of = first..(first + TILE).min(block.keys.len());
            let keys = &block.keys[of.clone()];
            for lane in 0..TILE {
                // Of keys before a row it may be below 0; then it is beyond the values.
                starts[lane] = (head as i64 + self.at[lane] + i64::from(keys[0])) as usize;
            }
            let inside = |&start: &usize| start <= self.values.len().saturating_sub(TILE);
            // Keys increase but for those that pad the block, which repeat the last one.
            let padded = keys.len() < TILE || keys[TILE - 2] == keys[TILE - 1];
            let together = !padded && (keys[TILE - 1] - keys[0]) as usize == TILE - 1;
            let out = &mut self.block.lanes_mut()[of.clone()];
            if together && self.values.len() >= TILE && starts.iter().all(inside) {
                transpose(simd, GatheredRows { data: self.values, starts: &starts }, A::ONE, out);
                continue;
            }
            for ((&key, mask), out) in keys.iter().zip(&block.masks[of]).zip(out) {
                for (lane, x) in out.iter_mut().enumerate().filter(|(lane, _)| mask >> lane & 1 == 1) {
                    *x = self.values[head + (self.at[lane] + i64::from(key)) as usize];
                }
            }
        }
    }

    /// What was read last, by key.
    #[inline(always)]
    pub(crate) fn lanes(&self) -> &[[A; TILE]] {
        self.block.lanes()
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
