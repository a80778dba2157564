//! An index set with its plans, which are kept from call to call.

use super::edges::{EdgeMap, EdgeRows};
use super::made::Plan;
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::index_set::{Form, IndexSet};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// An index set that keeps its plans.
#[derive(Debug)]
pub struct PlannedSet {
    set: IndexSet,
    plan: OnceLock<Plan>,
    listed: OnceLock<IndexSet>,
    listed_plan: OnceLock<Plan>,
    edges: OnceLock<EdgeMap>,
    edge_rows: OnceLock<Option<EdgeRows>>,
    backends: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// A plan, with the order of its edges where they have biases.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The place of each edge in row order; `None` where edges have no bias.
    pub edges: Option<&'a EdgeMap>,
    /// In its place, of rows that are one run each.
    pub edge_rows: Option<&'a EdgeRows>,
}

impl<'a> From<&'a Plan> for Planned<'a> {
    fn from(plan: &'a Plan) -> Self {
        Self { plan, edges: None, edge_rows: None }
    }
}

impl Deref for Planned<'_> {
    type Target = Plan;

    #[inline(always)]
    fn deref(&self) -> &Plan {
        self.plan
    }
}

/// Most edges that are listed: 16 GiB of key indices.
const MOST_LISTED: usize = 1 << 32;

/// The value of a cell, made first if it is empty; two threads may both make it, and one wins.
fn get_or_try<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

impl PlannedSet {
    /// Wraps an index set; plans are made on first use.
    pub fn new(set: IndexSet) -> Self {
        Self {
            set,
            plan: OnceLock::new(),
            listed: OnceLock::new(),
            listed_plan: OnceLock::new(),
            edges: OnceLock::new(),
            edge_rows: OnceLock::new(),
            backends: Mutex::default(),
        }
    }

    /// The index set.
    pub fn set(&self) -> &IndexSet {
        &self.set
    }

    /// The set with its rows listed.
    pub fn listed(&self, executor: &dyn Executor) -> Result<&IndexSet> {
        match self.set.form() {
            Form::Csr { .. } => Ok(&self.set),
            Form::Offsets { .. } | Form::Runs { .. } => get_or_try(&self.listed, || self.set.listed(executor)),
        }
    }

    /// Row starts and key indices of the listed rows.
    pub fn csr(&self, executor: &dyn Executor) -> Result<(&[i64], &[i32])> {
        let listed = match self.set.form() {
            Form::Csr { .. } => &self.set,
            Form::Offsets { .. } | Form::Runs { .. } if self.set.nnz() > MOST_LISTED => {
                let given = format!("{} edges", self.set.nnz());
                return Err(KernelError::value("index_set", given, "at most 2^32 edges to be listed"));
            }
            Form::Offsets { .. } | Form::Runs { .. } => self.listed(executor)?,
        };
        match listed.form() {
            Form::Csr { indptr, indices } => Ok((indptr, indices)),
            Form::Offsets { .. } | Form::Runs { .. } => unreachable!("listed rows are CSR"),
        }
    }

    /// The plan of the set.
    pub fn plan(&self, executor: &dyn Executor) -> Result<&Plan> {
        get_or_try(&self.plan, || Plan::new(&self.set, executor))
    }

    /// What a backend keeps for this set, such as buffers on a device, by type: made on first use, dropped with the
    /// set. Two threads may both make it, and one wins.
    pub fn kept<T: Any + Send + Sync>(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let backends = || self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let found = backends().get(&TypeId::of::<T>()).cloned();
        let kept = if let Some(kept) = found {
            kept
        } else {
            let made: Arc<dyn Any + Send + Sync> = Arc::new(make()?);
            backends().entry(TypeId::of::<T>()).or_insert(made).clone()
        };
        Ok(kept.downcast().unwrap_or_else(|_| unreachable!("kept by its type")))
    }

    /// What a call runs on: the plan of the set or, for a bias of edges, the plan of its listed rows with the place of
    /// each edge in row order.
    pub fn planned(&self, edge_bias: bool, executor: &dyn Executor) -> Result<Planned<'_>> {
        if !edge_bias {
            return Ok(Planned::from(self.plan(executor)?));
        }
        let listed = self.listed(executor)?;
        let plan = match self.set.form() {
            Form::Csr { .. } => self.plan(executor)?,
            Form::Offsets { .. } | Form::Runs { .. } => get_or_try(&self.listed_plan, || Plan::new(listed, executor))?,
        };
        let edges = Some(get_or_try(&self.edges, || EdgeMap::new(listed, plan))?);
        Ok(Planned { plan, edges, edge_rows: None })
    }

    /// [`Self::planned`] for kernels that read the biases of rows of one run where they lie: those keep the set's plan.
    pub(crate) fn planned_in_place(&self, edge_bias: bool, executor: &dyn Executor) -> Result<Planned<'_>> {
        if edge_bias && let Some(rows) = get_or_try(&self.edge_rows, || EdgeRows::new(&self.set))? {
            return Ok(Planned { plan: self.plan(executor)?, edges: None, edge_rows: Some(rows) });
        }
        self.planned(edge_bias, executor)
    }
}
