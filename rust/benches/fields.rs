//! Julia fields of 512 × 512 points, 256 iterations, on one thread.

use criterion::{Criterion, criterion_group, criterion_main};
use fractal_kernels::executor::Serial;
use fractal_kernels::fields::julia::{self, Escape, grid};
use fractal_kernels::simd::{Run, levels};
use num_complex::Complex;

const SIDE: usize = 512;
const ESCAPE: Escape = Escape { max_iter: 256, radius: 4.0, smooth: true };

fn fields(c: &mut Criterion) {
    let wide = grid(SIDE, SIDE, [-1.6, 1.6, -1.6, 1.6]).expect("few points");
    let narrow: Vec<Complex<f32>> = wide.iter().map(|z| Complex::new(z.re as f32, z.im as f32)).collect();
    let mut group = c.benchmark_group("Julia");
    group.sample_size(20);
    for (what, parameter) in [("dust", Complex::new(-0.7, 0.27)), ("interior", Complex::new(-0.123, 0.745))] {
        for (name, level) in levels() {
            group.bench_function(format!("{what} f32 {name}"), |b| {
                b.iter(|| julia::julia(&narrow, parameter, ESCAPE, Run::new(level, &Serial)).expect("finite"));
            });
            group.bench_function(format!("{what} f64 {name}"), |b| {
                b.iter(|| julia::julia(&wide, parameter, ESCAPE, Run::new(level, &Serial)).expect("finite"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fields);
criterion_main!(benches);
