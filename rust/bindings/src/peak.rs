//! The peak loop; whoever calls it holds the watch.

use crate::detached::detached;
use crate::error::Result;
use fractal_kernels::peak;
use fractal_kernels::simd::Run;
use fractal_runtime::{executors, simd};
use pyo3::prelude::*;
use std::hint::black_box;

/// Runs the multiply-add chains at the level in use and gives the number of their floating-point operations.
#[pyfunction]
#[pyo3(signature = (steps, tasks, executor="rayon", threads=1))]
pub(crate) fn fma_chains(py: Python<'_>, steps: u32, tasks: u32, executor: &str, threads: usize) -> Result<u64> {
    let (steps, tasks) = (steps as usize, tasks as usize);
    let level = simd::level()?;
    let work = peak::multiply_adds(level, steps, tasks);
    let executor = executors::named(executor, threads, work as usize)?;
    detached(py, || peak::fma_chains(steps, tasks, Run::new(level, &*executor)).map(black_box))?;
    Ok(2 * work)
}
