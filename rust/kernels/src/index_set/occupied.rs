//! Which blocks of queries and keys hold edges, and which are full.

use super::convert::rows_in_parallel;
use super::set::{Form, IndexSet};
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::interrupt;
use crate::memory::{self, OrLeave};
use std::ops::Range;

/// Blocks that hold edges, row by row of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// Starts of the rows of blocks.
    pub indptr: Vec<i64>,
    /// Which block of keys, increasing within a row.
    pub columns: Vec<i32>,
    /// Whether every pair of the block is an edge; never for a block that the ends cut off.
    pub full: Vec<bool>,
}

impl IndexSet {
    /// The blocks of `size[0]` queries by `size[1]` keys that hold pairs, in time linear in the pairs, or in the runs and
    /// the blocks that they cross.
    pub fn occupied(&self, size: [usize; 2], executor: &dyn Executor) -> Result<Occupied> {
        if let Some(&size) = size.iter().find(|&&size| size == 0 || size > i32::MAX as usize) {
            return Err(KernelError::value("block_size", size, "1 to 2^31 - 1"));
        }
        let [queries, keys] = size;
        let (indptr, blocks) = rows_in_parallel(self.n_queries.div_ceil(queries), executor, |row, out| {
            let mut edges = memory::zeros::<usize>("block_size", self.n_keys.div_ceil(keys)).or_leave();
            for query in self.queries_of(row, queries) {
                interrupt::check_each(query, 16);
                self.for_each_part(query, keys, |block, within| edges[block] += within.len());
            }
            let held = edges.iter().enumerate().filter(|&(_, &edges)| edges > 0);
            out.extend(held.map(|(column, &edges)| (column as i32, edges == queries * keys)));
        })?;
        let columns = memory::collected("block_size", blocks.iter().map(|block| block.0))?;
        let full = memory::collected("block_size", blocks.iter().map(|block| block.1))?;
        Ok(Occupied { indptr, columns, full })
    }

    /// The [`occupied`](Self::occupied) blocks, and the edges of those that are not full, a bit for each pair: block
    /// after block, query after query in rows of `size[1].div_ceil(8)` bytes, the first key in the lowest bit of the
    /// first byte.
    pub fn occupied_with_bits(&self, size: [usize; 2], executor: &dyn Executor) -> Result<(Occupied, Vec<u8>)> {
        let blocks = self.occupied(size, executor)?;
        let [queries, keys] = size;
        let width = keys.div_ceil(8);
        let partial = |span: Range<usize>| span.filter(|&at| !blocks.full[at]);
        let count = partial(0..blocks.full.len()).count();
        let mut bits = memory::zeros("block_size", memory::product::<u8>("block_size", &[count, queries, width])?)?;
        let mut pieces = memory::with_capacity("block_size", blocks.indptr.len() - 1)?;
        let mut rest = &mut bits[..];
        for ends in blocks.indptr.windows(2) {
            let span = ends[0] as usize..ends[1] as usize;
            let (piece, tail) = rest.split_at_mut(partial(span.clone()).count() * queries * width);
            pieces.push((span, piece));
            rest = tail;
        }
        for_each_chunk(executor, &mut pieces, 1, |row, piece| {
            let (span, bits) = &mut piece[0];
            // Which block of the piece each column is; a full or empty one has none.
            let mut slots = memory::filled("block_size", None, self.n_keys.div_ceil(keys)).or_leave();
            partial(span.clone()).enumerate().for_each(|(slot, at)| slots[blocks.columns[at] as usize] = Some(slot));
            for query in self.queries_of(row, queries) {
                interrupt::check_each(query, 16);
                self.for_each_part(query, keys, |block, within| {
                    if let Some(slot) = slots[block] {
                        let start = (slot * queries + query % queries) * width;
                        within.for_each(|key| bits[start + key / 8] |= 1 << (key % 8));
                    }
                });
            }
        });
        Ok((blocks, bits))
    }

    /// The queries of a row of blocks.
    fn queries_of(&self, row: usize, queries: usize) -> Range<usize> {
        row * queries..((row + 1) * queries).min(self.n_queries)
    }

    /// Visits the keys of a query as parts of blocks of `keys` keys, each with its block and its range within it.
    #[inline]
    fn for_each_part(&self, query: usize, keys: usize, mut visit: impl FnMut(usize, Range<usize>)) {
        if let Form::Runs { .. } = &self.form {
            for &run in self.runs(query) {
                let [first, end] = run.map(|key| key as usize);
                for block in first / keys..end.div_ceil(keys) {
                    let start = block * keys;
                    visit(block, first.max(start) - start..end.min(start + keys) - start);
                }
            }
        } else {
            for key in self.row(query) {
                let (block, within) = (key as usize / keys, key as usize % keys);
                visit(block, within..within + 1);
            }
        }
    }
}
