//! Forward and backward against the twin, at every level that this machine can run.

use crate::inputs::{Case, Inputs, PLAIN, Random, listed};
use crate::runs::{close, every_case, expected, run};
use fractal_kernels::executor::Serial;
use fractal_kernels::simd::levels;
use half::{bf16, f16};

/// Head dimensions, of which some are no multiple of a vector.
const WIDTHS: [usize; 6] = [16, 24, 64, 80, 128, 256];

#[test]
fn f64_equals_the_twin_to_1e_12() {
    let cases = [
        PLAIN,
        Case { batch: 2, heads: 4, kv_heads: 2, d: 24, dv: 40, key_bias: true, ..PLAIN },
        Case { batch: 2, heads: 2, kv_heads: 1, d: 8, dv: 5, key_bias: true, edge_bias: true, padding: true },
        Case { batch: 2, padding: true, ..PLAIN },
        Case { d: 80, dv: 64, ..PLAIN },
    ];
    for (n, m) in [(1, 1), (1, 300), (15, 15), (16, 16), (17, 33), (130, 130), (40, 300)] {
        every_case(n, m, &cases, |case, what, set, x, want| {
            for (level_name, level) in levels() {
                let got = run::<f64>(case, set, x, level, &Serial, None);
                close(&got, want, 1e-12, 1e-12, &format!("{what} {level_name}"));
            }
        });
    }
}

#[test]
fn f32_equals_the_twin_to_1e_5() {
    let cases = [
        Case { heads: 4, kv_heads: 2, ..PLAIN },
        Case { d: 64, dv: 64, ..PLAIN },
        Case { d: 128, dv: 80, key_bias: true, ..PLAIN },
        Case { d: 24, dv: 20, key_bias: true, edge_bias: true, padding: true, ..PLAIN },
        Case { d: 256, dv: 256, heads: 1, ..PLAIN },
    ];
    for (n, m) in [(1, 1), (1, 300), (16, 16), (17, 17), (100, 230), (40, 600), (1000, 1000)] {
        let cases = if n >= 1000 { &cases[..2] } else { &cases[..] };
        every_case(n, m, cases, |case, what, set, x, want| {
            for (level_name, level) in levels() {
                let got = run::<f32>(case, set, x, level, &Serial, None);
                close(&got, want, 1e-5, 1e-5, &format!("{what} {level_name}"));
            }
        });
    }
}

#[test]
fn halves_accumulate_in_f32() {
    let cases = [Case { d: 32, dv: 48, ..PLAIN }, Case { d: 64, dv: 64, key_bias: true, ..PLAIN }];
    every_case(100, 130, &cases, |case, what, set, x, _| {
        let wanted = (expected(case, set, &x.rounded::<bf16>()), expected(case, set, &x.rounded::<f16>()));
        for (name, level) in levels() {
            let got = run::<bf16>(case, set, x, level, &Serial, None);
            close(&got, &wanted.0, 1e-2, 2e-2, &format!("{what} bf16 {name}"));
            let got = run::<f16>(case, set, x, level, &Serial, None);
            close(&got, &wanted.1, 2e-3, 4e-3, &format!("{what} f16 {name}"));
        }
    });
}

#[test]
fn every_width_in_every_dtype() {
    for d in WIDTHS {
        let case = Case { heads: 2, kv_heads: 1, d, dv: d, ..PLAIN };
        for (n, m) in [(15, 15), (33, 47)] {
            every_case(n, m, &[case], |case, what, set, x, want| {
                let half = expected(case, set, &x.rounded::<bf16>());
                for (name, level) in levels() {
                    let what = format!("{what} {name}");
                    close(&run::<f64>(case, set, x, level, &Serial, None), want, 1e-12, 1e-12, &what);
                    close(&run::<f32>(case, set, x, level, &Serial, None), want, 1e-5, 1e-5, &what);
                    close(&run::<bf16>(case, set, x, level, &Serial, None), &half, 2e-2, 2e-2, &what);
                }
            });
        }
    }
}

/// A task of the forward pass has four query heads at most.
#[test]
fn groups_of_seven_heads() {
    let case = Case { batch: 2, heads: 14, kv_heads: 2, d: 64, key_bias: true, edge_bias: true, ..PLAIN };
    for (n, m) in [(17, 17), (40, 150)] {
        every_case(n, m, &[case], |case, what, set, x, want| {
            for (name, level) in levels() {
                let what = format!("{what} {name}");
                close(&run::<f64>(case, set, x, level, &Serial, None), want, 1e-12, 1e-12, &what);
                close(&run::<f32>(case, set, x, level, &Serial, None), want, 1e-5, 1e-5, &what);
            }
        });
    }
}

/// The row edges of all seven heads are more than the backward pass holds at once.
#[test]
fn a_group_in_several_parts() {
    let n = 600;
    let mut random = Random(17);
    let mut row = |i: usize| {
        let far = (0..90).map(|_| (random.next() % n as u64) as i32);
        far.chain((i.saturating_sub(20)..(i + 20).min(n)).map(|j| j as i32)).collect()
    };
    let set = listed((0..n).map(&mut row), n);
    for case in [
        Case { heads: 14, kv_heads: 2, key_bias: true, edge_bias: true, ..PLAIN },
        Case { heads: 7, d: 24, dv: 40, ..PLAIN },
    ] {
        let x = Inputs::new(case, &set, &mut random);
        let want = expected(case, &set, &x);
        for (name, level) in levels() {
            close(&run::<f64>(case, &set, &x, level, &Serial, None), &want, 1e-12, 1e-12, name);
        }
    }
}

/// A backward pass goes by chunks of 1024 queries, and adds what they give to each other's keys.
#[test]
fn several_chunks_in_f64() {
    let case = Case { heads: 1, ..PLAIN };
    for (n, m) in [(1000, 1000), (2100, 2100), (1030, 2500)] {
        every_case(n, m, &[case], |case, what, set, x, want| {
            for (name, level) in levels() {
                close(&run::<f64>(case, set, x, level, &Serial, None), want, 1e-12, 1e-12, &format!("{what} {name}"));
            }
        });
    }
}
