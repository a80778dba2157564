//! The loop that measures peak throughput; the caller times it.

use crate::detached::detached;
use crate::error::Result;
use fractal_kernels::peak;
use fractal_runtime::run::OwnedRun;
use fractal_runtime::simd;
use pyo3::prelude::*;
use std::hint::black_box;

/// Runs the multiply-add chains at the level in use; returns the number of their floating-point operations.
#[pyfunction]
#[pyo3(signature = (steps, tasks, executor="rayon", threads=1))]
pub(crate) fn fma_chains(py: Python<'_>, steps: u32, tasks: u32, executor: &str, threads: usize) -> Result<u64> {
    let (steps, tasks) = (steps as usize, tasks as usize);
    let level = simd::level()?;
    let run = OwnedRun::named(executor, threads, peak::multiply_adds(level, steps, tasks))?;
    detached(py, || peak::fma_chains(steps, tasks, run.get()).map(black_box))?;
    Ok(peak::operations(level, steps, tasks))
}
