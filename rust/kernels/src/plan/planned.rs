//! An index set together with the plans made of it: what attention is called with again and again.

use super::edges::EdgeMap;
use super::made::Plan;
use crate::error::Result;
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
    backends: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// A plan, and where edges have biases the way to them.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// From its pairs to row order; `None` where no bias is added to edges.
    pub edges: Option<&'a EdgeMap>,
}

impl<'a> From<&'a Plan> for Planned<'a> {
    fn from(plan: &'a Plan) -> Self {
        Self { plan, edges: None }
    }
}

impl Deref for Planned<'_> {
    type Target = Plan;

    #[inline(always)]
    fn deref(&self) -> &Plan {
        self.plan
    }
}

/// What the cell holds, made first if it is empty; two threads may both make it, and one wins.
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
            backends: Mutex::default(),
        }
    }

    /// The index set.
    pub fn set(&self) -> &IndexSet {
        &self.set
    }

    /// The set with its rows written out.
    pub fn listed(&self, executor: &dyn Executor) -> Result<&IndexSet> {
        match self.set.form() {
            Form::Csr { .. } => Ok(&self.set),
            Form::Offsets { .. } | Form::Runs { .. } => get_or_try(&self.listed, || self.set.listed(executor)),
        }
    }

    /// The plan of the set.
    pub fn plan(&self, executor: &dyn Executor) -> Result<&Plan> {
        get_or_try(&self.plan, || Plan::new(&self.set, executor))
    }

    /// What a backend keeps of this set, such as buffers on a device, by its type: made on first use, dropped with the set.
    /// Two threads may both make it, and one wins.
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

    /// What a call runs on: the plan of the set, or where each edge has a bias of its own, that of the written-out rows
    /// with the way from its pairs to row order.
    pub fn planned(&self, edge_bias: bool, executor: &dyn Executor) -> Result<Planned<'_>> {
        if !edge_bias {
            return Ok(Planned { plan: self.plan(executor)?, edges: None });
        }
        let listed = self.listed(executor)?;
        let plan = match self.set.form() {
            Form::Csr { .. } => self.plan(executor)?,
            Form::Offsets { .. } | Form::Runs { .. } => get_or_try(&self.listed_plan, || Plan::new(listed, executor))?,
        };
        Ok(Planned { plan, edges: Some(get_or_try(&self.edges, || EdgeMap::new(listed, plan))?) })
    }
}
