//! What the two sweeps are of.

use super::task::QueryTask;
use crate::attention::element::Storage;
use crate::attention::head::HeadContext;
use crate::attention::problem::{Problem, View};
use crate::plan::{Chunks, Planned};
use crate::simd::Level;

/// What is differentiated: output and lse, or statistics of the weights, in which values have no part.
pub(in crate::attention) trait Pass<'p, T: Storage>: Copy + Sync {
    /// Whether the first sweep may run in rounds.
    const ROUNDS: bool;

    /// The output gradients that values gather, if values have a gradient.
    fn douts(&self) -> Option<View<'p, T>>;

    /// The first sweep of one task.
    fn sweep_queries(&self, part: QueryPart<'_, '_, T>, level: Level);
}

/// What every pass hands to its first sweep.
pub(in crate::attention) struct QueryPart<'a, 'o, T: Storage> {
    pub(super) task: &'a mut QueryTask<'o, T>,
    pub(super) problem: &'a Problem<'a, T>,
    pub(super) plan: Planned<'a>,
    pub(super) chunks: &'a Chunks,
    pub(super) heads: &'a [HeadContext<T::Acc>],
}
