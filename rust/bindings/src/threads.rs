//! Threads and SIMD levels, as Python asks about them.

use crate::error::Result;
use fractal_kernels::simd::passes;
use fractal_runtime::{executors, openmp, process, simd};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Attaches to the OpenMP runtime that the process has loaded from this file; False where it cannot be used.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub(crate) fn attach_openmp(path: &str) -> bool {
    openmp::attach(path)
}

/// Threads of the pool, whether an OpenMP runtime is attached, whether this is a forked child, the SIMD level.
#[pyfunction]
pub(crate) fn thread_info(py: Python<'_>) -> Result<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("threads", executors::threads()?)?;
    info.set_item("openmp", openmp::attached())?;
    info.set_item("forked", process::forked())?;
    info.set_item("simd", simd::chosen()?.0)?;
    Ok(info)
}

/// How many passes kernels have run at each SIMD level of this machine, best level first.
#[pyfunction]
pub(crate) fn simd_passes(py: Python<'_>) -> Result<Bound<'_, PyDict>> {
    let counts = PyDict::new(py);
    for (name, count) in passes() {
        counts.set_item(name, count)?;
    }
    Ok(counts)
}
