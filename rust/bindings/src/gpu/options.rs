//! What the process asks of the GPU: read from the environment at the first question, and set by Python.

use crate::error::Result;
use fractal_gpu::{Api, Choice, OnFork, Options, process};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Held only with the GIL, so that no child is forked while it is.
static OPTIONS: Mutex<Option<Options>> = Mutex::new(None);

/// The options of this process.
pub(super) fn options(_with_gil: Python<'_>) -> Result<Options> {
    let mut kept = OPTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(options) = &*kept {
        return Ok(options.clone());
    }
    Ok(kept.insert(Options::from_environment()?).clone())
}

/// What Python names them.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches")]
pub(crate) struct GivenOptions {
    adapter: Option<String>,
    api: Option<String>,
    allow_software: bool,
    allow_noncompliant: bool,
    validate: bool,
    timeout: f64,
    pool_bytes: Option<u64>,
    mapped_bytes: u64,
    on_fork: String,
    require: bool,
}

fn named<T: Copy>(names: &[(&str, T)], name: &str, argument: &'static str) -> Result<T> {
    let found = names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let allowed = || names.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    Ok(found.ok_or_else(|| fractal_kernels::KernelError::value(argument, format!("{name:?}"), allowed()))?)
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> Option<&'static str> {
    names.iter().find(|(_, known)| known == value).map(|(name, _)| *name)
}

/// The options as they are.
#[pyfunction]
pub(crate) fn gpu_options(py: Python<'_>) -> Result<Bound<'_, PyDict>> {
    let options = options(py)?;
    let found = PyDict::new(py);
    found.set_item("adapter", &options.choice.adapter)?;
    found.set_item("api", options.choice.api.and_then(|api| name_of(&Api::NAMES, &api)))?;
    found.set_item("allow_software", options.choice.allow_software)?;
    found.set_item("allow_noncompliant", options.choice.allow_noncompliant)?;
    found.set_item("validate", options.choice.validate)?;
    found.set_item("timeout", options.timeout.as_secs_f64())?;
    found.set_item("pool_bytes", options.pool_bytes)?;
    found.set_item("mapped_bytes", options.mapped_bytes)?;
    found.set_item("on_fork", name_of(&OnFork::NAMES, &options.on_fork))?;
    found.set_item("require", options.require)?;
    Ok(found)
}

/// Sets all of them. A context that is open takes over what it can; another choice of adapter opens one anew.
#[pyfunction]
#[pyo3(signature = (given, /))]
pub(crate) fn set_gpu_options(given: GivenOptions) -> Result<()> {
    let options = Options {
        choice: Choice {
            adapter: given.adapter,
            api: given.api.map(|name| named(&Api::NAMES, &name, "api")).transpose()?,
            allow_software: given.allow_software,
            allow_noncompliant: given.allow_noncompliant,
            validate: given.validate,
        },
        timeout: Duration::from_secs_f64(given.timeout),
        pool_bytes: given.pool_bytes,
        mapped_bytes: given.mapped_bytes,
        on_fork: named(&OnFork::NAMES, &given.on_fork, "on_fork")?,
        require: given.require,
    };
    if let Some(context) = process::opened() {
        context.apply(&options);
    }
    *OPTIONS.lock().unwrap_or_else(PoisonError::into_inner) = Some(options);
    Ok(())
}
