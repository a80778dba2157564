//! Our own threads, started at the first call that needs them.

use crate::settings;
use fractal_kernels::KernelError;
use fractal_kernels::error::Result;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::OnceLock;

static POOL: OnceLock<ThreadPool> = OnceLock::new();

/// The pool, with a thread for each core unless the environment sets another number.
pub(crate) fn pool() -> Result<&'static ThreadPool> {
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let threads = settings::threads()?.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let pool = started(threads)?;
    Ok(POOL.get_or_init(|| pool))
}

fn started(threads: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("fractal-core-{i}"))
        .build()
        .map_err(|e| KernelError::value("threads", format!("{threads} ({e})"), "threads that the system can start"))
}
