//! One value in, or two, and one out.

use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::memory;

/// Values that are one task.
const PIECE: usize = 1 << 16;

fn binary(
    left: &[f32],
    right: &[f32],
    executor: &dyn Executor,
    op: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<Vec<f32>> {
    if left.len() != right.len() {
        let given = format!("{} values", right.len());
        return Err(KernelError::shape("right", given, format!("{} values, as in left", left.len())));
    }
    let mut result = memory::zeros("left", left.len())?;
    for_each_chunk(executor, &mut result, PIECE, |piece, part| {
        let at = piece * PIECE;
        for ((value, &l), &r) in part.iter_mut().zip(&left[at..]).zip(&right[at..]) {
            *value = op(l, r);
        }
    });
    Ok(result)
}

fn unary(values: &[f32], executor: &dyn Executor, op: impl Fn(f32) -> f32 + Sync) -> Result<Vec<f32>> {
    let mut result = memory::zeros("values", values.len())?;
    for_each_chunk(executor, &mut result, PIECE, |piece, part| {
        for (value, &x) in part.iter_mut().zip(&values[piece * PIECE..]) {
            *value = op(x);
        }
    });
    Ok(result)
}

/// Sums.
pub fn add(left: &[f32], right: &[f32], executor: &dyn Executor) -> Result<Vec<f32>> {
    binary(left, right, executor, |l, r| l + r)
}

/// Products.
pub fn multiply(left: &[f32], right: &[f32], executor: &dyn Executor) -> Result<Vec<f32>> {
    binary(left, right, executor, |l, r| l * r)
}

/// `max(x, 0)`; a NaN stays one.
pub fn relu(values: &[f32], executor: &dyn Executor) -> Result<Vec<f32>> {
    unary(values, executor, |x| if x < 0.0 { 0.0 } else { x })
}

/// `x Phi(x)` with the normal distribution function `Phi(x) = erfc(-x / sqrt(2)) / 2` (Hendrycks and Gimpel 2016,
/// arXiv:1606.08415), to 3e-6 of its value.
pub fn gelu(values: &[f32], executor: &dyn Executor) -> Result<Vec<f32>> {
    unary(values, executor, |x| {
        let tail = erfc(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
        0.5 * x * if x < 0.0 { tail } else { 2.0 - tail }
    })
}

/// Fit of `p(t) = ln(erfc(z) / t) + z^2` for `t = 1 / (1 + z/2)`, `0 <= z <= 10`, by Chebyshev polynomials, in powers of
/// t; off by at most 7e-7.
const LOG_TAIL: [f32; 8] =
    [-1.265_477_9, 0.998_576_94, 0.394_172_6, -0.040_865_87, 0.352_873_23, -1.004_952_7, 0.754_124_2, -0.188_451_26];

/// The complementary error function of `z >= 0`.
fn erfc(z: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = LOG_TAIL.iter().rev().fold(0.0, |p, &term| p * t + term);
    t * (p - z * z).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;

    /// erfc in double precision: the series of erf near zero, Lentz's continued fraction beyond.
    fn slow_erfc(z: f64) -> f64 {
        if z < 2.0 {
            let (mut term, mut sum, mut n) = (z, z, 0.0);
            while f64::abs(term) > 1e-18 {
                n += 1.0;
                term *= -z * z / n;
                sum += term / (2.0 * n + 1.0);
            }
            return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        let fraction = (1..200).rev().fold(z, |below, k| z + f64::from(k) / 2.0 / below);
        (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt())
    }

    #[test]
    fn gelu_is_its_definition() {
        let values: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 400.0).collect();
        for (&x, y) in values.iter().zip(gelu(&values, &Serial).unwrap()) {
            let z = f64::from(x) * std::f64::consts::FRAC_1_SQRT_2;
            let phi = if x < 0.0 { slow_erfc(-z) / 2.0 } else { 1.0 - slow_erfc(z) / 2.0 };
            let wanted = f64::from(x) * phi;
            // At the far tail the rounding of z^2 is what counts.
            let allowed = wanted.abs() * (3e-6 + 1.5e-7 * z * z) + 1e-37;
            assert!((f64::from(y) - wanted).abs() <= allowed, "gelu({x}) = {y}, not {wanted}");
        }
    }

    #[test]
    fn the_others_are_theirs() {
        let x = [-2.5, -0.0, 0.0, 1.5, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(relu(&x, &Serial).unwrap(), [0.0, 0.0, 0.0, 1.5, f32::INFINITY, 0.0]);
        assert!(relu(&[f32::NAN], &Serial).unwrap()[0].is_nan());
        assert_eq!(add(&[1.0, 2.0], &[3.0, -2.0], &Serial).unwrap(), [4.0, 0.0]);
        assert_eq!(multiply(&[1.0, 2.0], &[3.0, -2.0], &Serial).unwrap(), [3.0, -4.0]);
        assert_eq!(gelu(&[f32::INFINITY, 0.0], &Serial).unwrap(), [f32::INFINITY, 0.0]);
        assert!(gelu(&[f32::NAN], &Serial).unwrap()[0].is_nan());
    }

    #[test]
    fn lengths_must_agree() {
        let error = add(&[1.0], &[1.0, 2.0], &Serial).unwrap_err();
        assert_eq!((error.argument, error.given.as_str()), ("right", "2 values"));
    }
}
