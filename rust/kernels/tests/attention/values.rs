//! NaN and infinities.

use fractal_kernels::attention::{LogSums, Problem, View, forward, levels};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::Plan;

#[test]
fn nan_and_infinity_in_a_query_stay_in_its_row() {
    let n = 64;
    let set = IndexSet::from_offsets(vec![0, 1, 2], n, n, 0).unwrap();
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
        };
        for (name, level) in levels() {
            let plan = Plan::new(&set, &Serial).unwrap();
            let (mut out, mut lse) = (vec![0.0; n * 16], vec![0.0; n]);
            forward(&problem, &plan, level, &Serial, &mut out, LogSums { lse: &mut lse, rest: None }).unwrap();
            for (query, row) in out.chunks(16).enumerate() {
                let finite = row.iter().all(|x| x.is_finite());
                // Scores of -inf hide every key, as they do in SDPA: output 0.
                let expected_finite = query != 20 || bad == f32::NEG_INFINITY;
                assert_eq!(finite, expected_finite, "{name}: query {query} with {bad} in query 20");
            }
        }
    }
}
