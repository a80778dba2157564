//! The soft cap against the twin: with everything else that a call has, where scores are extreme, and where they are no
//! numbers.

use super::{Setup, Who, run};
use crate::common::{ALONE, context, narrow, options};
use crate::inputs::{Case, Inputs, PLAIN, Random, sets};
use crate::runs::{Results, close, expected_of, twin_heads};
use fractal_gpu::attention::forward;
use fractal_gpu::{Context, GpuError};
use fractal_kernels::attention::{
    Call, DistanceBias, Dropout, KeyLists, Keys, ListValues, LogSums, Modifiers, Problem, View,
};
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use half::{bf16, f16};

const EVERYTHING: Case =
    Case { batch: 2, heads: 4, kv_heads: 2, d: 36, dv: 40, key_bias: true, edge_bias: true, padding: true };

fn expected(case: Case, set: &IndexSet, x: &Inputs, cap: f64) -> Results {
    let mut heads = twin_heads(case, set, x);
    for head in &mut heads {
        head.head.soft_cap = Some(cap);
    }
    expected_of(case, set, x, heads)
}

fn capped(case: Case, set: &PlannedSet, cap: f64) -> Setup<'_> {
    Setup { soft_cap: Some(cap), ..Setup::new(case, set) }
}

#[test]
fn every_set_equals_the_twin() {
    let Some(context) = context() else { return };
    let plain = Context::open_plain(&options()).unwrap();
    for (n, m) in [(1, 70), (33, 70), (70, 70)] {
        let mut random = Random(n as u64);
        for (name, set) in sets(n, m, &mut random) {
            for (case, cap) in [(PLAIN, 0.5), (EVERYTHING, 1.5)] {
                let x = Inputs::new(case, &set, &mut random);
                let (want, planned) = (expected(case, &set, &x, cap), PlannedSet::new(set.clone()));
                // Both forms of the forward pass.
                for context in [&context, &plain] {
                    let got = run::<f32>(Who::Gpu(context), capped(case, &planned, cap), &x);
                    close(&got, &want, 1e-5, 1e-4, &format!("{name} {n}x{m} {cap}"));
                    let again = run::<f32>(Who::Gpu(context), capped(case, &planned, cap), &x);
                    assert_eq!(got, again, "{name}");
                }
            }
        }
    }
}

#[test]
fn halves_compute_in_f32() {
    let Some(context) = context() else { return };
    let mut random = Random(3);
    let case = Case { d: 32, dv: 46, key_bias: true, ..PLAIN };
    for (name, set) in sets(70, 70, &mut random) {
        let x = Inputs::new(case, &set, &mut random);
        let planned = PlannedSet::new(set.clone());
        let got = run::<bf16>(Who::Gpu(&context), capped(case, &planned, 0.7), &x);
        close(&got, &expected(case, &set, &x.rounded::<bf16>(), 0.7), 1e-2, 2e-2, &format!("{name} bf16"));
        let got = run::<f16>(Who::Gpu(&context), capped(case, &planned, 0.7), &x);
        close(&got, &expected(case, &set, &x.rounded::<f16>(), 0.7), 2e-3, 4e-3, &format!("{name} f16"));
    }
}

/// Scores to 1e4 and beyond saturate, and have no gradient; small ones under a large cap stay what they are, which takes a
/// tanh that is exact near 0.
#[test]
fn extreme_scores_and_caps() {
    let Some(context) = context() else { return };
    let mut random = Random(4);
    let sets = sets(40, 40, &mut random);
    for (name, set) in sets.into_iter().filter(|(name, _)| ["mixed", "window", "random"].contains(name)) {
        for (factor, cap) in [(100.0, 30.0), (1e4, 1e-3), (1e18, 50.0), (1e-3, 1e6), (1.0, 1e4), (1.0, 1e30)] {
            let case = Case { key_bias: true, ..PLAIN };
            let mut x = Inputs::new(case, &set, &mut random);
            x.q.iter_mut().chain(&mut x.k).for_each(|value| *value *= factor);
            let x = x.rounded::<f32>();
            let (want, planned) = (expected(case, &set, &x, cap), PlannedSet::new(set.clone()));
            let mut got = run::<f32>(Who::Gpu(&context), capped(case, &planned, cap), &x);
            let mut want = want;
            // Of the order of the factor, as their tolerances then are.
            for which in [2, 3] {
                got[which].iter_mut().chain(&mut want[which]).for_each(|value| *value /= factor);
            }
            close(&got, &want, 1e-5, 1e-4, &format!("{name}, factor {factor}, cap {cap}"));
        }
    }
}

