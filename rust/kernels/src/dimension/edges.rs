//! Sparse matrices: the cells that there are, row by row, with values in the same order.

use crate::error::{KernelError, Result};

/// Columns of every row, increasing, in compressed rows.
#[derive(Clone, Copy, Debug)]
pub struct Edges<'a> {
    starts: &'a [i64],
    keys: &'a [i32],
}

impl<'a> Edges<'a> {
    /// Rows begin at `starts`, one more than rows; their `keys` are increasing and below `columns`.
    pub fn new(starts: &'a [i64], keys: &'a [i32], columns: usize) -> Result<Self> {
        let whole = starts.first() == Some(&0) && starts.last().copied() == i64::try_from(keys.len()).ok();
        if !whole || starts.windows(2).any(|pair| pair[0] > pair[1]) || u32::try_from(keys.len()).is_err() {
            let given = format!("{} starts of rows over {} keys", starts.len(), keys.len());
            return Err(KernelError::value("support", given, "starts from 0 to the number of keys, below 2^32"));
        }
        let edges = Self { starts, keys };
        let ordered =
            |row: &[i32]| row.first().is_none_or(|&key| key >= 0) && row.windows(2).all(|two| two[0] < two[1]);
        let inside = |row: &[i32]| row.last().is_none_or(|&key| (key as usize) < columns);
        match (0..edges.rows()).find(|&i| !ordered(edges.row(i)) || !inside(edges.row(i))) {
            Some(row) => {
                Err(KernelError::value("support", format!("row {row}"), format!("increasing keys below {columns}")))
            }
            None => Ok(edges),
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many cells there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Where a row's cells are.
    pub fn span(&self, row: usize) -> std::ops::Range<usize> {
        self.starts[row] as usize..self.starts[row + 1] as usize
    }

    /// The columns of a row.
    pub fn row(&self, row: usize) -> &'a [i32] {
        &self.keys[self.span(row)]
    }

    /// Row and column of a cell.
    pub fn place(&self, cell: usize) -> [usize; 2] {
        [self.starts.partition_point(|&start| start as usize <= cell) - 1, self.keys[cell] as usize]
    }
}
