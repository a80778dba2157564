//! Index sets as Python objects.

use crate::error::Result;
use fractal_kernels::index_set::IndexSet;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};

/// Living index sets by key. Keys are never used twice, so a stale one is an error and not somebody else's set.
static LIVING: LazyLock<RwLock<HashMap<i64, Weak<IndexSet>>>> = LazyLock::new(RwLock::default);
static NEXT_KEY: AtomicI64 = AtomicI64::new(1);

/// The index set of a key.
pub(crate) fn lookup(key: i64) -> Option<Arc<IndexSet>> {
    LIVING.read().unwrap_or_else(PoisonError::into_inner).get(&key).and_then(Weak::upgrade)
}

/// Which keys each query attends to.
#[pyclass(frozen, name = "IndexSet", module = "fractal_core._native")]
pub(crate) struct PyIndexSet {
    pub(crate) set: Arc<IndexSet>,
    key: i64,
    /// What `handle` shows: torch warns about read-only arrays, so it may be written, and nothing here reads it.
    shown: AtomicI64,
}

impl PyIndexSet {
    pub(crate) fn new(set: IndexSet) -> Self {
        let set = Arc::new(set);
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        LIVING.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::downgrade(&set));
        Self { set, key, shown: AtomicI64::new(key) }
    }
}

impl Drop for PyIndexSet {
    fn drop(&mut self) {
        LIVING.write().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[pymethods]
impl PyIndexSet {
    #[staticmethod]
    fn from_csr(indptr: PyReadonlyArray1<'_, i64>, indices: PyReadonlyArray1<'_, i32>, n_keys: usize) -> Result<Self> {
        let set = IndexSet::from_csr(indptr.as_array().to_vec(), indices.as_array().to_vec(), n_keys)?;
        Ok(Self::new(set))
    }

    #[staticmethod]
    fn from_offsets(
        offsets: PyReadonlyArray1<'_, i64>,
        n_queries: usize,
        n_keys: usize,
        q_offset: i64,
    ) -> Result<Self> {
        Ok(Self::new(IndexSet::from_offsets(offsets.as_array().to_vec(), n_queries, n_keys, q_offset)?))
    }

    #[getter]
    fn n_queries(&self) -> usize {
        self.set.n_queries()
    }

    #[getter]
    fn n_keys(&self) -> usize {
        self.set.n_keys()
    }

    #[getter]
    fn nnz(&self) -> usize {
        self.set.nnz()
    }

    /// This set's key for the attention ops, int64 of shape (1,); the array keeps the set alive.
    #[getter]
    fn handle<'py>(this: &Bound<'py, Self>) -> Bound<'py, PyArray1<i64>> {
        // SAFETY: `shown` lives inside the frozen pyclass that becomes the array's base object; as an atomic its memory
        // may change behind a shared reference.
        unsafe {
            let shown = ndarray::ArrayView1::from_shape_ptr(1, this.get().shown.as_ptr());
            PyArray1::borrow_from_array(&shown, this.clone().into_any())
        }
    }
}
