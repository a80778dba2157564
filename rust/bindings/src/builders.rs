//! Builders of index sets: each returns the keys of the last `n_queries` of `n_keys` positions.

use crate::detached::detached;
use crate::error::Result;
use crate::index_sets::PyIndexSet;
use fractal_kernels::builders::{self, Axis, Span};
use fractal_runtime::executors;
use num_complex::Complex64;
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
    let executor = executors::default()?;
    Ok(PyIndexSet::new(detached(py, || builders::random(span, k, seed, &*executor))?))
}

#[pyfunction]
pub(crate) fn sierpinski_set(py: Python<'_>, n_queries: usize, n_keys: usize, causal: bool) -> Result<PyIndexSet> {
    let span = Span::new(n_queries, n_keys, causal)?;
    let executor = executors::default()?;
    Ok(PyIndexSet::new(detached(py, || builders::sierpinski(span, &*executor))?))
}

#[pyfunction]
pub(crate) fn cantor_samples_set(
    py: Python<'_>,
    n_queries: usize,
    n_keys: usize,
    causal: bool,
    depth: u32,
) -> Result<PyIndexSet> {
    let span = Span::new(n_queries, n_keys, causal)?;
    let executor = executors::default()?;
    Ok(PyIndexSet::new(detached(py, || builders::cantor_samples(span, depth, &*executor))?))
}

#[pyfunction]
pub(crate) fn hilbert_set(
    py: Python<'_>,
    n_queries: usize,
    n_keys: usize,
    causal: bool,
    radius: usize,
) -> Result<PyIndexSet> {
    let span = Span::new(n_queries, n_keys, causal)?;
    let executor = executors::default()?;
    Ok(PyIndexSet::new(detached(py, || builders::hilbert(span, radius, &*executor))?))
}

#[pyfunction]
pub(crate) fn hilbert_box_set(
    py: Python<'_>,
    n_queries: usize,
    n_keys: usize,
    causal: bool,
    shape: Vec<usize>,
    radius: usize,
) -> Result<PyIndexSet> {
    let span = Span::new(n_queries, n_keys, causal)?;
    let executor = executors::default()?;
    Ok(PyIndexSet::new(detached(py, || builders::hilbert_box(span, &shape, radius, &*executor))?))
}

/// One entry an axis in each list.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one list an axis rule")]
pub(crate) fn neighborhood_set(
    py: Python<'_>,
    n_queries: usize,
    n_keys: usize,
    causal: bool,
    shape: Vec<usize>,
    kernel_size: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    is_causal: Vec<bool>,
) -> Result<PyIndexSet> {
    let span = Span::new(n_queries, n_keys, causal)?;
    let sizes = shape.into_iter().zip(kernel_size).zip(stride).zip(dilation).zip(is_causal);
    let axes: Vec<Axis> = sizes
        .map(|((((len, kernel), stride), dilation), causal)| Axis { len, kernel, stride, dilation, causal })
        .collect();
    let executor = executors::default()?;
    Ok(PyIndexSet::new(detached(py, || builders::neighborhood(span, &axes, &*executor))?))
}

#[pyfunction]
pub(crate) fn dragon_set(
    py: Python<'_>,
    n_queries: usize,
    n_keys: usize,
    causal: bool,
    radius: usize,
) -> Result<PyIndexSet> {
    let span = Span::new(n_queries, n_keys, causal)?;
    let executor = executors::default()?;
    Ok(PyIndexSet::new(detached(py, || builders::dragon(span, radius, &*executor))?))
}

#[pyfunction]
pub(crate) fn julia_set(
    py: Python<'_>,
    n_queries: usize,
    n_keys: usize,
    causal: bool,
    c: Complex64,
    window: usize,
    neighbours: usize,
    max_iter: u32,
) -> Result<PyIndexSet> {
    let span = Span::new(n_queries, n_keys, causal)?;
    let executor = executors::default()?;
    Ok(PyIndexSet::new(detached(py, || builders::julia(span, c, window, neighbours, max_iter, &*executor))?))
}
