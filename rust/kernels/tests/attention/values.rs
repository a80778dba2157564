//! NaN, infinities, and the largest finite numbers.

use crate::inputs::{Case, Inputs, PLAIN, Random, sets};
use crate::runs::{close, expected, run};
use fractal_kernels::attention::{Call, Keys, LogSums, Modifiers, Problem, View};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Run, levels};

#[test]
fn nan_and_infinity_in_a_query_stay_in_its_row() {
    let n = 64;
    let set = IndexSet::from_offsets(vec![0, 1, 2], n, n, 0).unwrap();
    let planned = PlannedSet::new(set);
    let shape = [1, 1, n, 16];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut q = vec![0.5f32; n * 16];
        q[20 * 16 + 3] = bad;
        let k = vec![0.25f32; n * 16];
        let problem = Problem {
            q: View::contiguous(&q, shape),
            k: View::contiguous(&k, shape),
            v: View::contiguous(&k, shape),
            scale: 1.0,
            key_bias: None,
            key_padding: None,
            edge_bias: None,
            dropout: None,
            modifiers: Modifiers::default(),
        };
        for (name, level) in levels() {
            let call = Call { problem: problem.clone(), keys: Keys::Set(&planned) };
            let (mut out, mut lse) = (vec![0.0; n * 16], vec![0.0; n]);
            call.forward(Run::new(level, &Serial), &mut out, LogSums { lse: &mut lse, rest: None }).unwrap();
            for (query, row) in out.chunks(16).enumerate() {
                let finite = row.iter().all(|x| x.is_finite());
                // Scores of -inf hide every key, as they do in SDPA: output 0.
                let expected_finite = query != 20 || bad == f32::NEG_INFINITY;
                assert_eq!(finite, expected_finite, "{name}: query {query} with {bad} in query 20");
            }
        }
    }
}

#[test]
fn the_lowest_bias_of_all_keys_leaves_their_mean() {
    let lowest = f64::from(f32::MIN);
    let mut random = Random(5);
    for (name, set) in sets(70, 70, &mut random) {
        for (key_bias, edge_bias) in [(true, false), (false, true)] {
            let case = Case { key_bias, edge_bias, ..PLAIN };
            let mut x = Inputs::new(case, &set, &mut random).rounded::<f32>();
            x.key_bias.iter_mut().filter(|b| b.is_finite()).for_each(|b| *b = lowest);
            x.edge_bias.fill(lowest);
            let want = expected(case, &set, &x);
            for (level_name, level) in levels() {
                let got = run::<f32>(case, &set, &x, level, &Serial, None);
                // The logarithms are all about the bias; the gradients show what became of their sums.
                close(&got, &want, 1e-5, 1e-4, &format!("{name} at {level_name}, {case:?}"));
            }
        }
    }
}
