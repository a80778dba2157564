//! Force attention against its slow twin: every level, form of set, width, batch entry and executor.
#![allow(missing_docs, clippy::pedantic)]

mod cases;
#[path = "../naive/mod.rs"]
mod naive;

use cases::{Case, Drawn, Results, close, run};
use fractal_kernels::ErrorKind;
use fractal_kernels::attention::{ForceCall, ForceProblem, KeyLists, Keys, ListValues, View};
use fractal_kernels::builders::{Span, window};
use fractal_kernels::executor::{Rayon, Serial};
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Run, levels, passes};
use proptest::prelude::*;

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1..3usize, 1..4usize, 1..40usize, 1..50usize, 1..36usize, 1..20usize);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0..3u8, any::<u64>());
    (sizes, flags).prop_map(|((batch, heads, n, m, width, dv), (shared, dots, padding, keys, seed))| Case {
        batch,
        heads,
        n,
        m,
        width,
        dv,
        shared,
        d: if dots { 7 } else { 0 },
        padding,
        keys,
        seed,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equals_the_twin_at_every_level(case in case()) {
        let drawn = Drawn::new(case);
        let wanted = drawn.expected();
        for (name, level) in levels() {
            close(&run::<f64>(&drawn, level, &Serial), &wanted, 1e-12, name);
            close(&run::<f32>(&drawn, level, &Serial), &wanted, 1e-5, name);
        }
    }
}

#[test]
fn many_keys_in_wide_rows() {
    for (keys, width, dv) in [(2, 64, 64), (0, 80, 8)] {
        let case = Case { n: 130, m: 130, heads: 2, width, dv, d: 16, keys, ..Case::default() };
        let drawn = Drawn::new(case);
        let wanted = drawn.expected();
        for (name, level) in levels() {
            close(&run::<f64>(&drawn, level, &Serial), &wanted, 1e-12, name);
            close(&run::<f32>(&drawn, level, &Serial), &wanted, 1e-5, name);
        }
    }
}

#[test]
fn every_executor_gives_the_same_bits() {
    for (shared, keys) in [(true, 0), (false, 1), (true, 2)] {
        let case = Case { batch: 2, heads: 4, n: 150, m: 170, d: 8, shared, keys, ..Case::default() };
        let drawn = Drawn::new(case);
        let bits = |found: Results| found.map(|list| list.into_iter().map(f64::to_bits).collect::<Vec<_>>());
        for (name, level) in levels() {
            let serial = bits(run::<f32>(&drawn, level, &Serial));
            for threads in [1, 2, 4] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(bits(run::<f32>(&drawn, level, &Rayon(&pool))), serial, "{name} on {threads} threads");
            }
        }
    }
}

/// The unit vector between two points in one place has no direction: the score is that of equal shifts, and no gradient
/// is infinite.
#[test]
fn points_in_one_place_have_finite_gradients() {
    let mut drawn = Drawn::new(Case { n: 20, m: 20, heads: 2, ..Case::default() });
    drawn.coincide();
    let wanted = drawn.expected();
    for (name, level) in levels() {
        let found = run::<f64>(&drawn, level, &Serial);
        // All but the log-sum-exp of queries without keys.
        assert!(
            found.iter().enumerate().filter(|(i, _)| *i != 1).flat_map(|(_, list)| list).all(|x| x.is_finite()),
            "{name}"
        );
        close(&found, &wanted, 1e-12, name);
    }
}

#[test]
fn passes_are_counted_at_their_level() {
    let drawn = Drawn::new(Case::default());
    let (name, level) = *levels().last().unwrap();
    let count = || passes().into_iter().find(|pass| pass.0 == name).unwrap().1;
    let before = count();
    run::<f32>(&drawn, level, &Serial);
    // Other tests of this process run passes too.
    assert!(count() >= before + 3);
}

#[test]
fn refusals_name_the_argument() {
    let x = [0.5f64; 64];
    let view = |shape: [usize; 4]| View::contiguous(&x[..shape.iter().product()], shape);
    let problem = ForceProblem {
        e: view([1, 1, 4, 3]),
        r: view([1, 1, 5, 3]),
        v: view([1, 2, 5, 2]),
        dots: None,
        scale: 1.0,
        shifts: [&x[..8], &x[..10]],
        strength: &x[..2],
        rate: &x[..2],
        eps: 1e-6,
        key_padding: None,
    };
    let set = PlannedSet::new(window(Span::new(4, 5, false).unwrap(), 1).unwrap());
    let forward = |problem: ForceProblem<'_, f64>, keys: Keys<'_>| {
        let (mut out, mut lse) = ([0.0; 16], [0.0; 8]);
        ForceCall { problem, keys }.forward(Run::new(levels()[0].1, &Serial), &mut out, &mut lse)
    };
    let refused = |problem, argument: &str| {
        let error = forward(problem, Keys::Set(&set)).unwrap_err();
        assert_eq!(error.argument, argument, "{error}");
    };
    forward(problem, Keys::Set(&set)).unwrap();
    refused(ForceProblem { r: view([1, 1, 5, 2]), ..problem }, "r");
    refused(ForceProblem { e: view([1, 2, 4, 3]), ..problem }, "r");
    refused(ForceProblem { e: view([1, 1, 0, 3]), ..problem }, "e");
    refused(ForceProblem { v: view([1, 2, 4, 2]), ..problem }, "v");
    refused(ForceProblem { dots: Some([view([1, 2, 4, 3]), view([1, 2, 4, 3])]), ..problem }, "k");
    refused(ForceProblem { shifts: [&x[..7], &x[..10]], ..problem }, "a");
    refused(ForceProblem { shifts: [&x[..8], &x[..11]], ..problem }, "c");
    refused(ForceProblem { strength: &x[..1], ..problem }, "tau");
    refused(ForceProblem { rate: &[1.0, -1.0], ..problem }, "length");
    refused(ForceProblem { eps: 0.0, ..problem }, "eps");
    refused(ForceProblem { scale: f64::NAN, ..problem }, "scale");
    refused(ForceProblem { key_padding: Some(&[true]), ..problem }, "key_padding_mask");
    let other = PlannedSet::new(IndexSet::from_offsets(vec![0], 4, 4, 0).unwrap());
    assert_eq!(forward(problem, Keys::Set(&other)).unwrap_err().argument, "index_set");
    let lists = |values, shape| Keys::Lists(KeyLists { values: ListValues::I64(values), shape });
    let error = forward(problem, lists(&[0, 1, 2, 5], [1, 1, 4, 1])).unwrap_err();
    assert_eq!((error.kind, error.argument), (ErrorKind::Index, "index_set"));
    assert_eq!(forward(problem, lists(&[0, 1, 2], [1, 1, 3, 1])).unwrap_err().argument, "index_set");
}
