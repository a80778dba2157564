//! Escape fields: equality with the naive twins, the same bits at every SIMD level and thread count, gradients.

mod naive;

use fearless_simd::Level;
use fractal_kernels::executor::{Rayon, Serial};
use fractal_kernels::fields::julia::{self, Escape};
use fractal_kernels::fields::potential::{potential, potential_vjp};
use fractal_kernels::fields::soft_julia::{Soft, soft_julia, soft_julia_vjp};
use fractal_kernels::simd::Run;
use num_complex::Complex;
use proptest::prelude::*;

fn complex(most: f64) -> impl Strategy<Value = Complex<f64>> {
    (-most..most, -most..most).prop_map(|(re, im)| Complex { re, im })
}

/// The best level, on this thread alone.
fn alone() -> Run<'static> {
    Run::new(Level::new(), &Serial)
}

/// The levels that this machine can run.
fn levels() -> Vec<Level> {
    fractal_kernels::simd::levels().into_iter().map(|(_, level)| level).collect()
}

/// Points over the plane; the number is no multiple of any vector.
fn plane() -> Vec<Complex<f64>> {
    (0..1_237).map(|i| Complex::new(f64::from(i % 43) / 13.0 - 1.6, f64::from(i / 43) / 9.0 - 1.5)).collect()
}

/// The plane with points of all sizes among the others, down to where squares vanish and up to infinity.
fn plane_of_all_sizes() -> Vec<Complex<f64>> {
    let sizes = [0.0, 5e-324, 1e-200, 1e-150, 1e-30, 1e-17, 1e15, 1e30, 1.6e154, 1e308, f64::INFINITY];
    let odd = |(i, p): (usize, Complex<f64>)| match sizes.get(i % 37) {
        Some(&size) => Complex::new(size, p.im),
        None if i % 41 == 0 => Complex::new(p.re * 1e-160, p.im * 1e-160),
        None => p,
    };
    plane().into_iter().enumerate().map(odd).collect()
}

fn narrow(points: &[Complex<f64>]) -> Vec<Complex<f32>> {
    points.iter().map(|p| Complex::new(p.re as f32, p.im as f32)).collect()
}

/// The whole count is the twin's; the smooth one is but for the roundings of its logarithms.
fn counts_equal(smooth: f64, whole: f64, z: Complex<f64>, c: Complex<f64>, rule: Escape) -> Result<(), TestCaseError> {
    let last = f64::from(rule.max_iter);
    let twin = naive::julia::exit(z, c, rule.max_iter, rule.radius).map_or(last, |(k, _)| f64::from(k));
    prop_assert_eq!(whole.to_bits(), twin.to_bits());
    let twin = naive::julia::smooth(z, c, rule.max_iter, rule.radius);
    prop_assert!((smooth - twin).abs() <= 1e-14 * last.max(10.0), "{smooth} and {twin} at {z}, {c}");
    Ok(())
}

