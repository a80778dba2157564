//! A plan: its tables, and what the backward pass derives from them on first use.

use super::arrays::TransposedArrays;
use super::chunks::Chunks;
use super::tables::Tables;
use super::transposed::Transposed;
use crate::error::Result;
use crate::executor::Executor;
use crate::index_set::IndexSet;
use crate::memory::{self, OrLeave};
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How an index set runs.
#[derive(Debug)]
pub struct Plan {
    tables: Tables,
    transposed: OnceLock<Transposed>,
    chunks: Mutex<Option<Arc<Chunks>>>,
    long_runs: OnceLock<bool>,
}

impl Deref for Plan {
    type Target = Tables;

    #[inline(always)]
    fn deref(&self) -> &Tables {
        &self.tables
    }
}

impl From<Tables> for Plan {
    fn from(tables: Tables) -> Self {
        Self { tables, transposed: OnceLock::new(), chunks: Mutex::new(None), long_runs: OnceLock::new() }
    }
}

impl Plan {
    /// Plans an index set in time linear in its edges, in parallel.
    pub fn new(set: &IndexSet, executor: &dyn Executor) -> Result<Self> {
        Tables::new(set, executor).map(Self::from)
    }

    /// Rows alone, of equally long lists in which −1 is a pad.
    pub fn from_lists<I: Copy + Into<i64> + Sync>(
        lists: &[I],
        n_queries: usize,
        n_keys: usize,
        executor: &dyn Executor,
    ) -> Result<Self> {
        Tables::from_lists(lists, n_queries, n_keys, executor).map(Self::from)
    }

    /// Row edges by key, for the second backward sweep; made on first use.
    pub(crate) fn transposed(&self) -> &Transposed {
        self.transposed.get_or_init(|| self.tables.transpose().or_leave())
    }

    /// The arrays of the row edges by key; made on first use.
    pub fn transposed_arrays(&self) -> Result<TransposedArrays<'_>> {
        memory::caught(|| Ok(self.transposed().arrays()))
    }

    /// The chunks of the backward pass, of `tiles` tiles each, in rounds or with halos; the last ones made are kept.
    pub(crate) fn chunks(&self, tiles: usize, rounds: bool) -> Arc<Chunks> {
        let mut kept = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(chunks) if chunks.tiles == tiles && chunks.rounds == rounds => chunks.clone(),
            _ => {
                let make = if rounds { Chunks::in_rounds } else { Chunks::new };
                kept.insert(Arc::new(make(&self.tables, tiles).or_leave())).clone()
            }
        }
    }

    /// Whether tiles read long runs of keys and nothing else.
    pub(crate) fn has_long_runs(&self) -> bool {
        *self.long_runs.get_or_init(|| self.tables.has_long_runs())
    }
}
