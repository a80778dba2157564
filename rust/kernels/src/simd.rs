//! The SIMD level and the executor that a kernel runs with.

use crate::executor::{self, Executor};
pub use fearless_simd::Level;
use fearless_simd::Simd;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of all levels, best first.
const NAMES: [&str; 5] = ["avx512", "avx2", "sse4.2", "neon", "scalar"];

/// How many passes kernels have run at each of them.
static PASSES: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// The place of a level among all.
fn index(level: Level) -> usize {
    match level {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Level::Avx512(_) => 0,
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Level::Avx2(_) => 1,
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Level::Sse4_2(_) => 2,
        #[cfg(target_arch = "aarch64")]
        Level::Neon(_) => 3,
        _ => 4,
    }
}

/// Runs `$op` compiled for the level, with its token as `$simd`.
///
/// `fearless_simd::dispatch!` for the levels of [`NAMES`]. That one compiles every kernel for SSE2 too, a sixth of their
/// code; processors of before 2008, which have no more, run the scalar level, compiled for the target's baseline.
macro_rules! dispatch {
    ($level:expr, $simd:pat => $op:expr) => {
        match $level {
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            $crate::simd::Level::Avx512(token) => $crate::simd::dispatch!(@with token, $simd => $op),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            $crate::simd::Level::Avx2(token) => $crate::simd::dispatch!(@with token, $simd => $op),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            $crate::simd::Level::Sse4_2(token) => $crate::simd::dispatch!(@with token, $simd => $op),
            #[cfg(target_arch = "aarch64")]
            $crate::simd::Level::Neon(token) => $crate::simd::dispatch!(@with token, $simd => $op),
            _ => $crate::simd::dispatch!(@with ::fearless_simd::Fallback::new(), $simd => $op),
        }
    };
    (@with $token:expr, $simd:pat => $op:expr) => {{
        let token = $token;
        let $simd = $crate::simd::hidden(token);
        ::fearless_simd::Simd::vectorize(
            token,
            #[inline(always)]
            || $op,
        )
    }};
}
pub(crate) use dispatch;

/// The token as any other, so that a kernel cannot depend on which one it is.
#[inline(always)]
pub(crate) fn hidden<S: Simd>(token: S) -> impl Simd {
    token
}

/// The SIMD levels that this machine can run, best first, each with its name.
pub fn levels() -> Vec<(&'static str, Level)> {
    let best = Level::new();
    let mut levels = Vec::new();
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        levels.extend(best.as_avx512().map(Level::Avx512));
        levels.extend(best.as_avx2().map(Level::Avx2));
        levels.extend(best.as_sse4_2().map(Level::Sse4_2));
    }
    #[cfg(target_arch = "aarch64")]
    levels.extend(best.as_neon().map(Level::Neon));
    levels.push(Level::fallback());
    levels.into_iter().map(|level| (NAMES[index(level)], level)).collect()
}

/// How many passes this process has run at each level of the machine. A kernel call is one pass or a few.
pub fn passes() -> Vec<(&'static str, u64)> {
    levels().into_iter().map(|(name, level)| (name, PASSES[index(level)].load(Ordering::Relaxed))).collect()
}

/// How a kernel runs: the level of its vector instructions, and the executor of its tasks.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    level: Level,
    executor: &'a dyn Executor,
}

impl<'a> Run<'a> {
    /// At this level, on this executor.
    pub fn new(level: Level, executor: &'a dyn Executor) -> Self {
        Self { level, executor }
    }

    /// The executor alone, for what has no vector instructions.
    pub fn executor(&self) -> &'a dyn Executor {
        self.executor
    }

    /// One pass: calls `task(level, 0)`, …, `task(level, tasks - 1)` on the executor.
    ///
    /// A kernel learns the level here and in [`Self::for_each_chunk`] alone, so every pass is counted.
    pub(crate) fn for_each_task(&self, tasks: usize, task: impl Fn(Level, usize) + Sync) {
        let level = self.counted_level();
        self.executor.run(tasks, &|i| task(level, i));
    }

    /// One pass over pieces of `out`, as [`executor::for_each_chunk`] cuts it.
    pub(crate) fn for_each_chunk<T: Send>(
        &self,
        out: &mut [T],
        piece: usize,
        task: impl Fn(Level, usize, &mut [T]) + Sync,
    ) {
        let level = self.counted_level();
        executor::for_each_chunk(self.executor, out, piece, |i, part| task(level, i, part));
    }

    fn counted_level(&self) -> Level {
        PASSES[index(self.level)].fetch_add(1, Ordering::Relaxed);
        self.level
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("level", &self.level).finish_non_exhaustive()
    }
}