#[test]
fn dropout_lists_and_parts() {
    let Some(context) = context() else { return };
    let (narrow, mut random, n) = (narrow(1 << 16), Random(12), 48);
    let case = Case { d: 20, dv: 64, ..EVERYTHING };
    for (name, set) in sets(n, n, &mut random) {
        let x = Inputs::new(case, &set, &mut random);
        let planned = PlannedSet::new(set);
        let setup = Setup { dropout: Some(Dropout { p: 0.3, seed: 7 }), ..capped(case, &planned, 0.6) };
        let wanted = run::<f32>(Who::Cpu, setup, &x);
        for context in [&context, &narrow] {
            close(&run::<f32>(Who::Gpu(context), setup, &x), &wanted, 1e-5, 1e-4, name);
        }
    }
    let case = Case { edge_bias: false, ..case };
    let (m, width) = (50, 40);
    let x = Inputs::new(case, &IndexSet::from_offsets(vec![0], n, m, 0).unwrap(), &mut random);
    let lists: Vec<i64> = (0..case.batch * case.kv_heads * n * width)
        .map(|at| if at / width % n == 5 { -1 } else { (random.next() % m as u64) as i64 })
        .collect();
    let lists = KeyLists { values: ListValues::I64(&lists), shape: [case.batch, case.kv_heads, n, width] };
    let setup = Setup { case, keys: Keys::Lists(lists), dropout: None, soft_cap: Some(0.6), shared: None };
    close(&run::<f32>(Who::Gpu(&context), setup, &x), &run::<f32>(Who::Cpu, setup, &x), 1e-5, 1e-4, "lists");
}

fn window(n: usize) -> PlannedSet {
    PlannedSet::new(IndexSet::from_offsets((-5..=5).collect(), n, n, 0).unwrap())
}

fn problem<'a>(q: &'a [f32], k: &'a [f32], shape: [usize; 4], soft_cap: f64) -> Problem<'a, f32> {
    Problem {
        q: View::contiguous(q, shape),
        k: View::contiguous(k, shape),
        v: View::contiguous(k, shape),
        scale: 0.25,
        key_bias: None,
        key_padding: None,
        edge_bias: None,
        dropout: None,
        modifiers: Modifiers { soft_cap: Some(soft_cap), ..Modifiers::default() },
    }
}

/// An infinite score is the cap, as on the CPU; NaN fills its row.
#[test]
fn nan_and_infinity_are_those_of_the_cpu() {
    let Some(context) = context() else { return };
    let (n, shape) = (40, [1, 1, 40, 16]);
    let set = window(n);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (mut q, k) = (vec![0.5; n * 16], crate::runs::stored::<f32>(&Random(2).values(n * 16)));
        q[20 * 16 + 3] = bad;
        let call = Call { problem: problem(&q, &k, shape, 2.0), keys: Keys::Set(&set) };
        let outputs = |who: Who<'_>| {
            let (mut out, mut lse) = (vec![0.0; n * 16], vec![0.0; n]);
            let logs = LogSums { lse: &mut lse, rest: None };
            match who {
                Who::Cpu => {
                    let run = fractal_kernels::simd::Run::new(fractal_kernels::simd::Level::new(), ALONE);
                    call.forward(run, &mut out, logs).unwrap();
                }
                Who::Gpu(context) => forward(context, &call, ALONE, &mut out, logs).unwrap(),
            }
            (out, lse)
        };
        let (got, wanted) = (outputs(Who::Gpu(&context)), outputs(Who::Cpu));
        for (got, wanted) in [(got.0, wanted.0), (got.1, wanted.1)] {
            for (at, (g, w)) in got.iter().zip(&wanted).enumerate() {
                assert!(g.is_nan() && w.is_nan() || (g - w).abs() <= 1e-5, "{bad}: [{at}] is {g}, the CPU's {w}");
            }
        }
    }
}

#[test]
fn a_cap_costs_pipelines_of_its_own_and_no_other_modifier_is_dropped_in_silence() {
    let Some(_) = context() else { return };
    let context = Context::open(&options()).unwrap();
    let (values, set) = (vec![0.5; 24 * 16], window(24));
    let good = problem(&values, &values, [1, 1, 24, 16], 2.0);
    let call = |modifiers| Call { problem: Problem { modifiers, ..good.clone() }, keys: Keys::Set(&set) };
    let (mut out, mut lse) = (vec![0.0; 24 * 16], vec![0.0; 24]);
    let mut run =
        |modifiers| forward(&context, &call(modifiers), ALONE, &mut out, LogSums { lse: &mut lse, rest: None });
    run(Modifiers::default()).unwrap();
    let plain = context.counts().pipelines;
    run(good.modifiers).unwrap();
    let both = context.counts().pipelines;
    // All but what the passes share, which makes no scores.
    assert_eq!(both - plain, 3);
    run(Modifiers { soft_cap: Some(3.0), ..Modifiers::default() }).unwrap();
    assert_eq!(context.counts().pipelines, both, "every cap runs in the same pipelines");
    let distances = DistanceBias { values: &[0.0; 3][..], heads: 1, origin: 1, places: None };
    for (modifiers, argument) in [
        (Modifiers { distances: Some(distances), ..good.modifiers }, "modifiers"),
        (Modifiers { sinks: Some(&[0.0]), ..good.modifiers }, "modifiers"),
        (Modifiers { soft_cap: Some(-1.0), ..Modifiers::default() }, "soft_cap"),
    ] {
        let error = run(modifiers).unwrap_err();
        assert!(matches!(&error, GpuError::Refused(e) if e.argument == argument), "{error}");
    }
}
