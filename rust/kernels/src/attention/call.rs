//! One call over whatever names its keys: an index set that keeps its plans, or lists.

use super::backward::{Gradients, Saved, check};
use super::element::Storage;
use super::forward::{check_outputs, forward_one};
use super::lists::{KeyLists, backward_lists, forward_lists};
use super::log_sums::LogSums;
use super::problem::{EdgeBias, Problem};
use super::widened::{backward_widened, forward_widened};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::memory;
use crate::plan::{Plan, PlannedSet};
use crate::simd::Run;

/// Which keys the queries attend to.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// An index set with its plans.
    Set(&'a PlannedSet),
    /// Lists that hold for this call.
    Lists(KeyLists<'a>),
}

/// One call of attention, not planned yet.
#[derive(Clone, Debug)]
pub struct Call<'a, T: Storage> {
    /// Tensors and biases; its `edge_bias` is filled in from the one below.
    pub problem: Problem<'a, T>,
    /// The keys.
    pub keys: Keys<'a>,
    /// Values `(heads or 1, nnz)` of a bias per pair in row order, and their heads; `None` with lists.
    pub edge_bias: Option<(&'a [T::Acc], usize)>,
}

impl<'a, T: Storage> Call<'a, T> {
    /// Multiply-adds of one pass, about.
    pub fn work(&self) -> usize {
        let [batch, heads, _, d] = self.problem.q.shape;
        self.edges().saturating_mul(batch * heads).saturating_mul(2 * d)
    }

    /// (query, key) pairs of one head, pads included.
    fn edges(&self) -> usize {
        match self.keys {
            Keys::Set(set) => set.set().nnz(),
            Keys::Lists(lists) => lists.shape[2] * lists.shape[3],
        }
    }

    /// Fills `out (B, H, Nq, Dv)` and the log-sums, all contiguous. One query needs no plan.
    pub fn forward(self, run: Run<'_>, out: &mut [T], logs: LogSums<'_, T::Acc>) -> Result<()> {
        match self.keys {
            Keys::Set(set) if set.set().n_queries() == 1 && self.edge_bias.is_none() => {
                let keys = memory::collected("index_set", set.set().row(0))?;
                forward_one(&self.problem, &keys, set.set().n_keys(), run, out, logs)
            }
            Keys::Set(set) => {
                let (problem, plan) = self.planned(set, run.executor)?;
                check_outputs(&problem, out, &logs)?;
                forward_widened(&problem, plan, problem.pairs(), run, out, logs)
            }
            Keys::Lists(lists) => forward_lists(&self.without_pairs()?, lists, run, out, logs),
        }
    }

    /// Fills the gradients, and adds to those of the biases.
    pub fn backward(self, run: Run<'_>, saved: Saved<'_, T>, gradients: Gradients<'_, T>) -> Result<()> {
        match self.keys {
            Keys::Set(set) => {
                let (problem, plan) = self.planned(set, run.executor)?;
                check(&problem, &saved, &gradients)?;
                backward_widened(&problem, plan, problem.pairs(), run, saved, gradients)
            }
            Keys::Lists(lists) => backward_lists(&self.without_pairs()?, lists, run, saved, gradients),
        }
    }

    /// The problem with its bias per pair, and the plan that this bias is laid out for.
    fn planned(mut self, set: &'a PlannedSet, executor: &dyn Executor) -> Result<(Problem<'a, T>, &'a Plan)> {
        let Some((values, heads)) = self.edge_bias else { return Ok((self.problem, set.plan(executor)?)) };
        let (plan, map) = set.edge_plan(executor)?;
        self.problem.edge_bias = Some(EdgeBias { values, heads, map });
        Ok((self.problem, plan))
    }

    /// The problem of a call that has no pairs to add a bias to.
    fn without_pairs(self) -> Result<Problem<'a, T>> {
        if self.edge_bias.is_some() {
            return Err(KernelError::value("edge_bias", "a bias per pair", "None with lists of keys"));
        }
        Ok(self.problem)
    }
}
