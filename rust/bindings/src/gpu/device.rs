//! Adapters, the device that is used, and its memory.

use super::options::options;
use crate::detached::released;
use crate::error::Result;
use fractal_gpu::pool::PoolStatistics;
use fractal_gpu::{AdapterInfo, Context, Counts, FAMILIES, Fault, GpuError, KernelFamily, Sort, Trial, process};
use fractal_kernels::KernelError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

fn sort_name(sort: Sort) -> &'static str {
    match sort {
        Sort::Discrete => "discrete",
        Sort::Integrated => "integrated",
        Sort::Virtual => "virtual",
        Sort::Other => "other",
        Sort::Software => "software",
    }
}

fn adapter_dict<'py>(py: Python<'py>, info: &AdapterInfo) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(py);
    found.set_item("number", info.index)?;
    found.set_item("name", &info.name)?;
    found.set_item("kind", sort_name(info.sort))?;
    found.set_item("api", &info.api)?;
    found.set_item("driver", &info.driver)?;
    found.set_item("rejected", &info.rejected)?;
    Ok(found)
}

/// Every adapter, best first. Opens no device.
#[pyfunction]
pub(crate) fn gpu_adapters(py: Python<'_>) -> Result<Bound<'_, PyList>> {
    let choice = options(py)?.choice;
    let found = released(py, move || Context::adapters(&choice))?;
    let dicts = found.iter().map(|info| adapter_dict(py, info)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, dicts)?)
}

/// The device that is used, opened if none is.
#[pyfunction]
pub(crate) fn gpu_device(py: Python<'_>) -> Result<Bound<'_, PyDict>> {
    let options = options(py)?;
    let context = released(py, move || process::context(&options))?;
    let (limits, abilities) = (context.limits(), context.abilities());
    let found = adapter_dict(py, context.adapter())?;
    found.del_item("rejected")?;
    found.set_item("generation", context.generation())?;
    found.set_item("unified_memory", abilities.unified)?;
    found.set_item("subgroup_size", abilities.subgroups)?;
    found.set_item("float16", abilities.f16)?;
    found.set_item("timestamps", abilities.timestamps)?;
    found.set_item("buffer_bytes", limits.buffer_bytes)?;
    found.set_item("binding_bytes", limits.binding_bytes)?;
    Ok(found)
}

/// What the memory pool has counted; zeros where no device is open.
#[pyfunction]
pub(crate) fn gpu_memory(py: Python<'_>) -> Result<Bound<'_, PyDict>> {
    let context = process::opened();
    let pool = context.as_ref().map_or_else(PoolStatistics::default, |context| context.memory());
    let found = PyDict::new(py);
    found.set_item("allocated", pool.allocated)?;
    found.set_item("requested", pool.requested)?;
    found.set_item("cached", pool.cached)?;
    found.set_item("mapped", context.map_or(0, |context| context.counts().mapped))?;
    found.set_item("peak", pool.peak)?;
    found.set_item("hits", pool.hits)?;
    found.set_item("misses", pool.misses)?;
    found.set_item("freed", pool.freed)?;
    found.set_item("internal_fragmentation", pool.internal_fragmentation())?;
    found.set_item("external_fragmentation", pool.external_fragmentation())?;
    Ok(found)
}

/// What the open device has done; zeros where none is open.
#[pyfunction]
pub(crate) fn gpu_counts(py: Python<'_>) -> Result<Bound<'_, PyDict>> {
    let counts = process::opened().map_or_else(Counts::default, |context| context.counts());
    let found = PyDict::new(py);
    found.set_item("submissions", counts.submissions)?;
    found.set_item("dispatches", counts.dispatches)?;
    found.set_item("pipelines", counts.pipelines)?;
    found.set_item("uploaded", counts.uploaded)?;
    found.set_item("staged", counts.staged)?;
    Ok(found)
}

/// Frees kept memory until at most so many bytes are left.
#[pyfunction]
#[pyo3(signature = (keep, /))]
pub(crate) fn gpu_trim(py: Python<'_>, keep: u64) -> Result<()> {
    released(py, move || process::opened().map_or(Ok(()), |context| context.trim(keep)))
}

/// Gives the open device up.
#[pyfunction]
pub(crate) fn gpu_destroy(py: Python<'_>) -> Result<()> {
    released(py, || process::opened().map_or(Ok(()), |context| context.destroy()))
}

/// Compiles families of kernels and holds each against its CPU twins; returns the names of those that were.
#[pyfunction]
#[pyo3(signature = (families, /))]
pub(crate) fn gpu_warmup(py: Python<'_>, families: Option<Vec<String>>) -> Result<Vec<&'static str>> {
    let options = options(py)?;
    released(py, move || {
        let wanted = families.unwrap_or_else(|| FAMILIES.iter().map(|family| family.name.into()).collect());
        let mut found = Vec::new();
        for name in &wanted {
            found.push(family(name)?);
        }
        let context = process::context(&options)?;
        found.iter().try_for_each(|family| context.trust(family))?;
        Ok::<_, GpuError>(found.iter().map(|family| family.name).collect())
    })
}

fn family(name: &str) -> fractal_gpu::Result<&'static KernelFamily> {
    let found = FAMILIES.iter().find(|family| family.name == name).copied();
    found.ok_or_else(|| {
        let names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        KernelError::value("kernels", format!("{name:?}"), names.join(", ")).into()
    })
}

/// Holds a family to its twins on a problem of a size; returns the seconds that the twins took, on one thread.
#[pyfunction]
#[pyo3(signature = (name, size, /))]
pub(crate) fn gpu_try(py: Python<'_>, name: &str, size: usize) -> Result<f64> {
    let (family, options) = (family(name)?, options(py)?);
    released(py, move || {
        let trial = Trial::new(size);
        (family.check)(&process::context(&options)?, &trial)?;
        Ok::<_, GpuError>(trial.by_twins().as_secs_f64())
    })
}

/// Names of the families of kernels.
#[pyfunction]
pub(crate) fn gpu_families() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.name).collect()
}

/// Times what is submitted from now on by the device's own clock, or no more; False where it has none.
#[pyfunction]
#[pyo3(signature = (on, /))]
pub(crate) fn gpu_time(py: Python<'_>, on: bool) -> Result<bool> {
    let options = options(py)?;
    released(py, move || process::context(&options)?.time(on))
}

/// Seconds that the device worked on what was timed since this was asked before.
#[pyfunction]
pub(crate) fn gpu_timed(py: Python<'_>) -> Result<f64> {
    let options = options(py)?;
    released(py, move || process::context(&options)?.timed()).map(|time| time.as_secs_f64())
}

/// Waits until the open device has done everything that was submitted.
#[pyfunction]
pub(crate) fn gpu_wait(py: Python<'_>) -> Result<()> {
    released(py, || process::opened().map_or(Ok(()), |context| context.wait_idle()))
}

/// Makes the open device fail on purpose, for tests: "memory" for so many allocations of so many bytes, or "result".
#[pyfunction]
#[pyo3(signature = (fault, times=1, from_bytes=0, /))]
pub(crate) fn gpu_inject(py: Python<'_>, fault: &str, times: u32, from_bytes: u64) -> Result<()> {
    let fault = match fault {
        "memory" => Fault::OutOfMemory { times, from_bytes },
        "result" => Fault::WrongResult,
        other => return Err(KernelError::value("fault", format!("{other:?}"), "memory, result").into()),
    };
    let options = options(py)?;
    released(py, move || process::context(&options).map(|context| context.inject(fault)))
}
