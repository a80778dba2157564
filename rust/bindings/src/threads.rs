//! Who runs the tasks: a rayon pool of our own, torch's OpenMP threads, or the caller alone.
//!
//! After any parallel torch op, torch's OpenMP workers spin on their cores for milliseconds and fight every second pool,
//! so calls from torch run on those very threads, through libgomp's public entry `GOMP_parallel`. A forked child has
//! neither pool's threads and runs alone.

use crate::error::Result;
use fractal_kernels::KernelError;
use fractal_kernels::executor::{Executor, Rayon, Serial};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rayon::ThreadPool;
use std::sync::OnceLock;

static PARENT: OnceLock<u32> = OnceLock::new();
static POOL: OnceLock<ThreadPool> = OnceLock::new();

/// Remembers the process that loaded the extension.
pub(crate) fn remember_process() {
    PARENT.get_or_init(std::process::id);
}

/// The caller is a forked child of the process that loaded the extension.
fn forked() -> bool {
    PARENT.get().is_some_and(|&pid| pid != std::process::id())
}

/// The thread count that the environment asks for.
fn asked() -> Result<Option<usize>> {
    const NAME: &str = "FRACTAL_CORE_NUM_THREADS";
    match std::env::var(NAME) {
        Err(_) => Ok(None),
        Ok(text) => match text.trim().parse::<usize>() {
            Ok(n) if (1..=1024).contains(&n) => Ok(Some(n)),
            _ => Err(KernelError::value(NAME, format!("{text:?}"), "a whole number from 1 to 1024").into()),
        },
    }
}

fn pool() -> Result<&'static ThreadPool> {
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let threads = asked()?.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("fractal-core-{i}"))
        .build()
        .map_err(|e| KernelError::value("threads", format!("{threads} ({e})"), "threads that the system can start"))?;
    Ok(POOL.get_or_init(|| pool))
}

/// The executor for NumPy callers: our pool, or the caller alone in a forked child.
pub(crate) fn default_executor() -> Result<Box<dyn Executor>> {
    if forked() { Ok(Box::new(Serial)) } else { Ok(Box::new(Rayon(pool()?))) }
}

/// The executor of a name; `threads` is what torch was told to use, `work` the multiply-adds to be done.
pub(crate) fn executor(name: &str, threads: usize, work: usize) -> Result<Box<dyn Executor>> {
    // Below this, waking a thread costs more than it saves; torch's threads are mostly awake.
    let small: usize = if name == "openmp" { 1 << 17 } else { 1 << 20 };
    let threads = asked()?.unwrap_or(threads);
    if !["rayon", "openmp", "serial"].contains(&name) {
        return Err(KernelError::value("executor", format!("{name:?}"), "\"rayon\", \"openmp\" or \"serial\"").into());
    }
    if name == "serial" || work < small || forked() || (name == "openmp" && threads == 1) {
        return Ok(Box::new(Serial));
    }
    #[cfg(unix)]
    if let (true, Some(gomp)) = (name == "openmp", openmp::attached()) {
        return Ok(Box::new(openmp::OpenMp::new(gomp, threads)));
    }
    default_executor()
}

/// Attaches to the OpenMP runtime that the process has loaded from this file; False where it cannot be used.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub(crate) fn attach_openmp(path: &str) -> bool {
    #[cfg(unix)]
    return openmp::attach(path);
    #[cfg(not(unix))]
    return {
        let _ = path;
        false
    };
}

/// Threads of the pool, whether an OpenMP runtime is attached, whether this is a forked child, the SIMD level.
#[pyfunction]
pub(crate) fn thread_info(py: Python<'_>) -> Result<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("threads", if forked() { 1 } else { pool()?.current_num_threads() })?;
    #[cfg(unix)]
    info.set_item("openmp", openmp::attached().is_some())?;
    #[cfg(not(unix))]
    info.set_item("openmp", false)?;
    info.set_item("forked", forked())?;
    info.set_item("simd", crate::simd::chosen()?.0)?;
    Ok(info)
}

#[cfg(unix)]
mod openmp {
    use fractal_kernels::executor::{Executor, Serial, Team};
    use std::ffi::{CString, c_uint, c_void};
    use std::sync::OnceLock;

    /// `void GOMP_parallel(void (*fn)(void *), void *data, unsigned num_threads, unsigned flags)`
    type GompParallel = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

    static GOMP: OnceLock<GompParallel> = OnceLock::new();

    pub(super) fn attached() -> Option<GompParallel> {
        GOMP.get().copied()
    }

    pub(super) fn attach(path: &str) -> bool {
        if GOMP.get().is_some() {
            return true;
        }
        let Ok(path) = CString::new(path) else { return false };
        // SAFETY: RTLD_NOLOAD loads nothing, it only finds a library that is already there; the handle is kept for ever,
        // so the symbol stays. GOMP_parallel has had this signature since GCC 4.9, and LLVM's libomp exports the same.
        unsafe {
            let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY);
            if library.is_null() {
                return false;
            }
            let symbol = libc::dlsym(library, c"GOMP_parallel".as_ptr());
            if symbol.is_null() {
                return false;
            }
            GOMP.get_or_init(|| std::mem::transmute::<*mut c_void, GompParallel>(symbol));
        }
        true
    }

    /// The threads of the OpenMP runtime that torch uses.
    pub(super) struct OpenMp {
        parallel: GompParallel,
        threads: usize,
    }

    impl OpenMp {
        pub(super) fn new(parallel: GompParallel, threads: usize) -> Self {
            Self { parallel, threads }
        }
    }

    extern "C" fn member(data: *mut c_void) {
        // SAFETY: `data` is the `Shared` on the stack of `run`, which outlives the parallel region.
        let shared = unsafe { &*data.cast_const().cast::<Shared<'_>>() };
        // Panics are kept by the team, so none crosses the C frame.
        shared.team.work(std::thread::current().id() == shared.caller);
    }

    struct Shared<'a> {
        team: Team<'a>,
        caller: std::thread::ThreadId,
    }

    impl Executor for OpenMp {
        fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            let threads = self.threads.min(tasks);
            if threads <= 1 {
                return Serial.run(tasks, task);
            }
            let shared = Shared { team: Team::new(tasks, 1, task), caller: std::thread::current().id() };
            // SAFETY: `member` only reads what is shared, which lives until GOMP_parallel has joined every thread.
            unsafe {
                (self.parallel)(member, (&raw const shared).cast::<c_void>().cast_mut(), threads as c_uint, 0);
            }
            shared.team.finish();
        }
    }
}
