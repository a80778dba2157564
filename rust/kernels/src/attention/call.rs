//! One call of attention over an index set with its plans, or over lists of keys.

use super::backward::{Gradients, Saved, StatisticsGradients};
use super::element::Storage;
use super::forward::forward_one;
use super::lists::{KeyLists, backward_lists, forward_lists, statistics_backward_lists, statistics_lists};
use super::log_sums::LogSums;
use super::problem::Problem;
use super::statistics::{ChosenRow, WeightStatistics, weigh_rows};
use super::widened::{backward_widened, forward_widened, statistics_backward_widened, statistics_widened};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::memory;
use crate::plan::{Planned, PlannedSet};
use crate::simd::Run;

/// Which keys the queries attend to.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// An index set with its plans.
    Set(&'a PlannedSet),
    /// Lists for this call alone.
    Lists(KeyLists<'a>),
}

/// One call of attention.
#[derive(Clone, Debug)]
pub struct Call<'a, T: Storage> {
    /// Tensors and biases; lists take no bias of edges.
    pub problem: Problem<'a, T>,
    /// The keys.
    pub keys: Keys<'a>,
}

impl<'a, T: Storage> Call<'a, T> {
    /// Multiply-adds of one pass, roughly.
    pub fn work(&self) -> usize {
        let [batch, heads, _, d] = self.problem.q.shape;
        self.edges().saturating_mul(batch * heads).saturating_mul(2 * d)
    }

    /// Edges of one head, pads included.
    fn edges(&self) -> usize {
        match self.keys {
            Keys::Set(set) => set.set().nnz(),
            Keys::Lists(lists) => lists.shape[2] * lists.shape[3],
        }
    }

    /// Fills `out (B, H, Nq, Dv)` and the log-sums, all contiguous. One query needs no plan.
    pub fn forward(&self, run: Run<'_>, out: &mut [T], logs: LogSums<'_, T::Acc>) -> Result<()> {
        match self.keys {
            Keys::Set(set) if set.set().n_queries() == 1 && self.problem.edge_bias.is_none() => {
                let keys = memory::collected("index_set", set.set().row(0))?;
                forward_one(&self.problem, &keys, set.set().n_keys(), run, out, logs)
            }
            Keys::Set(set) => {
                let problem = &self.problem;
                let plan = set.planned_in_place(problem.edge_bias.is_some(), run.executor())?;
                problem.check_outputs(out, &logs)?;
                forward_widened(problem, plan, problem.groups(), run, out, logs)
            }
            Keys::Lists(lists) => forward_lists(self.without_edge_bias()?, lists, run, out, logs),
        }
    }

    /// Fills the gradients, and adds to those of the biases.
    pub fn backward(&self, run: Run<'_>, saved: Saved<'_, T>, gradients: Gradients<'_, T>) -> Result<()> {
        match self.keys {
            Keys::Set(set) => {
                let problem = &self.problem;
                let plan = set.planned_in_place(problem.edge_bias.is_some(), run.executor())?;
                problem.check_gradients(&saved, &gradients)?;
                backward_widened(problem, plan, problem.groups(), run, saved, gradients)
            }
            Keys::Lists(lists) => backward_lists(self.without_edge_bias()?, lists, run, saved, gradients),
        }
    }

    /// Fills statistics of the weights; query i stands at key `first_position + i`. Values and dropout have no part in
    /// them: the keys may stand in the place of the values.
    pub fn statistics(&self, run: Run<'_>, first_position: i64, out: WeightStatistics<'_, T::Acc>) -> Result<()> {
        let problem = &self.problem;
        problem.check_unmodified("for statistics and weights")?;
        out.check(problem)?;
        match self.keys {
            Keys::Set(set) => {
                let plan = self.planned(set, run)?;
                statistics_widened(problem, plan, problem.groups(), run, first_position, out)
            }
            Keys::Lists(lists) => statistics_lists(self.without_edge_bias()?, lists, run, first_position, out),
        }
    }

    /// Fills the weights of chosen rows of an index set, `(B, H, edges of the rows)`, row after row in the given order.
    pub fn weights(&self, run: Run<'_>, rows: &[i64], out: &mut [T::Acc]) -> Result<()> {
        let problem = &self.problem;
        problem.check_unmodified("for statistics and weights")?;
        let Keys::Set(planned) = self.keys else {
            return Err(KernelError::value("rows", "rows of lists of keys", "None with lists of keys"));
        };
        let set = planned.set();
        match problem.edge_bias {
            Some(_) => problem.check(self.planned(planned, run)?)?,
            None => problem.check_sizes(set.n_queries(), set.n_keys())?,
        }
        let starts = problem.edge_bias.map(|_| planned.csr(run.executor())).transpose()?;
        let mut chosen = memory::with_capacity("rows", rows.len())?;
        for &row in rows {
            let query = usize::try_from(row).ok().filter(|&query| query < set.n_queries());
            let Some(query) = query else {
                return Err(KernelError::index("rows", row, format!("0 to {}", set.n_queries() - 1)));
            };
            let first_edge = starts.map_or(0, |(indptr, _)| indptr[query] as usize);
            chosen.push(ChosenRow { query, keys: memory::collected("rows", set.row(query))?, first_edge });
        }
        let edges = chosen.iter().map(|row| row.keys.len()).sum::<usize>();
        if out.len() != edges * problem.q.shape[0] * problem.q.shape[1] {
            return Err(KernelError::shape(
                "weights",
                format!("{} values", out.len()),
                format!("{edges} for each head"),
            ));
        }
        weigh_rows(problem, &chosen, run, out);
        Ok(())
    }

    /// Fills the gradients that those of statistics give, and adds to those of the biases; that of v is empty.
    pub fn statistics_backward(
        &self,
        run: Run<'_>,
        given: StatisticsGradients<'_, T::Acc>,
        gradients: Gradients<'_, T>,
    ) -> Result<()> {
        let problem = &self.problem;
        problem.check_unmodified("for statistics and weights")?;
        problem.check_statistics_gradients(&given, &gradients)?;
        match self.keys {
            Keys::Set(set) => {
                let plan = self.planned(set, run)?;
                statistics_backward_widened(problem, plan, problem.groups(), run, given, gradients)
            }
            Keys::Lists(lists) => statistics_backward_lists(self.without_edge_bias()?, lists, run, given, gradients),
        }
    }

    /// Refuses shapes that do not fit together, for whoever runs the call elsewhere: both passes check by themselves.
    pub fn check(&self, executor: &dyn Executor) -> Result<()> {
        self.problem.check_without_tables()?;
        match self.keys {
            Keys::Set(set) => self.problem.check(set.planned(self.problem.edge_bias.is_some(), executor)?),
            Keys::Lists(lists) => {
                let problem = self.without_edge_bias()?;
                lists.check(problem)?;
                problem.check_sizes(problem.q.shape[2], problem.k.shape[2])
            }
        }
    }

    /// What the set runs on.
    fn planned(&self, set: &'a PlannedSet, run: Run<'_>) -> Result<Planned<'a>> {
        set.planned(self.problem.edge_bias.is_some(), run.executor())
    }

    /// The problem, if no edge has a bias of its own: lists have no order of edges.
    fn without_edge_bias(&self) -> Result<&Problem<'a, T>> {
        match self.problem.edge_bias {
            Some(_) => Err(KernelError::value("edge_bias", "a bias of edges", "None with lists of keys")),
            None => Ok(&self.problem),
        }
    }
}
