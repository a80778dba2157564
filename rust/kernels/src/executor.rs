//! The seam between kernels and threads: a kernel cuts its work into tasks and is handed whoever runs them.
//!
//! Tasks are cut by the size of the problem alone, never by the number of threads, so every executor gives the same bits.

use rayon::prelude::*;

/// Runs `tasks` independent tasks, each exactly once, and returns when all are done.
pub trait Executor: Sync {
    /// Calls `task(0)`, …, `task(tasks - 1)` in any order, on any threads.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));

    /// How many tasks can make progress at once.
    fn threads(&self) -> usize;
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Executor for Serial {
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }

    fn threads(&self) -> usize {
        1
    }
}

/// A rayon pool.
pub struct Rayon<'a>(pub &'a rayon::ThreadPool);

impl Executor for Rayon<'_> {
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 {
            return Serial.run(tasks, task);
        }
        self.0.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(task));
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
    let slots: Vec<_> = out.chunks_mut(piece.max(1)).map(std::sync::Mutex::new).collect();
    executor.run(slots.len(), &|i| {
        let mut slot = slots[i].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        task(i, &mut slot);
    });
}
