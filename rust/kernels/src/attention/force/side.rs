//! The two sides of an edge: near, whose rows a pass goes through, and far.

use crate::attention::problem::View;

/// The arrays of the queries or of the keys; rows are whole vectors.
#[derive(Clone, Copy)]
pub(super) struct PointSide<'a, A> {
    /// `e` or `r`.
    pub(super) points: View<'a, A>,
    /// `q` or `k`.
    pub(super) dots: Option<View<'a, A>>,
    /// The gradient of the output, or `v`.
    pub(super) values: View<'a, A>,
    /// `a` or `c`.
    pub(super) shifts: &'a [A],
}

impl<A> PointSide<'_, A> {
    /// Number of points.
    pub(super) fn len(&self) -> usize {
        self.points.shape[2]
    }
}
