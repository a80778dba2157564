//! Green's function of the complement of a filled Julia set: the potential `G(p) = lim 2**-k log|z_k|`, and its
//! gradient.
//!
//! `G` is 0 on the filled set and positive, smooth and harmonic outside, with `G(p**2 + c) = 2 G(p)` and
//! `G(p) = log|p| + o(1)` far out. It is read off at the first iterate so far out that the limit is reached to rounding
//! (modulus 1e8 for `f64`, 1e4 for `f32`); orbits that are not there within `max_iter` iterates count as 0.
//! A. Douady and J. H. Hubbard, "Étude dynamique des polynômes complexes" (1984).

use super::gradient::{FieldGradients, vjp};
use super::julia::log_modulus;
use super::lanes::{Real, check_iterations, check_parameter, for_each_piece};
use super::orbit::{Family, Scratch, escape};
use crate::error::Result;
use crate::memory;
use crate::simd::{Run, dispatch};
use num_complex::Complex;

/// How far out the limit is taken: `|c| / bail**2` must vanish.
fn bail<T: Real>(c: Complex<f64>) -> f64 {
    T::BAIL * (1.0 + c.norm()).sqrt()
}

/// The potential at `points`, 0 or more.
pub fn potential<T: Real>(points: &[Complex<T>], c: Complex<f64>, max_iter: u32, run: Run<'_>) -> Result<Vec<T>> {
    check_parameter(c)?;
    check_iterations(max_iter)?;
    let family = Family::Julia(T::from_f64(c.re), T::from_f64(c.im));
    let mut values = memory::zeros::<T>("points", points.len())?;
    for_each_piece(points, &mut values, run, Scratch::new, |level, _, points, out, scratch| {
        let both = dispatch!(level, simd => escape(simd, points, family, max_iter, bail::<T>(c), scratch));
        for exits in both {
            for (at, &count) in exits.count.iter().enumerate() {
                let (re, im, k) = (exits.re[at].to_f64(), exits.im[at].to_f64(), count.to_f64());
                let inside = k >= f64::from(max_iter);
                let value = if inside { 0.0 } else { log_modulus(re, im) * (-k).exp2() };
                exits.put(at, &[T::from_f64(value)], out);
            }
        }
    });
    Ok(values)
}

/// Gradients of `sum grad[i] * potential[i]`.
pub fn potential_vjp<T: Real>(
    grad: &[T],
    points: &[Complex<T>],
    c: Complex<f64>,
    max_iter: u32,
    run: Run<'_>,
) -> Result<FieldGradients<T>> {
    check_parameter(c)?;
    check_iterations(max_iter)?;
    vjp(grad, points, c, max_iter, bail::<T>(c), run, |exit| (1.0, -exit.k))
}
