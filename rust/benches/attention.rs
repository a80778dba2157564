//! A window of ±64 keys, n = 4096, f32, 4 heads of width 64, on one thread.

use criterion::{Criterion, criterion_group, criterion_main};
use fractal_kernels::attention::{Call, Gradients, Keys, LogSums, Modifiers, Problem, Saved, View};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Run, levels};

const SHAPE: [usize; 4] = [1, 4, 4096, 64];

/// Numbers in -1 .. 1.
fn numbers(seed: u64) -> Vec<f32> {
    let unit = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16;
    let n = SHAPE.iter().product::<usize>() as u64;
    (1..=n).map(|i| f32::from(unit(i + seed * n)) / 32768.0 - 1.0).collect()
}

fn window(criterion: &mut Criterion) {
    let [batch, heads, n, _] = SHAPE;
    let offsets: Vec<i64> = (-64..=64).collect();
    let set = IndexSet::from_offsets(offsets, n, n, 0).expect("offsets ascend");
    let set = PlannedSet::new(set);
    let (q, k, v, dout) = (numbers(0), numbers(1), numbers(2), numbers(3));
    let problem = Problem {
        q: View::contiguous(&q, SHAPE),
        k: View::contiguous(&k, SHAPE),
        v: View::contiguous(&v, SHAPE),
        scale: 0.125,
        key_bias: None,
        key_padding: None,
        edge_bias: None,
        dropout: None,
        modifiers: Modifiers::default(),
    };
    let call = Call { problem, keys: Keys::Set(&set) };
    let mut out = vec![0.0; q.len()];
    let mut lse = vec![0.0; batch * heads * n];
    let mut rest = lse.clone();
    let (mut dq, mut dk, mut dv) = (out.clone(), out.clone(), out.clone());
    let mut group = criterion.benchmark_group("window");
    group.sample_size(20);
    for (name, level) in levels() {
        group.bench_function(format!("forward {name}"), |b| {
            b.iter(|| {
                call.forward(Run::new(level, &Serial), &mut out, LogSums { lse: &mut lse, rest: Some(&mut rest) })
                    .expect("shapes fit");
            });
        });
        let saved = Saved {
            out: View::contiguous(&out, SHAPE),
            lse: &lse,
            rest: &rest,
            dout: View::contiguous(&dout, SHAPE),
            dlse: None,
        };
        group.bench_function(format!("backward {name}"), |b| {
            b.iter(|| {
                let gradients =
                    Gradients { q: &mut dq, k: &mut dk, v: &mut dv, key_bias: None, edge_bias: None, distances: None };
                call.backward(Run::new(level, &Serial), saved, gradients).expect("shapes fit");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, window);
criterion_main!(benches);
