//! torch's OpenMP threads.
//!
//! After any parallel torch op, torch's OpenMP workers spin on their cores for milliseconds and compete with any other
//! pool, so calls from torch run on those same threads, through libgomp's public entry `GOMP_parallel`.

#[cfg(unix)]
pub(crate) use unix::executor;
#[cfg(unix)]
pub use unix::{attach, attached};

#[cfg(not(unix))]
pub(crate) use missing::executor;
#[cfg(not(unix))]
pub use missing::{attach, attached};

#[cfg(unix)]
mod unix {
    use fractal_kernels::executor::{Executor, Serial, Team};
    use libloading::os::unix::Library;
    use std::ffi::{c_uint, c_void};
    use std::sync::OnceLock;
    use std::thread::ThreadId;

    /// `void GOMP_parallel(void (*fn)(void *), void *data, unsigned num_threads, unsigned flags)`
    type GompParallel = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

    /// The entry point, and its library, which is never closed.
    static GOMP: OnceLock<(GompParallel, Library)> = OnceLock::new();

    /// Whether an OpenMP runtime was found.
    pub fn attached() -> bool {
        GOMP.get().is_some()
    }

    /// Attaches to the OpenMP runtime that the process has loaded from this file; false where it cannot be used.
    pub fn attach(path: &str) -> bool {
        attached() || found(path).is_some_and(|found| GOMP.set(found).is_ok() || attached())
    }

    fn found(path: &str) -> Option<(GompParallel, Library)> {
        // SAFETY: RTLD_NOLOAD runs no initialiser: it finds a library that is loaded already, or none.
        let library = unsafe { Library::open(Some(path), libc::RTLD_NOLOAD | libc::RTLD_LAZY) }.ok()?;
        // SAFETY: the entry has had this signature since GCC 4.9, and LLVM's libomp exports the same.
        let parallel = *unsafe { library.get::<GompParallel>("GOMP_parallel") }.ok()?;
        Some((parallel, library))
    }

    /// An executor on `threads` of the runtime's threads, if one is attached.
    pub(crate) fn executor(threads: usize) -> Option<Box<dyn Executor>> {
        GOMP.get().map(|&(parallel, _)| Box::new(OpenMp { parallel, threads }) as Box<dyn Executor>)
    }

    struct OpenMp {
        parallel: GompParallel,
        threads: usize,
    }

    struct Shared<'a> {
        team: Team<'a>,
        caller: ThreadId,
    }

    extern "C" fn member(data: *mut c_void) {
        // SAFETY: `data` is the `Shared` on the stack of `run`, which outlives the parallel region.
        let shared = unsafe { &*data.cast_const().cast::<Shared<'_>>() };
        // Panics are kept by the team, so none crosses the C frame.
        shared.team.work(std::thread::current().id() == shared.caller);
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

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::collections::HashSet;
        use std::panic::{AssertUnwindSafe, catch_unwind};
        use std::sync::{Barrier, Mutex};

        /// What libgomp does: the caller and fresh threads run `work`, and all are joined.
        unsafe extern "C" fn parallel(work: extern "C" fn(*mut c_void), data: *mut c_void, threads: c_uint, _: c_uint) {
            let data = data.expose_provenance();
            std::thread::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(move || work(std::ptr::with_exposed_provenance_mut(data)));
                }
                work(std::ptr::with_exposed_provenance_mut(data));
            });
        }

        #[test]
        fn the_tasks_run_on_the_runtimes_threads() {
            let executor = OpenMp { parallel, threads: 3 };
            let (seen, meet) = (Mutex::new(HashSet::new()), Barrier::new(3));
            executor.run(3, &|_| {
                meet.wait();
                seen.lock().unwrap().insert(std::thread::current().id());
            });
            let seen = seen.into_inner().unwrap();
            assert_eq!(seen.len(), 3);
            assert!(seen.contains(&std::thread::current().id()));
        }

        #[test]
        fn no_panic_crosses_the_runtime() {
            let executor = OpenMp { parallel, threads: 4 };
            let run = || {
                executor.run(50, &|i| {
                    if i > 10 {
                        std::panic::resume_unwind(Box::new("a task's"));
                    }
                });
            };
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"a task's"));
        }

        #[test]
        fn a_library_that_is_not_loaded_stays_unloaded() {
            for path in ["/nowhere/libgomp.so.1", "", "a\0b", "/bin"] {
                assert!(!attach(path));
            }
            assert!(!attached());
            assert!(executor(2).is_none());
        }
    }
}

#[cfg(not(unix))]
mod missing {
    use fractal_kernels::executor::Executor;

    /// No OpenMP runtime is ever found here.
    pub fn attached() -> bool {
        false
    }

    /// Attaches to nothing here.
    pub fn attach(_: &str) -> bool {
        false
    }

    pub(crate) fn executor(_: usize) -> Option<Box<dyn Executor>> {
        None
    }
}
