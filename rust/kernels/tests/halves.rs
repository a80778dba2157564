//! Halves widened once a call give the bits that converting them at every reading gives, forward and backward.
#![allow(missing_docs, clippy::pedantic)]

use fractal_kernels::attention::{
    Call, Gradients, Keys, LogSums, Modifiers, Problem, Saved, Storage, View, backward, forward,
};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::Plan;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Level, Run, levels};
use half::{bf16, f16};

/// Queries and keys of a call that is widened as a whole, and of one where each key head is a part of its own.
const SMALL: [[usize; 4]; 2] = [[2, 4, 130, 24], [2, 2, 150, 24]];
const LARGE: [[usize; 4]; 2] = [[2, 4, 4096, 64], [2, 2, 8192, 64]];

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

fn both_ways<T: Storage<Acc = f32> + Copy + PartialEq + std::fmt::Debug>(
    set: &IndexSet,
    [shape, keys]: [[usize; 4]; 2],
    level: Level,
    what: &str,
) {
    let size = |s: [usize; 4]| s.iter().product::<usize>();
    let (q, k, v) = (numbers::<T>(size(shape), 1), numbers::<T>(size(keys), 2), numbers::<T>(size(keys), 3));
    let dout = numbers::<T>(size(shape), 4);
    let problem = Problem {
        q: swapped(&q, shape),
        k: View::contiguous(&k, keys),
        v: swapped(&v, keys),
        scale: 0.3,
        key_bias: None,
        key_padding: None,
        edge_bias: None,
        dropout: None,
        modifiers: Modifiers::default(),
    };
    let planned = PlannedSet::new(set.clone());
    let plan = Plan::new(set, &Serial).unwrap();
    let results = [false, true].map(|widened| {
        let call = || Call { problem: problem.clone(), keys: Keys::Set(&planned) };
        let (mut out, mut lse) = (vec![T::default(); size(shape)], vec![0.0; size(shape) / shape[3]]);
        let mut rest = lse.clone();
        if widened {
            call()
                .forward(Run::new(level, &Serial), &mut out, LogSums { lse: &mut lse, rest: Some(&mut rest) })
                .unwrap();
        } else {
            forward(
                &problem,
                (&plan).into(),
                Run::new(level, &Serial),
                &mut out,
                LogSums { lse: &mut lse, rest: Some(&mut rest) },
            )
            .unwrap();
        }
        let zeros = |s| vec![T::default(); size(s)];
        let (mut dq, mut dk, mut dv) = (zeros(shape), zeros(keys), zeros(keys));
        let gradients =
            Gradients { q: &mut dq, k: &mut dk, v: &mut dv, key_bias: None, edge_bias: None, distances: None };
        let (o, d) = (View::contiguous(&out, shape), View::contiguous(&dout, shape));
        let saved = Saved { out: o, lse: &lse, rest: &rest, dout: d, dlse: None };
        if widened {
            call().backward(Run::new(level, &Serial), saved, gradients).unwrap();
        } else {
            backward(&problem, (&plan).into(), Run::new(level, &Serial), saved, gradients).unwrap();
        }
        (out, lse, dq, dk, dv)
    });
    let [direct, widened] = results;
    assert_eq!(direct, widened, "{what}");
}

#[test]
fn widened_once_gives_the_same_bits() {
    let (n, m) = (SMALL[0][2], SMALL[1][2]);
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
            both_ways::<bf16>(set, SMALL, level, &format!("bf16 {what} {name}"));
            both_ways::<f16>(set, SMALL, level, &format!("f16 {what} {name}"));
        }
    }
}

#[test]
fn parts_of_a_call_give_the_same_bits() {
    let (n, m) = (LARGE[0][2], LARGE[1][2]);
    let set = IndexSet::from_offsets((0..7).chain([40, 3000]).collect(), n, m, (m - n) as i64).unwrap();
    both_ways::<bf16>(&set, LARGE, Level::new(), "bf16");
}
