//! Builders of index sets: each returns the keys of the last `n_queries` of `n_keys` positions.

use crate::error::Result;
use crate::index_sets::PyIndexSet;
use fractal_kernels::builders::{self, Span};
use fractal_kernels::executor::Serial;
use pyo3::prelude::*;

#[pyfunction]
pub(crate) fn window_set(n_queries: usize, n_keys: usize, causal: bool, radius: usize) -> Result<PyIndexSet> {
    Ok(PyIndexSet::new(builders::window(Span::new(n_queries, n_keys, causal)?, radius)?))
}

#[pyfunction]
pub(crate) fn cantor_set(
    n_queries: usize,
    n_keys: usize,
    causal: bool,
    base: i64,
    digits: Vec<i64>,
) -> Result<PyIndexSet> {
    Ok(PyIndexSet::new(builders::cantor(Span::new(n_queries, n_keys, causal)?, base, &digits)?))
}

#[pyfunction]
pub(crate) fn random_set(
    py: Python<'_>,
    n_queries: usize,
    n_keys: usize,
    causal: bool,
    k: usize,
    seed: u64,
) -> Result<PyIndexSet> {
    let span = Span::new(n_queries, n_keys, causal)?;
    Ok(PyIndexSet::new(py.detach(|| builders::random(span, k, seed, &Serial))?))
}

#[pyfunction]
pub(crate) fn sierpinski_set(py: Python<'_>, n_queries: usize, n_keys: usize, causal: bool) -> Result<PyIndexSet> {
    let span = Span::new(n_queries, n_keys, causal)?;
    Ok(PyIndexSet::new(py.detach(|| builders::sierpinski(span, &Serial))?))
}