proptest! {
    #[test]
    fn smooth_count_equals_its_twin(
        points in proptest::collection::vec(complex(2.5), 1..40),
        c in complex(1.4),
        max_iter in 1_u32..80,
        radius in 2.0..1e6,
    ) {
        let escape = Escape { max_iter, radius, smooth: true };
        let smooth = julia::julia(&points, c, escape, alone()).unwrap();
        let whole = julia::julia(&points, c, Escape { smooth: false, ..escape }, alone()).unwrap();
        for (i, &z) in points.iter().enumerate() {
            counts_equal(smooth[i], whole[i], z, c, escape)?;
        }
        let smooth = julia::mandelbrot(&points, escape, alone()).unwrap();
        let whole = julia::mandelbrot(&points, Escape { smooth: false, ..escape }, alone()).unwrap();
        for (i, &c) in points.iter().enumerate() {
            counts_equal(smooth[i], whole[i], Complex::default(), c, escape)?;
        }
    }

    #[test]
    fn whole_count_equals_its_twin_where_orbits_come_back_or_cycle(
        points in proptest::collection::vec(complex(4.0), 1..40),
        c in prop_oneof![complex(9.0), Just(Complex::new(-0.123, 0.745)), Just(Complex::new(-1.0, 0.0))],
        max_iter in 1_u32..700,
        radius in 2.0..3.0,
    ) {
        let rule = Escape { max_iter, radius, smooth: false };
        let twin = |z, c| naive::julia::exit(z, c, max_iter, radius).map_or(max_iter, |(k, _)| k);
        let got = julia::julia(&points, c, rule, alone()).unwrap();
        prop_assert_eq!(got, points.iter().map(|&z| f64::from(twin(z, c))).collect::<Vec<_>>());
        let got = julia::mandelbrot(&points, rule, alone()).unwrap();
        prop_assert_eq!(got, points.iter().map(|&c| f64::from(twin(Complex::default(), c))).collect::<Vec<_>>());
    }

    #[test]
    fn soft_count_equals_its_twin(
        points in proptest::collection::vec(complex(2.5), 1..40),
        c in complex(1.4),
        max_iter in 1_u32..12,
        radius in 0.5..10.0,
        smoothness in 0.05..20.0,
    ) {
        let got = soft_julia(&points, Soft { c, max_iter, radius, smoothness }, alone()).unwrap();
        for (got, &z) in got.iter().zip(&points) {
            let twin = naive::julia::soft(z, c, max_iter, radius, smoothness);
            prop_assert!((got - twin).abs() <= 1e-7, "{got} and {twin} at {z}");
            prop_assert!((0.0..=f64::from(max_iter)).contains(got));
        }
    }

    #[test]
    fn potential_equals_its_twin(points in proptest::collection::vec(complex(2.5), 1..40), c in complex(1.4)) {
        let got = potential(&points, c, 64, alone()).unwrap();
        for (got, &z) in got.iter().zip(&points) {
            // One more iterate takes the twin past the kernel's bail-out and out to its own.
            let twin = naive::julia::potential(z, c, 70);
            prop_assert!((got - twin).abs() <= 1e-12 + 1e-9 * twin, "{got} and {twin} at {z}");
        }
    }

    #[test]
    fn soft_gradients_are_slopes(z in complex(1.5), c in complex(1.0), radius in 1.5..3.0, smoothness in 0.5..4.0) {
        let soft = Soft { c, max_iter: 5, radius, smoothness };
        prop_assume!(z.norm() > 0.05);
        let got = soft_julia_vjp(&[1.0], &[z], soft, alone()).unwrap();
        let value = |z: Complex<f64>, soft: Soft| soft_julia(&[z], soft, alone()).unwrap()[0];
        let slope = |f: &dyn Fn(f64) -> f64| (f(1e-6) - f(-1e-6)) / 2e-6;
        let of_c = |by: Complex<f64>| move |t: f64| value(z, Soft { c: c + by * t, ..soft });
        let pairs = [
            (got.points[0].re, slope(&|t| value(z + t, soft))),
            (got.points[0].im, slope(&|t| value(z + Complex::new(0.0, t), soft))),
            (got.c.re, slope(&of_c(Complex::new(1.0, 0.0)))),
            (got.c.im, slope(&of_c(Complex::new(0.0, 1.0)))),
            (got.radius, slope(&|t| value(z, Soft { radius: radius + t, ..soft }))),
            (got.smoothness, slope(&|t| value(z, Soft { smoothness: smoothness + t, ..soft }))),
        ];
        for (got, expected) in pairs {
            prop_assert!((got - expected).abs() <= 1e-4 * (1.0 + expected.abs()), "{pairs:?}");
        }
    }
}

#[test]
fn every_level_and_thread_count_gives_the_same_bits() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let points = plane_of_all_sizes();
    let grad: Vec<f64> = (0..points.len()).map(|i| (i as f64).sin()).collect();
    let c = Complex::new(-0.7, 0.27);
    let (escape, soft) =
        (Escape { max_iter: 64, radius: 16.0, smooth: true }, Soft { c, max_iter: 64, radius: 2.0, smoothness: 2.0 });
    let all = |run: Run<'_>| {
        (
            julia::julia(&points, c, escape, run).unwrap(),
            soft_julia(&points, soft, run).unwrap(),
            soft_julia_vjp(&grad, &points, soft, run).unwrap(),
            potential(&points, c, 64, run).unwrap(),
            potential_vjp(&grad, &points, c, 64, run).unwrap(),
            julia::julia_vjp(&grad, &points, c, escape, run).unwrap(),
        )
    };
    let expected = all(Run::new(Level::baseline(), &Serial));
    for level in levels() {
        assert_eq!(all(Run::new(level, &Rayon(&pool))), expected, "{level:?}");
    }
}

