//! One call of attention over an index set with its plans, or over lists of keys.

use super::backward::{Gradients, Saved};
use super::element::Storage;
use super::forward::forward_one;
use super::lists::{KeyLists, backward_lists, forward_lists};
use super::log_sums::LogSums;
use super::problem::Problem;
use super::widened::{backward_widened, forward_widened};
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
                let (problem, plan) = (&self.problem, self.planned(set, run)?);
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
                let (problem, plan) = (&self.problem, self.planned(set, run)?);
                problem.check_gradients(&saved, &gradients)?;
                backward_widened(problem, plan, problem.groups(), run, saved, gradients)
            }
            Keys::Lists(lists) => backward_lists(self.without_edge_bias()?, lists, run, saved, gradients),
        }
    }

    /// Refuses shapes that do not fit together, for whoever runs the call elsewhere: both passes check by themselves.
    pub fn check(&self, executor: &dyn Executor) -> Result<()> {
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
