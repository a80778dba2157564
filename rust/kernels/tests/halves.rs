//! Halves widened once a call give the bits that converting them at every reading gives, forward and backward.
#![allow(missing_docs, clippy::pedantic)]

use fractal_kernels::attention::{
    Call, Gradients, Keys, Level, Problem, Saved, Storage, View, backward, forward, levels,
};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::Plan;
use fractal_kernels::planned::PlannedSet;
use half::{bf16, f16};

const SHAPE: [usize; 4] = [2, 4, 130, 24];
const KEYS: [usize; 4] = [2, 2, 150, 24];

fn numbers<T: Storage<Acc = f32>>(n: usize, seed: u32) -> Vec<T> {
    let wide: Vec<f32> =
        (0..n as u32).map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed) >> 8) as f32 / 8e6 - 1.0).collect();
    let mut out = vec![T::default(); n];
    T::narrow(&wide, &mut out);
    out
}

/// A tensor that lies in memory as (batch, n, heads, width).
fn swapped<T: Copy>(data: &[T], [b, h, n, d]: [usize; 4]) -> View<'_, T> {
    let (h_step, n_step) = (d as isize, (h * d) as isize);
    View { data, offset: 0, strides: [n as isize * n_step, h_step, n_step], shape: [b, h, n, d] }
}

fn both_ways<T: Storage<Acc = f32> + Copy + PartialEq + std::fmt::Debug>(set: &IndexSet, level: Level, what: &str) {
    let size = |s: [usize; 4]| s.iter().product::<usize>();
    let (q, k, v) = (numbers::<T>(size(SHAPE), 1), numbers::<T>(size(KEYS), 2), numbers::<T>(size(KEYS), 3));
    let dout = numbers::<T>(size(SHAPE), 4);
    let problem = Problem {
        q: swapped(&q, SHAPE),
        k: View::contiguous(&k, KEYS),
        v: swapped(&v, KEYS),
        scale: 0.3,
        key_bias: None,
        key_padding: None,
        edge_bias: None,
        dropout: None,
    };
    let planned = PlannedSet::new(set.clone());
    let plan = Plan::new(set, &Serial).unwrap();
    let results = [false, true].map(|widened| {
        let call = || Call { problem: problem.clone(), keys: Keys::Set(&planned), edge_bias: None };
        let (mut out, mut lse) = (vec![T::default(); size(SHAPE)], vec![0.0; size(SHAPE) / SHAPE[3]]);
        if widened {
            call().forward(level, &Serial, &mut out, &mut lse).unwrap();
        } else {
            forward(&problem, &plan, level, &Serial, &mut out, &mut lse).unwrap();
        }
        let zeros = |s| vec![T::default(); size(s)];
        let (mut dq, mut dk, mut dv) = (zeros(SHAPE), zeros(KEYS), zeros(KEYS));
        let gradients = Gradients { q: &mut dq, k: &mut dk, v: &mut dv, key_bias: None, edge_bias: None };
        let (o, d) = (View::contiguous(&out, SHAPE), View::contiguous(&dout, SHAPE));
        let saved = Saved { out: o, lse: &lse, dout: d, dlse: None };
        if widened {
            call().backward(level, &Serial, saved, gradients).unwrap();
        } else {
            backward(&problem, &plan, level, &Serial, saved, gradients).unwrap();
        }
        (out, lse, dq, dk, dv)
    });
    let [direct, widened] = results;
    assert_eq!(direct, widened, "{what}");
}

#[test]
fn widened_once_gives_the_same_bits() {
    let (n, m) = (SHAPE[2], KEYS[2]);
    let window = IndexSet::from_offsets((-9..=9).chain([40, 97]).collect(), n, m, 20).unwrap();
    let mut indices: Vec<i32> = Vec::new();
    let mut indptr = vec![0];
    for query in 0..n as i32 {
        let mut row: Vec<i32> = (0..11).map(|i| (query * 37 + i * i * 13) % m as i32).collect();
        row.sort_unstable();
        row.dedup();
        indices.extend(row);
        indptr.push(indices.len() as i64);
    }
    let lists = IndexSet::from_csr(indptr, indices, m).unwrap();
    for (what, set) in [("window", &window), ("lists", &lists)] {
        for (name, level) in levels() {
            both_ways::<bf16>(set, level, &format!("bf16 {what} {name}"));
            both_ways::<f16>(set, level, &format!("f16 {what} {name}"));
        }
    }
}
