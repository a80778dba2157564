//! Rows of one slice.

use std::ops::Range;

/// Equally wide rows of one slice, by the indices of their first elements.
#[derive(Clone, Copy)]
pub(crate) struct GatheredRows<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) starts: &'a [usize],
}

impl<T> GatheredRows<'_, T> {
    /// Some of the rows.
    #[inline(always)]
    pub(crate) fn range(self, range: Range<usize>) -> Self {
        Self { data: self.data, starts: &self.starts[range] }
    }
}
