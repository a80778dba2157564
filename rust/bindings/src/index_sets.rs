//! Index sets as Python objects.

use crate::detached::detached;
use crate::error::Result;
use fractal_kernels::KernelError;
use fractal_kernels::index_set::{Blocks, Form, IndexSet, Occupied, Within};
use fractal_kernels::memory;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::plan::arrays::{TableArrays, TransposedArrays};
use fractal_runtime::executors;
use fractal_runtime::handles::Handles;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

/// Live index sets.
static LIVE: Handles<PlannedSet> = Handles::new();

/// The live set of a handle, or an error.
pub(crate) fn living(key: i64) -> Result<Arc<PlannedSet>> {
    let allowed = "the handle of a living IndexSet of this process; a saved program needs to be exported anew";
    Ok(LIVE.get(key).ok_or_else(|| KernelError::value("index_set", format!("handle {key}"), allowed))?)
}

/// How many edges the set of a handle has.
#[pyfunction]
pub(crate) fn edges_of(key: i64) -> Result<usize> {
    Ok(living(key)?.set().nnz())
}

/// Computed lanes of the tiles and edges of the rows in the plan of a handle's set.
#[pyfunction]
pub(crate) fn plan_counts_of(py: Python<'_>, key: i64) -> Result<(usize, usize)> {
    let (set, executor) = (living(key)?, executors::default()?);
    let report = detached(py, || set.plan(&*executor).map(|plan| plan.report()))?;
    Ok((report.tile_lanes, report.row_edges))
}

/// Which keys each query attends to.
#[pyclass(frozen, name = "IndexSet", module = "fractal_core._native")]
pub(crate) struct PyIndexSet {
    planned: Arc<PlannedSet>,
    key: i64,
    /// The value that `handle` exposes: torch warns about read-only arrays, so callers can write to it; it is never
    /// read.
    shown: AtomicI64,
}

impl PyIndexSet {
    pub(crate) fn new(set: IndexSet) -> Self {
        let planned = Arc::new(PlannedSet::new(set));
        let key = LIVE.insert(&planned);
        Self { planned, key, shown: AtomicI64::new(key) }
    }

    pub(crate) fn set(&self) -> &IndexSet {
        self.planned.set()
    }
}

/// A read-only view of memory inside the frozen pyclass `owner`, which becomes the array's base.
fn view<'py, T: numpy::Element>(owner: &Bound<'py, PyIndexSet>, data: &[T]) -> Bound<'py, PyArray1<T>> {
    let data = ndarray::ArrayView1::from(data);
    // SAFETY: callers pass memory that `owner` holds, never moves and never writes; the array keeps `owner` alive.
    let array = unsafe { PyArray1::borrow_from_array(&data, owner.clone().into_any()) };
    array.readwrite().make_nonwriteable();
    array
}

/// A copy of an array.
fn copied<T: numpy::Element + Copy>(argument: &'static str, array: &PyReadonlyArray1<'_, T>) -> Result<Vec<T>> {
    Ok(match array.as_slice() {
        Ok(values) => memory::copied(argument, values)?,
        Err(_) => memory::collected(argument, array.as_array().iter().copied())?,
    })
}

impl Drop for PyIndexSet {
    fn drop(&mut self) {
        LIVE.remove(self.key);
    }
}

type RunArrays<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray2<i32>>);
type BlockArrays<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<bool>>);
type Reached<'py> = (bool, Option<usize>, Bound<'py, PyArray1<f64>>);

