//! Where the SIMD level and the executor of a call meet.

use crate::{executors, simd};
use fractal_kernels::error::Result;
use fractal_kernels::executor::{Executor, Serial};
use fractal_kernels::simd::{Level, Run};
use std::fmt;

/// A [`Run`] with an executor of its own.
pub struct OwnedRun {
    level: Level,
    executor: Box<dyn Executor>,
}

impl OwnedRun {
    /// For NumPy callers: the level in use, on the [default executor](executors::default).
    pub fn pooled() -> Result<Self> {
        Ok(Self { level: simd::level()?, executor: executors::default()? })
    }

    /// The level in use, on the [executor of a name](executors::named).
    pub fn named(name: &str, threads: usize, work: usize) -> Result<Self> {
        Ok(Self { level: simd::level()?, executor: executors::named(name, threads, work)? })
    }

    /// The level in use, on the caller's thread alone.
    pub fn serial() -> Result<Self> {
        Ok(Self { level: simd::level()?, executor: Box::new(Serial) })
    }

    /// What kernels are handed.
    pub fn get(&self) -> Run<'_> {
        Run::new(self.level, &*self.executor)
    }
}

impl fmt::Debug for OwnedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
