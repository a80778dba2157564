//! Rows inside of one slice.

use std::ops::Range;

/// Equally wide rows inside of one slice, by their first elements.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) starts: &'a [usize],
}

impl<T> Rows<'_, T> {
    /// Some of the rows.
    #[inline(always)]
    pub(crate) fn range(self, range: Range<usize>) -> Self {
        Self { data: self.data, starts: &self.starts[range] }
    }
}