#[test]
fn whole_count_of_many_points_equals_its_twin_at_every_level() {
    let points = plane();
    // Slow to leave, a cycle of three, cycles of five, and a disc that orbits come back into.
    for (c, radius) in [(-0.7, 0.27, 16.0), (-0.123, 0.745, 16.0), (0.38, 0.33, 4.0), (-0.9, 1.6, 2.0)]
        .map(|(re, im, radius)| (Complex::new(re, im), radius))
    {
        for max_iter in [1, 7, 8, 9, 300, 1000] {
            let rule = Escape { max_iter, radius, smooth: false };
            let twin = |z, c| f64::from(naive::julia::exit(z, c, max_iter, radius).map_or(max_iter, |(k, _)| k));
            let julia: Vec<f64> = points.iter().map(|&z| twin(z, c)).collect();
            let mandelbrot: Vec<f64> = points.iter().map(|&c| twin(Complex::default(), c)).collect();
            for level in levels() {
                assert_eq!(
                    julia::julia(&points, c, rule, Run::new(level, &Serial)).unwrap(),
                    julia,
                    "{level:?} {rule:?}"
                );
                assert_eq!(
                    julia::mandelbrot(&points, rule, Run::new(level, &Serial)).unwrap(),
                    mandelbrot,
                    "{level:?} {rule:?}"
                );
            }
        }
    }
}

#[test]
fn every_level_gives_the_same_bits_in_f32() {
    let points = narrow(&plane_of_all_sizes());
    let grad: Vec<f32> = (0..points.len()).map(|i| (i as f32).cos()).collect();
    let soft = Soft { c: Complex::new(-0.7, 0.27), max_iter: 64, radius: 2.0, smoothness: 2.0 };
    let expected = soft_julia(&points, soft, Run::new(Level::baseline(), &Serial)).unwrap();
    let gradients = soft_julia_vjp(&grad, &points, soft, Run::new(Level::baseline(), &Serial)).unwrap();
    for level in levels() {
        assert_eq!(soft_julia(&points, soft, Run::new(level, &Serial)).unwrap(), expected, "{level:?}");
        assert_eq!(soft_julia_vjp(&grad, &points, soft, Run::new(level, &Serial)).unwrap(), gradients, "{level:?}");
    }
    let wide = soft_julia(&plane(), Soft { max_iter: 6, ..soft }, alone()).unwrap();
    let short = soft_julia(&narrow(&plane()), Soft { max_iter: 6, ..soft }, alone()).unwrap();
    for (a, b) in short.iter().zip(&wide) {
        assert!((f64::from(*a) - b).abs() < 1e-3, "{a} and {b}");
    }
}

#[test]
fn refusals_name_the_argument() {
    let z = [Complex::new(0.0, 0.0)];
    let c = Complex::new(0.0, 0.0);
    let escape = Escape { max_iter: 8, radius: 16.0, smooth: true };
    let soft = Soft { c, max_iter: 8, radius: 2.0, smoothness: 2.0 };
    let refused = [
        julia::julia(&z, Complex::new(f64::NAN, 0.0), escape, alone()).unwrap_err(),
        julia::julia(&z, c, Escape { max_iter: 0, ..escape }, alone()).unwrap_err(),
        julia::julia(&z, c, Escape { radius: f64::NAN, ..escape }, alone()).unwrap_err(),
        soft_julia(&z, Soft { radius: 0.0, ..soft }, alone()).unwrap_err(),
        soft_julia(&z, Soft { smoothness: -1.0, ..soft }, alone()).unwrap_err(),
        soft_julia_vjp(&[], &z, soft, alone()).unwrap_err(),
        potential(&z, c, 1 << 25, alone()).unwrap_err(),
    ];
    let names: Vec<_> = refused.iter().map(|e| e.argument).collect();
    assert_eq!(names, ["c", "max_iter", "radius", "radius", "smoothness", "grad", "max_iter"]);
}
