//! Plans on the device, uploaded once and kept with their index set.

use super::tables::{Parts, PlanWords};
use crate::buffer::Buffer;
use crate::context::Context;
use crate::error::Result;
use fractal_kernels::executor::Executor;
use fractal_kernels::index_set::{Form, IndexSet};
use fractal_kernels::plan::{EdgeMap, Plan, PlannedSet};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A plan whose words lie on the device.
pub(super) struct PlanOnDevice {
    pub(super) words: Buffer,
    pub(super) parts: Parts,
}

/// Which plan of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Which {
    /// Rows are keys: what the gradients of keys and values run on.
    pub(super) transposed: bool,
    /// With the edges of its pairs, for biases of their own.
    pub(super) edges: bool,
}

/// What is kept with a set: its plans on one device.
#[derive(Default)]
struct Resident(Mutex<(u64, HashMap<Which, Arc<PlanOnDevice>>)>);

impl PlanOnDevice {
    pub(super) fn new(context: &Arc<Context>, PlanWords { words, parts }: PlanWords) -> Result<Self> {
        Ok(Self { words: context.upload(&words)?, parts })
    }

    /// A plan of a set, which keeps it.
    pub(super) fn of(
        context: &Arc<Context>,
        set: &PlannedSet,
        which: Which,
        executor: &dyn Executor,
    ) -> Result<Arc<Self>> {
        let resident = set.kept::<Resident>(|| Ok(Resident::default()))?;
        let plans = || resident.0.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let (generation, plans) = &mut *plans();
            if *generation != context.generation() {
                // Of a device that is gone.
                *generation = context.generation();
                plans.clear();
            }
            if let Some(plan) = plans.get(&which) {
                return Ok(plan.clone());
            }
        }
        // Nobody plans with the lock: two threads may do the same, and one wins.
        let made = Arc::new(Self::make(context, set, which, executor)?);
        Ok(plans().1.entry(which).or_insert(made).clone())
    }

    fn make(context: &Arc<Context>, set: &PlannedSet, which: Which, executor: &dyn Executor) -> Result<Self> {
        if !which.transposed {
            let planned = set.planned(which.edges, executor)?;
            return Self::new(context, PlanWords::new(planned.plan, planned.edges.map(EdgeMap::edges))?);
        }
        let listed = if which.edges { set.listed(executor)? } else { set.set() };
        let mut transposed = listed.transpose()?;
        // Where each query is a key too, what lies together among queries does so among keys.
        if let (Some(order), true) = (listed.order(), listed.n_queries() == listed.n_keys()) {
            transposed = transposed.with_order(order.to_vec())?;
        }
        let plan = Plan::new(&transposed, executor)?;
        if !which.edges {
            return Self::new(context, PlanWords::new(&plan, None)?);
        }
        let edges_before = transposed_edges(listed);
        let map = EdgeMap::new(&transposed, &plan)?;
        let edges: Vec<u32> = map.edges().iter().map(|&edge| edges_before[edge as usize]).collect();
        Self::new(context, PlanWords::new(&plan, Some(&edges))?)
    }
}

/// The edge of a listed set that each edge of its transpose was.
fn transposed_edges(listed: &IndexSet) -> Vec<u32> {
    let Form::Csr { indices, .. } = listed.form() else { return Vec::new() };
    let mut next = vec![0_usize; listed.n_keys() + 1];
    indices.iter().for_each(|&key| next[key as usize + 1] += 1);
    for key in 0..listed.n_keys() {
        next[key + 1] += next[key];
    }
    let mut before = vec![0; indices.len()];
    for (edge, &key) in indices.iter().enumerate() {
        before[next[key as usize]] = edge as u32;
        next[key as usize] += 1;
    }
    before
}
