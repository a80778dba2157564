//! Which blocks of queries and keys hold edges, and which are full.

use super::convert::rows_in_parallel;
use super::set::{Form, IndexSet};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::interrupt;
use crate::memory::{self, OrLeave};

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
    /// The blocks of `size[0]` queries by `size[1]` keys that hold edges, in time linear in the edges, or in the runs
    /// and the blocks that they cross.
    pub fn occupied(&self, size: [usize; 2], executor: &dyn Executor) -> Result<Occupied> {
        if let Some(&size) = size.iter().find(|&&size| size == 0 || size > i32::MAX as usize) {
            return Err(KernelError::value("block_size", size, "1 to 2^31 - 1"));
        }
        let [queries, keys] = size;
        let (indptr, blocks) = rows_in_parallel(self.n_queries.div_ceil(queries), executor, |row, out| {
            let mut edges = memory::zeros::<usize>("block_size", self.n_keys.div_ceil(keys)).or_leave();
            for query in row * queries..((row + 1) * queries).min(self.n_queries) {
                interrupt::check_each(query, 16);
                if let Form::Runs { .. } = &self.form {
                    for &run in self.runs(query) {
                        let [first, end] = run.map(|key| key as usize);
                        for (block, edges) in (first / keys..end.div_ceil(keys)).zip(&mut edges[first / keys..]) {
                            *edges += end.min((block + 1) * keys) - first.max(block * keys);
                        }
                    }
                } else {
                    self.row(query).for_each(|key| edges[key as usize / keys] += 1);
                }
            }
            let held = edges.iter().enumerate().filter(|&(_, &edges)| edges > 0);
            out.extend(held.map(|(column, &edges)| (column as i32, edges == queries * keys)));
        })?;
        let columns = memory::collected("block_size", blocks.iter().map(|block| block.0))?;
        let full = memory::collected("block_size", blocks.iter().map(|block| block.1))?;
        Ok(Occupied { indptr, columns, full })
    }
}
