//! The shaders of `fractal_core` on any GPU: Vulkan, Metal and Direct3D 12, through wgpu.
//!
//! | file | |
//! |---|---|
//! | `device` | the graphics API, which is named there and nowhere else |
//! | `options` | which adapter, and how it is used |
//! | [`pool`] | device memory, used again |
//! | `context` | a device with everything that is kept for it |
//! | [`process`] | the context that the calls of a process share |
//! | `buffer` | arrays in its memory |
//! | `kernel` | what is dispatched |
//! | `recorder` | lists of work |
//! | `mapped` | results, read in place |
//! | `checks` | whether an adapter computes what the CPU does |
//! | [`pieces`] | work in pieces that fit |
//! | [`hosted`] | work from the CPU's memory to the CPU's memory |
//! | [`ops`] | the shaders, a host function each |
//! | [`attention`] | sparse attention, forward and backward, on the CPU's plans |
//!
//! ```no_run
//! use fractal_gpu::{Kernel, Options, process};
//! use fractal_shaders::elementwise::{BINARY, ElementwiseParams};
//!
//! let context = process::context(&Options::default())?;
//! let (left, right) = (context.upload(&[1.0_f32, 2.0])?, context.upload(&[3.0_f32, 4.0])?);
//! let sum = context.alloc(8)?;
//! let add = Kernel::new(&BINARY, "add")?;
//! let mut commands = context.record();
//! let arrays = [left.whole(), right.whole(), sum.whole()];
//! commands.dispatch(&add, &arrays, &ElementwiseParams { n: 2 }, add.covering(2))?;
//! drop(arrays);
//! let [result] = commands.submit_reading([sum])?;
//! assert_eq!(result.cast::<f32>()?[..], [4.0, 6.0]);
//! # Ok::<(), fractal_gpu::GpuError>(())
//! ```
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod attention;
mod buffer;
mod checks;
mod context;
mod counters;
mod device;
mod error;
mod families;
mod faults;
pub mod hosted;
mod kernel;
mod mapped;
pub mod ops;
mod options;
pub mod pieces;
pub mod pool;
pub mod process;
mod recorder;
mod verdicts;

pub use buffer::{Buffer, BufferSlice};
pub use checks::{KernelFamily, Trial};
pub use context::Context;
pub use counters::Counts;
pub use device::{Abilities, AdapterInfo, Limits, Sort};
pub use error::{GpuError, Result};
pub use families::FAMILIES;
pub use faults::Fault;
pub use kernel::{Groups, Kernel};
pub use mapped::Mapped;
pub use options::{Api, Choice, OnFork, Options};
pub use recorder::{Recorder, Submission};
