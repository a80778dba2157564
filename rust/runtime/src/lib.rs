//! What `fractal_core` shares with the process that it runs in: threads, memory, settings, handles.
//!
//! The kernels forbid unsafe code and know no thread pool, no environment and no global state; all of that is here, a
//! small file each, with the reason beside each `unsafe`. No Python: the bindings are above.
//!
//! | file | |
//! |---|---|
//! | [`process`] | which process loaded us: a forked child has no threads but its own |
//! | [`settings`] | what the environment asks for |
//! | [`simd`] | the SIMD level: the machine's best, or the one asked for |
//! | `pool` | our own threads, by rayon |
//! | [`openmp`] | torch's threads |
//! | [`executors`] | who of these runs a call |
//! | `mapping` | a large block that begins at a huge page |
//! | [`kept`] | such blocks for results, used again |
//! | [`allocator`] | such blocks for Rust's own large allocations |
//! | [`handles`] | living objects by number |
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
pub mod settings;
pub mod simd;
