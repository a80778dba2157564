//! The seam between kernels and threads: a kernel cuts its work into tasks and is handed whoever runs them.
//!
//! Tasks are cut by the size of the problem alone, never by the number of threads, so every executor gives the same bits.
//! Between two tasks every executor looks whether the call is to stop ([`crate::interrupt`]).

use crate::interrupt::{self, StopSign};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Runs `tasks` independent tasks, each exactly once, and returns when all are done.
pub trait Executor: Sync {
    /// Calls `task(0)`, …, `task(tasks - 1)` in any order, on any threads. A panic of a task is raised again by the
    /// caller, once no task runs any more.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));

    /// How many tasks can make progress at once.
    fn threads(&self) -> usize;
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Executor for Serial {
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        for i in 0..tasks {
            interrupt::check();
            task(i);
        }
    }

    fn threads(&self) -> usize {
        1
    }
}

/// What the threads of one run share: the tasks, the next one, and the first panic.
pub struct Team<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: StopSign,
}

impl<'a> Team<'a> {
    /// A team for the caller's tasks.
    pub fn new(tasks: usize, task: &'a (dyn Fn(usize) + Sync)) -> Self {
        Self { task, tasks, next: AtomicUsize::new(0), panic: Mutex::new(None), stop: StopSign::here() }
    }

    /// Runs tasks until none is left. The calling thread keeps asking its watcher; the others obey the stop sign.
    pub fn work(&self, caller: bool) {
        let tasks = || {
            loop {
                interrupt::check();
                let i = self.next.fetch_add(1, Ordering::Relaxed);
                if i >= self.tasks {
                    return;
                }
                (self.task)(i);
            }
        };
        let caught = catch_unwind(AssertUnwindSafe(|| if caller { tasks() } else { self.stop.obeyed(tasks) }));
        if let Err(panic) = caught {
            self.fail(panic);
        }
    }

    /// Starts no task any more and keeps the panic, if it is the first.
    fn fail(&self, panic: Box<dyn Any + Send>) {
        self.next.store(self.tasks, Ordering::Relaxed);
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
    }

    /// Raises the first panic again, if there was one; called when every thread has left.
    pub fn finish(self) {
        if let Some(panic) = self.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

/// A rayon pool.
pub struct Rayon<'a>(pub &'a rayon::ThreadPool);

impl Executor for Rayon<'_> {
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        // A thread of the pool must not wait for the pool.
        if tasks <= 1 || self.0.current_thread_index().is_some() {
            return Serial.run(tasks, task);
        }
        let team = Team::new(tasks, task);
        let threads = self.threads().min(tasks);
        let (working, left) = (Mutex::new(threads), Condvar::new());
        self.0.in_place_scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|_| {
                    team.work(false);
                    *working.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
                    left.notify_one();
                });
            }
            let mut count = working.lock().unwrap_or_else(PoisonError::into_inner);
            while *count > 0 {
                let waited = left.wait_timeout(count, Duration::from_millis(50));
                count = waited.unwrap_or_else(PoisonError::into_inner).0;
                // Asked without the lock, which a thread that leaves needs.
                drop(count);
                if let Err(stopped) = interrupt::checked() {
                    team.fail(stopped);
                }
                count = working.lock().unwrap_or_else(PoisonError::into_inner);
            }
        });
        team.finish();
    }

    fn threads(&self) -> usize {
        self.0.current_num_threads()
    }
}

/// Splits `out` into pieces of `piece` elements and runs `task(index, piece)` on each.
pub fn for_each_chunk<T: Send>(
    executor: &dyn Executor,
    out: &mut [T],
    piece: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let pieces = out.chunks_mut(piece.max(1)).enumerate();
    // Whoever is free takes the next piece: a list of them would be memory whose size the caller decides.
    let (count, rest) = (pieces.len(), Mutex::new(pieces));
    executor.run(count, &|_| {
        let next = rest.lock().unwrap_or_else(PoisonError::into_inner).next();
        if let Some((i, piece)) = next {
            task(i, piece);
        }
    });
}
