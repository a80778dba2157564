//! The seam between kernels and threads: a kernel cuts its work into tasks and is handed an executor that runs them.
//!
//! Tasks are cut by the size of the problem alone, never by the number of threads, so every executor gives the same
//! bits. Between two tasks every executor checks whether the call is to stop ([`crate::interrupt`]).

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
}

/// What the threads of one run share: the tasks, the next ones to start, and the first panic.
pub struct Team<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    /// The next task of each stretch of neighbours. Each thread begins with a stretch of its own, so that one thread
    /// writes the pages that neighbours share, and goes on with the stretches of others.
    next: Vec<AtomicUsize>,
    arrived: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: StopSign,
}

impl<'a> Team<'a> {
    /// A team for the caller's tasks, cut into stretches.
    pub fn new(tasks: usize, stretches: usize, task: &'a (dyn Fn(usize) + Sync)) -> Self {
        let stretches = stretches.clamp(1, tasks.max(1));
        let next = (0..stretches).map(|s| AtomicUsize::new(Self::start(tasks, stretches, s))).collect();
        let (arrived, panic) = (AtomicUsize::new(0), Mutex::new(None));
        Self { task, tasks, next, arrived, panic, stop: StopSign::here() }
    }

    /// The first task of a stretch; the first stretches take the remainder.
    fn start(tasks: usize, stretches: usize, stretch: usize) -> usize {
        tasks / stretches * stretch + stretch.min(tasks % stretches)
    }

    /// Runs tasks until none is left. The calling thread polls its watcher; the others obey the stop sign.
    pub fn work(&self, caller: bool) {
        let first = self.arrived.fetch_add(1, Ordering::Relaxed);
        let tasks = || {
            for stretch in (0..self.next.len()).map(|s| (first + s) % self.next.len()) {
                let stop = Self::start(self.tasks, self.next.len(), stretch + 1);
                loop {
                    interrupt::check();
                    let i = self.next[stretch].fetch_add(1, Ordering::Relaxed);
                    if i >= stop {
                        break;
                    }
                    (self.task)(i);
                }
            }
        };
        let caught = catch_unwind(AssertUnwindSafe(|| if caller { tasks() } else { self.stop.obeyed(tasks) }));
        if let Err(panic) = caught {
            self.fail(panic);
        }
    }

    /// Lets no further task start, and keeps the panic if it is the first.
    fn fail(&self, panic: Box<dyn Any + Send>) {
        for next in &self.next {
            next.store(self.tasks, Ordering::Relaxed);
        }
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
    }

    /// Raises the first panic again, if there was one; called when every thread has finished.
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
        let threads = self.0.current_num_threads().min(tasks);
        let team = Team::new(tasks, threads, task);
        // The caller works in place of one of the pool's threads: it need not wait for any to wake up.
        let others = threads - 1;
        let (working, done) = (Mutex::new(others), Condvar::new());
        self.0.in_place_scope(|scope| {
            for _ in 0..others {
                scope.spawn(|_| {
                    team.work(false);
                    *working.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
                    done.notify_one();
                });
            }
            team.work(true);
            let mut count = working.lock().unwrap_or_else(PoisonError::into_inner);
            while *count > 0 {
                let waited = done.wait_timeout(count, Duration::from_millis(50));
                count = waited.unwrap_or_else(PoisonError::into_inner).0;
                // Checked without the lock, which a finishing thread needs.
                drop(count);
                if let Err(stopped) = interrupt::checked() {
                    team.fail(stopped);
                }
                count = working.lock().unwrap_or_else(PoisonError::into_inner);
            }
        });
        team.finish();
    }
}

/// Splits `out` into pieces of `piece` elements and runs `task(index, piece)` on each.
pub fn for_each_chunk<T: Send>(
    executor: &dyn Executor,
    out: &mut [T],
    piece: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let piece = piece.max(1);
    let pieces = out.len().div_ceil(piece);
    // A lock for each piece would take memory that grows with the output. A shelf of pieces has one lock, and hands out
    // its next piece to any task that asks.
    let shelf = pieces.div_ceil(SHELVES).max(1);
    let shelves: Vec<_> = out
        .chunks_mut(shelf.saturating_mul(piece))
        .map(|part| Mutex::new(part.chunks_mut(piece).enumerate()))
        .collect();
    executor.run(pieces, &|i| {
        let next = shelves[i / shelf].lock().unwrap_or_else(PoisonError::into_inner).next();
        if let Some((j, part)) = next {
            task(i / shelf * shelf + j, part);
        }
    });
}

/// Most shelves of [`for_each_chunk`].
const SHELVES: usize = 256;
