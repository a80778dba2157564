//! Which far points each near point has edges with.

use crate::attention::call::Keys;
use crate::attention::element::Accumulator;
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::index_set::IndexSet;
use crate::memory::{self, OrLeave};
use crate::plan::{Plan, TILE};
use std::ops::Range;
use std::sync::Arc;

use super::problem::ForceProblem;

/// A transposed index set, kept with the set.
pub(super) struct ByKey(IndexSet);

/// Edges by query, or by key.
pub(super) enum PointRows<'a> {
    /// Of an index set.
    Set(&'a IndexSet),
    /// The same by key.
    Transposed(Arc<ByKey>),
    /// Of lists.
    Lists(&'a Plan),
    /// The same by key.
    ListsByKey(&'a Plan),
}

impl PointRows<'_> {
    /// The far points of a near one.
    #[inline(never)]
    pub(super) fn fill(&self, near: usize, far: &mut Vec<u32>, numbers: &mut Vec<usize>) {
        far.clear();
        match self {
            Self::Set(set) => memory::extend("index_set", far, set.row(near)).or_leave(),
            Self::Transposed(set) => memory::extend("index_set", far, set.0.row(near)).or_leave(),
            Self::Lists(plan) => {
                let mut unused = Vec::new();
                let keys = plan.row_keys(near / TILE, near % TILE, &mut unused).0;
                memory::extend("index_set", far, keys.iter().copied()).or_leave();
            }
            Self::ListsByKey(plan) => {
                numbers.clear();
                plan.transposed().of_key(near, far, numbers);
            }
        }
    }
}

/// Groups of heads, numbered across the batch, that have one set of edges.
pub(super) struct RowsPart<'a> {
    pub(super) groups: Range<usize>,
    pub(super) rows: PointRows<'a>,
}

/// The plans of lists, which live as long as the call; none for an index set.
pub(super) fn plans<A: Accumulator>(
    keys: &Keys<'_>,
    problem: &ForceProblem<'_, A>,
    executor: &dyn Executor,
) -> Result<Vec<(Range<usize>, Plan)>> {
    let ([batch, groups, _], [n, n_keys]) = (problem.heads(), problem.lengths());
    match keys {
        Keys::Set(set) => {
            let set = set.set();
            if [set.n_queries(), set.n_keys()] != [n, n_keys] {
                let given = format!("{} queries and {} keys", set.n_queries(), set.n_keys());
                return Err(KernelError::shape("index_set", given, format!("{n} and {n_keys}")));
            }
            Ok(Vec::new())
        }
        Keys::Lists(lists) => lists.plans_of([batch, groups, n, n_keys], executor),
    }
}

/// The parts of a call, by query or by key.
pub(super) fn parts<'a, A: Accumulator>(
    keys: &Keys<'a>,
    plans: &'a [(Range<usize>, Plan)],
    problem: &ForceProblem<'_, A>,
    by_query: bool,
) -> Result<Vec<RowsPart<'a>>> {
    match keys {
        Keys::Set(set) => {
            let [batch, groups, _] = problem.heads();
            let rows = if by_query {
                PointRows::Set(set.set())
            } else {
                PointRows::Transposed(set.kept(|| set.set().transpose().map(ByKey))?)
            };
            Ok(vec![RowsPart { groups: 0..batch * groups, rows }])
        }
        Keys::Lists(_) => {
            let rows = |plan| if by_query { PointRows::Lists(plan) } else { PointRows::ListsByKey(plan) };
            Ok(plans.iter().map(|(groups, plan)| RowsPart { groups: groups.clone(), rows: rows(plan) }).collect())
        }
    }
}
