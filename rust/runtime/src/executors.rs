//! The threads that run the tasks of a call: our own pool, torch's OpenMP threads, or the caller alone.
//!
//! A forked child has the threads of neither pool and runs alone; so does a call with little work.

use crate::{openmp, pool, process, settings};
use fractal_kernels::KernelError;
use fractal_kernels::error::Result;
use fractal_kernels::executor::{Executor, Rayon, Serial};

/// Multiply-adds below which waking a thread costs more than it saves.
const SMALL: usize = 1 << 20;
/// The same for torch's threads, which are mostly awake.
const SMALL_OPENMP: usize = 1 << 17;

/// The executor for NumPy callers: our pool, or the caller alone in a forked child.
pub fn default() -> Result<Box<dyn Executor>> {
    if process::forked() { Ok(Box::new(Serial)) } else { Ok(Box::new(Rayon(pool::pool()?))) }
}

/// The executor of a name; `threads` is torch's own setting, `work` the multiply-adds of the call.
pub fn named(name: &str, threads: usize, work: usize) -> Result<Box<dyn Executor>> {
    let threads = settings::threads()?.unwrap_or(threads);
    let alone = match name {
        "serial" => true,
        "rayon" => work < SMALL,
        "openmp" => work < SMALL_OPENMP || threads == 1,
        _ => {
            return Err(KernelError::value("executor", format!("{name:?}"), "\"rayon\", \"openmp\" or \"serial\""));
        }
    };
    if alone || process::forked() {
        return Ok(Box::new(Serial));
    }
    let torch = if name == "openmp" { openmp::executor(threads) } else { None };
    torch.map_or_else(default, Ok)
}

/// Number of threads that run a call from NumPy.
pub fn threads() -> Result<usize> {
    if process::forked() { Ok(1) } else { Ok(pool::pool()?.current_num_threads()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn all() -> Vec<Box<dyn Executor>> {
        let mut all = vec![default().unwrap()];
        all.extend(["rayon", "openmp", "serial"].map(|name| named(name, 2, usize::MAX).unwrap()));
        all
    }

    #[test]
    fn each_task_runs_once() {
        for executor in all() {
            for tasks in [0, 1, 2, 7, 1000] {
                let ran: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                executor.run(tasks, &|i| {
                    ran[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(ran.iter().all(|times| times.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_tasks_panic_is_the_callers() {
        for executor in all() {
            let run = || {
                executor.run(100, &|i| {
                    if i == 42 {
                        std::panic::resume_unwind(Box::new(i));
                    }
                });
            };
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&42_usize));
            executor.run(3, &|_| ());
        }
    }

    #[test]
    fn little_work_is_the_callers() {
        for (name, small) in [("rayon", SMALL), ("openmp", SMALL_OPENMP)] {
            let caller = std::thread::current().id();
            named(name, 4, small - 1).unwrap().run(100, &|_| {
                std::thread::sleep(Duration::from_micros(50));
                assert_eq!(std::thread::current().id(), caller);
            });
        }
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let error = named("tbb", 1, 0).err().unwrap();
        assert_eq!((error.argument, error.given.as_str()), ("executor", "\"tbb\""));
    }
}
