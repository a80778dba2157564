//! The chains of the peak loop against one lane at a time.
#![allow(missing_docs, clippy::pedantic)]

use fractal_kernels::executor::{Rayon, Serial};
use fractal_kernels::peak::{CHAINS, STEP, fma_chains, multiply_adds};
use fractal_kernels::simd::{Run, levels};

/// The sum of one lane of every chain.
fn lane(steps: usize, task: usize) -> f64 {
    let chain = |c| (0..steps).fold((c + task) as f64, |x, _| x * f64::from(STEP.0) + f64::from(STEP.1));
    (0..CHAINS).map(chain).sum()
}

#[test]
fn every_level_agrees_with_one_lane() {
    for (name, level) in levels() {
        for (steps, tasks) in [(0, 1), (1, 2), (5, 3), (40, 2), (1000, 1)] {
            let found = fma_chains(steps, tasks, Run::new(level, &Serial)).unwrap();
            let lanes = multiply_adds(level, 1, 1) / CHAINS;
            assert_eq!(multiply_adds(level, steps, tasks), CHAINS * lanes * steps * tasks, "{name}");
            assert_eq!(found.len(), tasks);
            for (task, &sum) in found.iter().enumerate() {
                let expected = lanes as f64 * lane(steps, task);
                let off = (f64::from(sum) - expected).abs();
                assert!(off <= 1e-5 * expected, "{name}, {steps} steps, task {task}: {sum} not {expected}");
            }
        }
    }
}

#[test]
fn threads_change_nothing() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for (_, level) in levels() {
        assert_eq!(
            fma_chains(77, 8, Run::new(level, &Serial)).unwrap(),
            fma_chains(77, 8, Run::new(level, &Rayon(&pool))).unwrap()
        );
    }
}
