//! Peak throughput: twelve independent chains of fused multiply-adds that never leave their registers.
//!
//! A multiply-add has a latency of four or five cycles and two may start in each, so eight to ten chains keep both
//! units busy; twelve leave room, and with both constants still fit into the sixteen registers of AVX2. Levels without
//! a fused instruction multiply, then add: their peak is counted the same way. At the scalar level it bounds nothing,
//! since the compiler may vectorise a kernel but not this loop.

use crate::error::Result;
use crate::memory;
use crate::simd::{Run, dispatch};
use fearless_simd::{Level, Simd, prelude::*};

/// Independent chains.
pub const CHAINS: usize = 12;

/// Factor and summand of each step; every chain tends to 1.
pub const STEP: (f32, f32) = (0.75, 0.25);

/// Multiply-adds of a call at this level.
pub fn multiply_adds(level: Level, steps: usize, tasks: usize) -> usize {
    CHAINS * dispatch!(level, simd => lanes(simd)) * steps * tasks
}

/// Its floating-point operations: two a multiply-add.
pub fn operations(level: Level, steps: usize, tasks: usize) -> u64 {
    2 * multiply_adds(level, steps, tasks) as u64
}

/// Runs `steps` of `x ← x · 0.75 + 0.25` in every lane of twelve vectors, once for each task.
///
/// Chain `c` of task `t` begins at `c + t` in all lanes. Returns one number for each task: the sum over chains and
/// lanes.
pub fn fma_chains(steps: usize, tasks: usize, run: Run<'_>) -> Result<Vec<f32>> {
    let mut sums = memory::zeros::<f32>("tasks", tasks)?;
    run.for_each_chunk(&mut sums, 1, |level, task, sum| {
        sum[0] = dispatch!(level, simd => chains(simd, std::hint::black_box(STEP), steps, task));
    });
    Ok(sums)
}

#[inline(always)]
fn lanes<S: Simd>(_: S) -> usize {
    S::f32s::LEN
}

#[inline(always)]
fn chains<S: Simd>(simd: S, (factor, summand): (f32, f32), steps: usize, task: usize) -> f32 {
    simd.vectorize(
        #[inline(always)]
        || {
            let (factor, summand) = (S::f32s::splat(simd, factor), S::f32s::splat(simd, summand));
            let mut x = [factor; CHAINS];
            for (chain, x) in x.iter_mut().enumerate() {
                *x = S::f32s::splat(simd, (chain + task) as f32);
            }
            for _ in 0..steps {
                for x in &mut x {
                    *x = x.mul_add(factor, summand);
                }
            }
            x.iter().flat_map(SimdBase::as_slice).sum()
        },
    )
}
