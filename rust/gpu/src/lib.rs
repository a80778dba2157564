//! The shaders of `fractal_core` on any GPU: Vulkan, Metal and Direct3D 12, through wgpu.
//!
//! | file | |
//! |---|---|
//! | `device` | the graphics API, which is named there and nowhere else |
//! | `options` | which adapter, and how it is used |
//! | `context` | the device of this process, opened when first asked for |
//! | `pool` | its memory, used again |
//! | `buffer` | arrays in it |
//! | `kernel` | what is dispatched |
//! | `recorder` | lists of work |
//! | `mapped` | results, read in place |
//! | [`ops`] | the shaders, a host function each |
//! | [`attention`] | sparse attention, forward and backward, on the CPU's plans |
//!
//! ```no_run
//! use fractal_gpu::{Context, Kernel, Options};
//! use fractal_shaders::elementwise::{BINARY, ElementwiseParams};
//!
//! let context = Context::get(&Options::default())?;
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
mod context;
mod device;
mod error;
mod kernel;
mod mapped;
pub mod ops;
mod options;
mod pool;
mod recorder;

pub use buffer::{Buffer, View};
pub use context::Context;
pub use device::{Abilities, AdapterInfo, Limits, Sort};
pub use error::{GpuError, Result};
pub use kernel::{Groups, Kernel};
pub use mapped::Mapped;
pub use options::Options;
pub use recorder::{Recorder, Submission};
