//! What a task writes: some rows of each result.

use crate::error::Result;
use crate::memory;
use std::sync::Mutex;

/// Near points of one task.
pub(super) const ROWS: usize = 32;

/// Some rows of one group's results; what a pass does not write is empty.
#[derive(Default)]
pub(super) struct EdgePiece<'a, A> {
    /// Forward: `(rows, heads, Dv)`.
    pub(super) out: &'a mut [A],
    /// Forward: `(rows, heads)`.
    pub(super) lse: &'a mut [A],
    /// Gradient of the near points, `(rows, C)`.
    pub(super) points: &'a mut [A],
    /// Of the near queries or keys, `(rows, heads, D)`.
    pub(super) dots: &'a mut [A],
    /// Of the near values, `(rows, heads, Dv)`.
    pub(super) values: &'a mut [A],
    /// Of the near shifts, `(rows, heads)`.
    pub(super) shifts: &'a mut [A],
    /// Shares of the gradients of strength and rate, `(rows, heads, 2)`.
    pub(super) constants: &'a mut [A],
}

/// A result as its rows are dealt to tasks.
pub(super) struct Dealt<'a, A> {
    rest: &'a mut [A],
    width: usize,
}

impl<'a, A> Dealt<'a, A> {
    /// Of a result with rows of so many values; none where the pass does not write it.
    pub(super) fn new(rest: &'a mut [A], width: usize) -> Self {
        let width = if rest.is_empty() { 0 } else { width };
        Self { rest, width }
    }

    /// The next rows.
    pub(super) fn take(&mut self, rows: usize) -> &'a mut [A] {
        let (piece, rest) = std::mem::take(&mut self.rest).split_at_mut(rows * self.width);
        self.rest = rest;
        piece
    }
}

/// One task: its group of heads, its first near point, and what it writes.
pub(super) struct EdgeTask<'a, A> {
    pub(super) group: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) piece: Mutex<EdgePiece<'a, A>>,
}

/// The tasks of some groups, of `n` near points each.
pub(super) fn tasks<'a, A>(
    groups: std::ops::Range<usize>,
    n: usize,
    mut next: impl FnMut(usize) -> EdgePiece<'a, A>,
) -> Result<Vec<EdgeTask<'a, A>>> {
    let mut tasks = memory::with_capacity("index_set", groups.len() * n.div_ceil(ROWS))?;
    for group in groups {
        for first in (0..n).step_by(ROWS) {
            let rows = ROWS.min(n - first);
            tasks.push(EdgeTask { group, first, rows, piece: Mutex::new(next(rows)) });
        }
    }
    Ok(tasks)
}
