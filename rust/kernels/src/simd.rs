//! The vector instructions that kernels run on, and whom they run on.

use crate::executor::Executor;
pub use fearless_simd::Level;
use std::fmt;

/// The SIMD levels that this machine can run, best first, each with its name.
pub fn levels() -> Vec<(&'static str, Level)> {
    let best = Level::new();
    let mut levels = Vec::new();
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        levels.extend(best.as_avx512().map(|l| ("avx512", Level::Avx512(l))));
        levels.extend(best.as_avx2().map(|l| ("avx2", Level::Avx2(l))));
        levels.extend(best.as_sse4_2().map(|l| ("sse4.2", Level::Sse4_2(l))));
        levels.extend(best.as_sse2().map(|l| ("sse2", Level::Sse2(l))));
    }
    #[cfg(target_arch = "aarch64")]
    levels.extend(best.as_neon().map(|l| ("neon", Level::Neon(l))));
    levels.push(("scalar", Level::fallback()));
    levels
}

/// How a kernel runs: the level of its vector instructions, and who runs its tasks.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Vector instructions.
    pub level: Level,
    /// Who runs the tasks.
    pub executor: &'a dyn Executor,
}

impl<'a> Run<'a> {
    /// At this level, by this executor.
    pub fn new(level: Level, executor: &'a dyn Executor) -> Self {
        Self { level, executor }
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("level", &self.level).finish_non_exhaustive()
    }
}
