//! Fractal index sets, escape fields and index-sparse attention with gradients.
//!
//! Floor 0 of `fractal_core`: pure functions over slices. No Python, no GPU, no thread pool of its own: a
//! parallel kernel is handed an [`executor::Executor`], a vector kernel a [`simd::Run`].
//!
//! From the ground up, each using those before it: [`error`]; [`memory`] and [`interrupt`], the two ways in which a
//! call ends early; [`executor`]; [`simd`]; [`curves`], [`fields`], [`sets`], [`elementwise`],
//! [`boxes`], [`linear`], [`distance`], [`density`] and [`dimension`]; [`index_set`], which keys each query
//! attends to; [`plan`], how that runs; [`builders`] of index sets, and [`attention`].
//!
//! ```
//! use fractal_kernels::attention::{Call, Keys, LogSums, Modifiers, Problem, View};
//! use fractal_kernels::builders::{Span, window};
//! use fractal_kernels::executor::Serial;
//! use fractal_kernels::plan::PlannedSet;
//! use fractal_kernels::simd::{Run, levels};
//!
//! // Eight tokens attend to themselves and the one before; one head of width 4.
//! let set = PlannedSet::new(window(Span::new(8, 8, true)?, 1)?);
//! let (shape, x) = ([1, 1, 8, 4], [1.0_f32; 32]);
//! let view = View::contiguous(&x, shape);
//! let (key_bias, key_padding, edge_bias, dropout) = (None, None, None, None);
//! let modifiers = Modifiers::default();
//! let problem = Problem { q: view, k: view, v: view, scale: 0.5, key_bias, key_padding, edge_bias, dropout, modifiers };
//! let (mut out, mut lse) = ([0.0; 32], [0.0; 8]);
//! let call = Call { problem, keys: Keys::Set(&set) };
//! call.forward(Run::new(levels()[0].1, &Serial), &mut out, LogSums { lse: &mut lse, rest: None })?;
//! assert_eq!(out, x);
//! # Ok::<(), fractal_kernels::KernelError>(())
//! ```
#![forbid(unsafe_code)]

pub mod attention;
pub mod boxes;
pub mod builders;
pub mod curves;
pub mod density;
pub mod dimension;
pub mod distance;
pub mod elementwise;
pub mod error;
pub mod executor;
pub mod fields;
pub mod index_set;
pub mod interrupt;
pub mod linear;
pub mod memory;
pub mod peak;
pub mod plan;
pub mod sets;
pub mod simd;
mod splitmix;

pub use error::{ErrorKind, KernelError};
