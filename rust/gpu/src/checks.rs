//! Families of kernels, each with a problem of any size that is held against its CPU twins. A small one is tried before
//! the first use on a device: drivers compute wrong more often than they fail. Tests try many sizes, and the bench times
//! a large one.

use crate::context::Context;
use crate::error::{GpuError, Result};
use fractal_shaders::{Disagreement, Entry, Shader};
use std::cell::Cell;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Kernels that are checked together. Being listed in [`FAMILIES`](crate::FAMILIES) is what gives a shader its check on
/// every device, its property test and its row in the bench.
pub struct KernelFamily {
    /// Its name.
    pub name: &'static str,
    /// Runs a problem of each kernel and compares with [`Context::compare`]. It must not ask for its own family's check.
    pub check: fn(&Arc<Context>, &Trial) -> Result<()>,
}

/// One problem of a family.
#[derive(Debug)]
pub struct Trial {
    /// About how many values, points or pairs it has, from 0 on.
    pub size: usize,
    by_twins: Cell<Duration>,
}

impl Trial {
    /// Of the check before the first use: a few workgroups, the last one not full.
    const BEFORE_USE: usize = 300;

    /// A problem of a size.
    pub const fn new(size: usize) -> Self {
        Self { size, by_twins: Cell::new(Duration::ZERO) }
    }

    /// A side of a square of so many values, several times as long.
    pub(crate) fn side(&self, times: usize) -> usize {
        self.size.isqrt() * times
    }

    /// Runs a twin, whose time counts.
    pub(crate) fn twin<T>(&self, compute: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = compute();
        self.by_twins.set(self.by_twins.get() + start.elapsed());
        result
    }

    /// How long the twins took, each on one thread.
    pub fn by_twins(&self) -> Duration {
        self.by_twins.get()
    }
}

impl Context {
    /// Fails if this device computes a family wrong. Checked once; a second thread waits for the first one's answer.
    pub fn trust(self: &Arc<Self>, family: &KernelFamily) -> Result<()> {
        let verdict = self.verdicts().of(family.name);
        let mut verdict = verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*verdict {
            return known.clone();
        }
        let found = (family.check)(self, &Trial::new(Trial::BEFORE_USE));
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
