//! Escape fields of `z -> z**2 + c`: Julia sets (`z_0` is the point) and the Mandelbrot set (`c` is the point).
//!
//! With `k` the number of the first iterate `z_0, z_1, …, z_{max_iter - 1}` outside of the disc of the given radius,
//! the smooth field is
//!
//! ```text
//! mu = k + 1 - log2(log|z_k| / log radius)
//! ```
//!
//! and `max_iter` where none is outside. `mu` is continuous in the point up to terms of order `radius**-2`, so a larger
//! radius is smoother; it is `k + 1` at the disc's edge and `k` at the edge's image. Points outside of the disc at once
//! can have values below 0. Without smoothing the field is `k`.

use super::gradient::{FieldGradients, vjp};
use super::lanes::{MOST_LANES, Real, check_iterations, check_parameter, check_range, for_each_piece};
use super::orbit::{Exits, Family, Scratch, escape};
use crate::error::{KernelError, Result};
use crate::memory;
use crate::simd::{Run, dispatch};
use fearless_simd::{Simd, prelude::*};
use num_complex::Complex;

/// When an orbit has escaped, and what its field value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Escape {
    /// Iterates that are tested, at least one.
    pub max_iter: u32,
    /// Radius of the disc, from 2, the least that no orbit of `|c| <= 2` comes back from.
    pub radius: f64,
    /// Whether the value is `mu` or the whole number `k`.
    pub smooth: bool,
}

impl Escape {
    /// Refuses values outside their ranges.
    pub fn check(self) -> Result<()> {
        check_iterations(self.max_iter)?;
        check_range("radius", self.radius, 2.0, 1e9)
    }

    /// The field of the points of a piece.
    #[inline(always)]
    fn values<S: Simd, T: Real>(self, simd: S, exits: &Exits<'_, T>, out: &mut [T]) {
        const WAYS: usize = 4;
        let n = T::V::<S>::LEN;
        let splat = |x| T::V::<S>::splat(simd, T::from_f64(x));
        let (one, unit, most) = (splat(1.0), splat(0.5 / self.radius.log2()), splat(f64::from(self.max_iter)));
        let infinite = splat(f64::INFINITY);
        for at in (0..exits.count.len()).step_by(WAYS * n) {
            let (mut square, mut count) = ([one; WAYS], [one; WAYS]);
            // Whether all squares are finite.
            let mut near = true;
            for w in 0..WAYS {
                let lanes = at + w * n..at + (w + 1) * n;
                let re = T::V::<S>::from_slice(simd, &exits.re[lanes.clone()]);
                let im = T::V::<S>::from_slice(simd, &exits.im[lanes.clone()]);
                count[w] = T::V::<S>::from_slice(simd, &exits.count[lanes]);
                square[w] = re * re + im * im;
                near &= square[w].simd_lt(infinite).all_true();
                square[w] = square[w].max(one);
            }
            if self.smooth {
                let mut ratio = T::log2(simd, square);
                for ratio in &mut ratio {
                    *ratio = (*ratio * unit).max(one);
                }
                let steps = T::log2(simd, ratio);
                for w in 0..WAYS {
                    count[w] = count[w].simd_lt(most).select((count[w] + one) - steps[w], most);
                }
            }
            let mut values = [T::default(); WAYS * MOST_LANES];
            for w in 0..WAYS {
                count[w].min(most).store_slice(&mut values[w * n..(w + 1) * n]);
            }
            if !near {
                for (value, i) in values.iter_mut().zip(at..at + WAYS * n) {
                    // NaN, or the square of the modulus overflows.
                    let (re, im) = (exits.re[i], exits.im[i]);
                    if !(re * re + im * im).to_f64().is_finite() {
                        *value = self.far(re.to_f64(), im.to_f64(), exits.count[i].to_f64());
                    }
                }
            }
            exits.put(at, &values[..WAYS * n], out);
        }
    }

    fn far<T: Real>(self, re: f64, im: f64, k: f64) -> T {
        T::from_f64(if re.is_nan() || im.is_nan() {
            f64::NAN
        } else if self.smooth && k < f64::from(self.max_iter) {
            k + 1.0 - (log_modulus(re, im) / self.radius.ln()).log2()
        } else {
            k
        })
    }
}

/// `log|re + i im|`, also where the square of the modulus overflows; NaN if a part is NaN.
pub(crate) fn log_modulus(re: f64, im: f64) -> f64 {
    let square = re * re + im * im;
    if square.is_infinite() { (0.5 * re).hypot(0.5 * im).ln() + std::f64::consts::LN_2 } else { 0.5 * square.ln() }
}

/// Points of a regular grid: rows from the top, columns from the left, the outermost ones on the given sides.
pub fn grid(rows: usize, columns: usize, [left, right, bottom, top]: [f64; 4]) -> Result<Vec<Complex<f64>>> {
    const MOST: usize = 1 << 32;
    if rows.checked_mul(columns).is_none_or(|n| n > MOST) {
        return Err(KernelError::value("shape", format!("({rows}, {columns})"), format!("at most {MOST} points")));
    }
    let at = |i: usize, n: usize, first: f64, last: f64| {
        let t = if n < 2 { 0.5 } else { i as f64 / (n - 1) as f64 };
        first * (1.0 - t) + last * t
    };
    let cell = |o: usize| Complex { re: at(o % columns, columns, left, right), im: at(o / columns, rows, top, bottom) };
    let cells = (0..rows * columns).map(|o| {
        crate::interrupt::check_each(o, 1 << 16);
        cell(o)
    });
    memory::collected("shape", cells)
}

/// Field of the Julia set of `c` at `points`.
pub fn julia<T: Real>(points: &[Complex<T>], c: Complex<f64>, escape: Escape, run: Run<'_>) -> Result<Vec<T>> {
    check_parameter(c)?;
    field(points, Family::Julia(T::from_f64(c.re), T::from_f64(c.im)), escape, run)
}

/// Field of the Mandelbrot set at `points`.
pub fn mandelbrot<T: Real>(points: &[Complex<T>], escape: Escape, run: Run<'_>) -> Result<Vec<T>> {
    field(points, Family::Mandelbrot, escape, run)
}

/// Gradients of `sum grad[i] * mu[i]` for the smooth field of a Julia set; 0 for points that do not escape.
pub fn julia_vjp<T: Real>(
    grad: &[T],
    points: &[Complex<T>],
    c: Complex<f64>,
    escape: Escape,
    run: Run<'_>,
) -> Result<FieldGradients<T>> {
    check_parameter(c)?;
    escape.check()?;
    vjp(grad, points, c, escape.max_iter, escape.radius, run, |exit| {
        (-1.0 / (std::f64::consts::LN_2 * log_modulus(exit.z.re, exit.z.im)), 0.0)
    })
}

fn field<T: Real>(points: &[Complex<T>], family: Family<T>, rule: Escape, run: Run<'_>) -> Result<Vec<T>> {
    rule.check()?;
    let mut values = memory::zeros::<T>("points", points.len())?;
    for_each_piece(points, &mut values, run, Scratch::new, |level, _, points, values, scratch| {
        dispatch!(level, simd => {
            for exits in escape(simd, points, family, rule.max_iter, rule.radius, scratch) {
                rule.values(simd, &exits, values);
            }
        });
    });
    Ok(values)
}
