//! Fractal index sets, escape fields and index-sparse attention with gradients.
//!
//! Floor 0 of `fractal_core`: pure functions over slices. No Python, no GPU, no thread pool of its own: whatever runs
//! in parallel is handed an [`executor::Executor`].
#![forbid(unsafe_code)]

pub mod attention;
mod batch;
mod blocks;
pub mod builders;
pub mod cantor;
pub mod dragon;
pub mod error;
pub mod executor;
pub mod gradient;
pub mod hilbert;
pub mod hilbert_order;
pub mod index_set;
pub mod interrupt;
pub mod julia;
pub mod lanes;
pub mod lattice;
pub mod memory;
pub mod morton;
mod orbit;
pub mod peak;
pub mod plan;
mod plane;
mod plane_digits;
pub mod planned;
pub mod potential;
pub mod soft_julia;
mod space;

pub use error::{ErrorKind, KernelError};