fn block_arrays(py: Python<'_>, blocks: Occupied) -> BlockArrays<'_> {
    (blocks.indptr.into_pyarray(py), blocks.columns.into_pyarray(py), blocks.full.into_pyarray(py))
}

#[pymethods]
impl PyIndexSet {
    #[staticmethod]
    fn from_csr(
        py: Python<'_>,
        indptr: PyReadonlyArray1<'_, i64>,
        indices: PyReadonlyArray1<'_, i32>,
        n_keys: usize,
    ) -> Result<Self> {
        let (indptr, indices) = (copied("indptr", &indptr)?, copied("indices", &indices)?);
        Ok(Self::new(detached(py, || IndexSet::from_csr(indptr, indices, n_keys))?))
    }

    #[staticmethod]
    fn from_offsets(
        offsets: PyReadonlyArray1<'_, i64>,
        n_queries: usize,
        n_keys: usize,
        q_offset: i64,
    ) -> Result<Self> {
        Ok(Self::new(IndexSet::from_offsets(copied("offsets", &offsets)?, n_queries, n_keys, q_offset)?))
    }

    #[staticmethod]
    fn from_mask(py: Python<'_>, mask: PyReadonlyArray2<'_, bool>) -> Result<Self> {
        let mask = mask.as_array();
        let (n_queries, n_keys) = mask.dim();
        let executor = executors::default()?;
        Ok(Self::new(detached(py, || IndexSet::from_mask(n_queries, n_keys, &*executor, |q, k| mask[[q, k]]))?))
    }

    #[staticmethod]
    fn from_padded(py: Python<'_>, indices: PyReadonlyArray2<'_, i64>, n_keys: usize) -> Result<Self> {
        let lists = indices.as_array();
        let (n_queries, width) = lists.dim();
        let executor = executors::default()?;
        let set =
            detached(py, || IndexSet::from_padded(n_queries, width, n_keys, &*executor, |q, slot| lists[[q, slot]]))?;
        Ok(Self::new(set))
    }

    #[staticmethod]
    fn from_runs(
        py: Python<'_>,
        indptr: PyReadonlyArray1<'_, i64>,
        starts: PyReadonlyArray1<'_, i64>,
        lengths: PyReadonlyArray1<'_, i64>,
        n_keys: usize,
    ) -> Result<Self> {
        let (indptr, starts) = (copied("indptr", &indptr)?, copied("starts", &starts)?);
        let lengths = copied("lengths", &lengths)?;
        let executor = executors::default()?;
        Ok(Self::new(detached(py, || IndexSet::from_runs(&indptr, &starts, &lengths, n_keys, &*executor))?))
    }

    #[staticmethod]
    fn from_segments(
        py: Python<'_>,
        queries: PyReadonlyArray1<'_, i64>,
        keys: PyReadonlyArray1<'_, i64>,
        causal: bool,
        window: Option<[i64; 2]>,
        upper_left: bool,
    ) -> Result<Self> {
        let within = Within { causal, window, upper_left };
        let (queries, keys) = (copied("cu_seqlens_q", &queries)?, copied("cu_seqlens_k", &keys)?);
        let executor = executors::default()?;
        Ok(Self::new(detached(py, || IndexSet::from_segments(&queries, &keys, within, &*executor))?))
    }

    /// Blocks as CSR; `partial` has a table of pairs for each block that is not full, in their order.
    #[staticmethod]
    fn from_blocks(
        py: Python<'_>,
        block_size: [usize; 2],
        indptr: PyReadonlyArray1<'_, i64>,
        columns: PyReadonlyArray1<'_, i64>,
        full: PyReadonlyArray1<'_, bool>,
        partial: PyReadonlyArray3<'_, bool>,
        shape: [usize; 2],
    ) -> Result<Self> {
        let (indptr, columns) = (copied("indptr", &indptr)?, copied("columns", &columns)?);
        let full = copied("full", &full)?;
        let blocks = Blocks { size: block_size, indptr: &indptr, columns: &columns, full: &full };
        let partial = partial.as_array();
        let allowed = |number: usize, query: usize, key: usize| partial[[number, query, key]];
        let [n_queries, n_keys] = shape;
        let executor = executors::default()?;
        let set = detached(py, || IndexSet::from_blocks(&blocks, n_queries, n_keys, &*executor, allowed))?;
        Ok(Self::new(set))
    }

    #[getter]
    fn n_queries(&self) -> usize {
        self.set().n_queries()
    }

    #[getter]
    fn n_keys(&self) -> usize {
        self.set().n_keys()
    }

    #[getter]
    fn nnz(&self) -> usize {
        self.set().nnz()
    }

    #[getter]
    fn q_offset(&self) -> i64 {
        self.set().q_offset()
    }

    /// The offsets, or None where the rows are listed.
    #[getter]
    fn offsets<'py>(this: &Bound<'py, Self>) -> Option<Bound<'py, PyArray1<i64>>> {
        match this.get().set().form() {
            Form::Csr { .. } | Form::Runs { .. } => None,
            Form::Offsets { offsets, .. } => Some(view(this, offsets)),
        }
    }

    /// Row starts among the runs, and `[first, end)` of each, or None where the rows are not held as runs.
    #[getter]
    fn runs<'py>(this: &Bound<'py, Self>) -> PyResult<Option<RunArrays<'py>>> {
        match this.get().set().form() {
            Form::Csr { .. } | Form::Offsets { .. } => Ok(None),
            Form::Runs { indptr, runs } => {
                let bounds = view(this, runs.as_flattened()).reshape([runs.len(), 2])?;
                Ok(Some((view(this, indptr), bounds)))
            }
        }
    }

    #[getter]
    fn order<'py>(this: &Bound<'py, Self>) -> Option<Bound<'py, PyArray1<u32>>> {
        this.get().set().order().map(|order| view(this, order))
    }

    #[getter]
    fn indptr<'py>(this: &Bound<'py, Self>) -> Result<Bound<'py, PyArray1<i64>>> {
        Ok(view(this, this.get().csr(this.py())?.0))
    }

    #[getter]
    fn indices<'py>(this: &Bound<'py, Self>) -> Result<Bound<'py, PyArray1<i32>>> {
        Ok(view(this, this.get().csr(this.py())?.1))
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

    fn to_mask<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyArray2<bool>>> {
        let executor = executors::default()?;
        let mask = detached(py, || self.set().to_mask(&*executor))?;
        Ok(mask.into_pyarray(py).reshape([self.set().n_queries(), self.set().n_keys()])?)
    }

    fn to_padded<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyArray2<i32>>> {
        let executor = executors::default()?;
        let (lists, width) = detached(py, || self.set().to_padded(&*executor))?;
        Ok(lists.into_pyarray(py).reshape([self.set().n_queries(), width])?)
    }

    fn union(&self, py: Python<'_>, other: &Self) -> Result<Self> {
        let executor = executors::default()?;
        Ok(Self::new(detached(py, || self.set().union(other.set(), &*executor))?))
    }

    fn intersection(&self, py: Python<'_>, other: &Self) -> Result<Self> {
        let executor = executors::default()?;
        Ok(Self::new(detached(py, || self.set().intersection(other.set(), &*executor))?))
    }

    #[pyo3(signature = (q_offset=None))]
    fn causal(&self, py: Python<'_>, q_offset: Option<i64>) -> Result<Self> {
        let executor = executors::default()?;
        Ok(Self::new(detached(py, || self.set().causal(q_offset, &*executor))?))
    }

    fn is_causal(&self, py: Python<'_>) -> Result<bool> {
        detached(py, || Ok(self.set().is_causal()))
    }

    fn same_rows(&self, py: Python<'_>, other: &Self) -> Result<bool> {
        detached(py, || Ok(self.set().same_rows(other.set())))
    }

    /// Blocks that hold edges, as CSR, and which of them are full.
    fn occupied<'py>(&self, py: Python<'py>, block_size: [usize; 2]) -> Result<BlockArrays<'py>> {
        let executor = executors::default()?;
        let found = detached(py, || self.set().occupied(block_size, &*executor))?;
        Ok(block_arrays(py, found))
    }

    /// The same, and a bit for each pair of the blocks that are not full.
    fn occupied_with_bits<'py>(
        &self,
        py: Python<'py>,
        block_size: [usize; 2],
    ) -> Result<(BlockArrays<'py>, Bound<'py, PyArray1<u8>>)> {
        let executor = executors::default()?;
        let (found, bits) = detached(py, || self.set().occupied_with_bits(block_size, &*executor))?;
        Ok((block_arrays(py, found), bits.into_pyarray(py)))
    }

    fn transpose(&self, py: Python<'_>) -> Result<Self> {
        Ok(Self::new(detached(py, || self.set().transpose())?))
    }

    fn rows(&self, py: Python<'_>, start: usize, stop: usize) -> Result<Self> {
        Ok(Self::new(detached(py, || self.set().rows(start, stop))?))
    }

    fn prefix(&self, py: Python<'_>, n_queries: usize, n_keys: usize) -> Result<Self> {
        let executor = executors::default()?;
        Ok(Self::new(detached(py, || self.set().prefix(n_queries, n_keys, &*executor))?))
    }

    /// Fewest and most keys of a query.
    fn degrees(&self, py: Python<'_>) -> Result<(usize, usize)> {
        detached(py, || Ok(self.set().degrees()))
    }

    /// (causal, layers or None, share of the (query, key) pairs after each layer), or None where it takes more than `most_words`.
    fn reach<'py>(&self, py: Python<'py>, layers: usize, most_words: u64) -> Result<Option<Reached<'py>>> {
        let executor = executors::default()?;
        let reach = detached(py, || self.set().reach(layers, most_words, &*executor))?;
        Ok(reach.map(|r| (r.causal, r.layers, r.shares.into_pyarray(py))))
    }

    /// The arrays of the plan by name, as they lie in memory: tiles and rows, and the row edges by key.
    fn plan_arrays<'py>(this: &Bound<'py, Self>) -> Result<Bound<'py, PyDict>> {
        let (py, set) = (this.py(), this.get());
        let executor = executors::default()?;
        let (plan, transposed) = detached(py, || {
            let plan = set.planned.plan(&*executor)?;
            Ok((plan, plan.transposed_arrays()?))
        })?;
        let arrays = PyDict::new(py);
        match plan.arrays() {
            TableArrays::Listed { tile_ptr, tile_keys, tile_masks, row_ptr, row_keys } => {
                arrays.set_item("tile_ptr", view(this, tile_ptr))?;
                arrays.set_item("tile_keys", view(this, tile_keys))?;
                arrays.set_item("tile_masks", view(this, tile_masks))?;
                arrays.set_item("row_ptr", view(this, row_ptr))?;
                arrays.set_item("row_keys", view(this, row_keys))?;
            }
            TableArrays::Shifted { q_offset: _, tile_keys, tile_masks, row_ptr, row_offsets, row_slots } => {
                arrays.set_item("tile_keys", view(this, tile_keys))?;
                arrays.set_item("tile_masks", view(this, tile_masks))?;
                arrays.set_item("row_ptr", view(this, row_ptr))?;
                arrays.set_item("row_offsets", view(this, row_offsets))?;
                arrays.set_item("row_slots", view(this, row_slots))?;
            }
        }
        match transposed {
            TransposedArrays::Listed { key_ptr, edges } => {
                arrays.set_item("key_ptr", view(this, key_ptr))?;
                arrays.set_item("key_edges", view(this, edges.as_flattened()))?;
            }
            TransposedArrays::Shifted { residue_ptr, offsets, slots } => {
                arrays.set_item("residue_ptr", view(this, residue_ptr))?;
                arrays.set_item("residue_offsets", view(this, offsets))?;
                arrays.set_item("residue_slots", view(this, slots))?;
            }
        }
        Ok(arrays)
    }

    /// Counts of the plan: tiles, their edges and computed lanes, row edges, bytes.
    fn plan_report(&self, py: Python<'_>) -> Result<HashMap<&'static str, usize>> {
        let executor = executors::default()?;
        let report = detached(py, || self.planned.plan(&*executor).map(|plan| plan.report()))?;
        Ok(HashMap::from([
            ("tiles", report.tiles),
            ("tile_edges", report.tile_edges),
            ("tile_lanes", report.tile_lanes),
            ("row_edges", report.row_edges),
            ("index_bytes", report.index_bytes),
        ]))
    }

    fn with_order(&self, py: Python<'_>, order: PyReadonlyArray1<'_, u32>) -> Result<Self> {
        let order = copied("order", &order)?;
        Ok(Self::new(detached(py, || self.set().with_order(order))?))
    }
}

impl PyIndexSet {
    fn csr(&self, py: Python<'_>) -> Result<(&[i64], &[i32])> {
        let executor = executors::default()?;
        detached(py, || self.planned.csr(&*executor))
    }
}
