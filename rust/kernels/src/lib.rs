//! Fractal index sets, escape fields and index-sparse attention with gradients.
//!
//! Floor 0 of `fractal_core`: pure functions over slices. No Python, no GPU, no thread pool of its own: whatever runs
//! in parallel is handed an [`executor::Executor`].
#![forbid(unsafe_code)]

pub mod attention;
pub mod builders;
pub mod curves;
pub mod error;
pub mod executor;
pub mod fields;
pub mod index_set;
pub mod interrupt;
pub mod memory;
pub mod peak;
pub mod plan;
pub mod sets;
pub mod simd;

pub use error::{ErrorKind, KernelError};
