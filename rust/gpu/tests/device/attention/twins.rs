//! Every form of index set, grouping, width and bias against the twin.

use super::{Setup, Who, run};
use crate::common::{context, options};
use crate::inputs::{Case, Inputs, PLAIN, Random, sets};
use crate::runs::{close, every_case, expected};
use fractal_gpu::Context;
use fractal_kernels::plan::PlannedSet;
use half::{bf16, f16};

#[test]
fn f32_equals_the_twin() {
    let Some(context) = context() else { return };
    let cases = [
        Case { heads: 4, kv_heads: 2, d: 64, dv: 64, ..PLAIN },
        Case { d: 24, dv: 5, batch: 2, heads: 2, kv_heads: 1, key_bias: true, edge_bias: true, padding: true },
    ];
    for (n, m) in [(1, 1), (1, 90), (17, 17), (70, 130), (130, 130)] {
        every_case(n, m, &cases, |case, what, set, x, want| {
            let planned = PlannedSet::new(set.clone());
            let got = run::<f32>(Who::Gpu(&context), Setup::new(case, &planned), x);
            close(&got, want, 1e-5, 1e-4, what);
            // Not a bit depends on the run, or on whose plan is laid out.
            let again = run::<f32>(Who::Gpu(&context), Setup::new(case, &planned), x);
            assert_eq!(got, again, "{what}");
        });
    }
}

/// Widths that are no whole vectors, chunks or slices, and that are several of them.
#[test]
fn every_width() {
    let Some(context) = context() else { return };
    for (d, dv) in [(1, 1), (3, 130), (36, 33), (128, 96), (260, 64)] {
        let case = Case { d, dv, ..PLAIN };
        every_case(33, 47, &[case], |case, what, set, x, want| {
            let planned = PlannedSet::new(set.clone());
            close(&run::<f32>(Who::Gpu(&context), Setup::new(case, &planned), x), want, 1e-5, 1e-4, what);
        });
    }
}

/// The form of the forward pass for adapters that promise no lockstep, which others leave alone.
#[test]
fn the_form_with_barriers_equals_the_twin() {
    let Some(_) = context() else { return };
    let context = Context::open_plain(&options()).unwrap();
    assert_eq!(context.abilities().subgroups, None);
    let case = Case { d: 36, dv: 40, batch: 2, heads: 4, kv_heads: 2, key_bias: true, edge_bias: true, padding: true };
    every_case(33, 70, &[case], |case, what, set, x, want| {
        let planned = PlannedSet::new(set.clone());
        close(&run::<f32>(Who::Gpu(&context), Setup::new(case, &planned), x), want, 1e-5, 1e-4, what);
    });
}

#[test]
fn halves_compute_in_f32() {
    let Some(context) = context() else { return };
    let case = Case { d: 32, dv: 46, key_bias: true, ..PLAIN };
    let mut random = Random(3);
    for (name, set) in sets(70, 70, &mut random) {
        let x = Inputs::new(case, &set, &mut random);
        let wanted = (expected(case, &set, &x.rounded::<bf16>()), expected(case, &set, &x.rounded::<f16>()));
        let planned = PlannedSet::new(set.clone());
        let got = run::<bf16>(Who::Gpu(&context), Setup::new(case, &planned), &x);
        close(&got, &wanted.0, 1e-2, 2e-2, &format!("{name} bf16"));
        let got = run::<f16>(Who::Gpu(&context), Setup::new(case, &planned), &x);
        close(&got, &wanted.1, 2e-3, 4e-3, &format!("{name} f16"));
    }
}

/// The lowest finite bias on every key leaves their mean: what rounding took from the logarithms comes back.
#[test]
fn the_lowest_bias_of_all_keys() {
    let Some(context) = context() else { return };
    let lowest = f64::from(f32::MIN);
    let mut random = Random(5);
    for (name, set) in sets(40, 40, &mut random) {
        let case = Case { key_bias: true, edge_bias: true, ..PLAIN };
        let mut x = Inputs::new(case, &set, &mut random).rounded::<f32>();
        x.key_bias.iter_mut().filter(|b| b.is_finite()).for_each(|b| *b = lowest);
        x.edge_bias.fill(0.0);
        let want = expected(case, &set, &x);
        let planned = PlannedSet::new(set.clone());
        let got = run::<f32>(Who::Gpu(&context), Setup::new(case, &planned), &x);
        close(&got, &want, 1e-5, 1e-4, name);
    }
}
