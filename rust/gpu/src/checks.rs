//! Before a family of kernels is first used on a device, a small problem is held against its CPU twins: drivers compute
//! wrong more often than they fail.

use crate::context::Context;
use crate::error::{GpuError, Result};
use fractal_shaders::{Disagreement, Entry, Shader};
use std::sync::{Arc, PoisonError};

/// Kernels that are checked together.
pub struct KernelFamily {
    /// Its name.
    pub name: &'static str,
    /// Runs a small problem of each and compares with [`Context::compare`]. It must not ask for its own family's check.
    pub check: fn(&Arc<Context>) -> Result<()>,
}

impl Context {
    /// Fails if this device computes a family wrong. Checked once; a second thread waits for the first one's answer.
    pub fn trust(self: &Arc<Self>, family: &KernelFamily) -> Result<()> {
        let verdict = self.verdicts().of(family.name);
        let mut verdict = verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*verdict {
            return known.clone();
        }
        let found = (family.check)(self);
        // What else may happen says nothing about what it computes.
        if matches!(found, Ok(()) | Err(GpuError::Wrong { .. })) {
            *verdict = Some(found.clone());
        }
        found
    }

    /// Holds a result against its twin's, as closely as the shader's table says.
    pub fn compare<T: Copy + Into<f64>>(&self, shader: &Shader, entry: &Entry, got: &[T], wanted: &[T]) -> Result<()> {
        let found = entry.tolerance.check(got, wanted);
        let injected = Disagreement { count: (1, got.len()), place: 0, got: f64::NAN, wanted: 0.0 };
        let found = if self.faults().wrong_result() { Err(injected) } else { found };
        found.map_err(|error| GpuError::Wrong {
            adapter: self.adapter().name.clone(),
            kernel: format!("{}: {}", shader.name, entry.name),
            what: error.to_string(),
        })
    }
}
