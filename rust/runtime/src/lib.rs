//! What `fractal_core` shares with the process that it runs in: threads, memory, settings, handles.
//!
//! The kernels forbid unsafe code and know neither a thread pool nor the environment. All of that is here, a small file
//! each, with the reason beside each `unsafe`. No Python: the bindings are above.
//!
//! | file | |
//! |---|---|
//! | [`process`] | the process that loaded the library: a forked child has only the thread that forked |
//! | [`settings`] | settings from environment variables |
//! | [`simd`] | the SIMD level: the machine's best, or the one that the environment names |
//! | `pool` | our own threads, a rayon pool |
//! | [`openmp`] | torch's threads |
//! | [`executors`] | which of these run a call |
//! | [`run`] | level and executor together |
//! | `mapping` | a large block that begins at a huge page |
//! | [`kept`] | such blocks for results, reused |
//! | [`allocator`] | such blocks for Rust's own large allocations |
//! | [`handles`] | live objects by integer key |
//!
//! ```
//! use fractal_kernels::executor::for_each_chunk;
//!
//! let executor = fractal_runtime::executors::default()?;
//! let mut squares = vec![0; 1000];
//! for_each_chunk(&*executor, &mut squares, 100, |piece, part| {
//!     for (i, square) in part.iter_mut().enumerate() {
//!         *square = (100 * piece + i).pow(2);
//!     }
//! });
//! assert_eq!(squares[999], 998_001);
//! # Ok::<(), fractal_kernels::KernelError>(())
//! ```
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod allocator;
pub mod executors;
pub mod handles;
pub mod kept;
mod mapping;
pub mod openmp;
mod pool;
pub mod process;
pub mod run;
pub mod settings;
pub mod simd;
