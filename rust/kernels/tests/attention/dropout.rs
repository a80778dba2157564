//! Dropout: its gradients and its share.

use crate::inputs::{Case, Inputs, PLAIN, Random, sets};
use crate::runs::{NAMES, run};
use fractal_kernels::attention::{Call, Dropout, Keys, LogSums, Modifiers, Problem, View};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Run, levels};

#[test]
fn dropout_gradients_match_finite_differences() {
    let case = Case { heads: 1, d: 8, dv: 8, ..PLAIN };
    let mut random = Random(17);
    let level = levels()[0].1;
    let dropout = Some(Dropout { p: 0.3, seed: 99 });
    for (name, set) in sets(40, 40, &mut random) {
        let mut x = Inputs::new(case, &set, &mut random);
        x.dlse.fill(0.0);
        let got = run::<f64>(case, &set, &x, level, &Serial, dropout);
        let loss = |x: &Inputs| -> f64 {
            let r = run::<f64>(case, &set, x, level, &Serial, dropout);
            r[0].iter().zip(&x.dout).map(|(a, b)| a * b).sum()
        };
        for at in [0, 37, 150, 319] {
            for which in [2, 3, 4] {
                let value = |step: f64| {
                    let mut y = x.clone();
                    match which {
                        2 => y.q[at] += step,
                        3 => y.k[at] += step,
                        _ => y.v[at] += step,
                    }
                    loss(&y)
                };
                let numeric = (value(1e-6) - value(-1e-6)) / 2e-6;
                let analytic = got[which][at];
                assert!((numeric - analytic).abs() < 1e-7, "{name} {}[{at}]: {analytic}, {numeric}", NAMES[which]);
            }
        }
    }
}

#[test]
fn dropout_drops_its_share_and_leaves_lse() {
    // Equal scores and values of one: the output counts the kept keys.
    let n = 2000;
    let set = IndexSet::from_offsets((-(n as i64)..n as i64).collect(), n, n, 0).unwrap();
    let (q, v) = (vec![0.0f32; n * 16], vec![1.0f32; n * 16]);
    let shape = [1, 1, n, 16];
    let problem = Problem {
        q: View::contiguous(&q, shape),
        k: View::contiguous(&q, shape),
        v: View::contiguous(&v, shape),
        scale: 1.0,
        key_bias: None,
        key_padding: None,
        edge_bias: None,
        dropout: Some(Dropout { p: 0.25, seed: 1 }),
        modifiers: Modifiers::default(),
    };
    let planned = PlannedSet::new(set);
    let call = Call { problem, keys: Keys::Set(&planned) };
    let (mut out, mut lse) = (vec![0.0; n * 16], vec![0.0; n]);
    call.forward(Run::new(levels()[0].1, &Serial), &mut out, LogSums { lse: &mut lse, rest: None }).unwrap();
    let kept: f64 = out.iter().step_by(16).map(|&x| f64::from(x) * 0.75).sum::<f64>() / n as f64;
    // Four million draws: five standard deviations are 0.0011.
    assert!((kept - 0.75).abs() < 0.0011, "kept {kept}");
    assert!(lse.iter().all(|&l| (l - (n as f32).ln()).abs() < 1e-4));
}
