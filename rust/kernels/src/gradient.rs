//! Gradients of fields that look at one number only, the logarithm of the first iterate outside of a disc.

use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::lanes::{PIECE, Real, map_pieces};
use crate::orbit::{EscapedTangents, escape_with_tangents};
use fearless_simd::{Level, dispatch};
use num_complex::Complex;
use std::sync::{Mutex, PoisonError};

/// Gradients of a field's weighted sum; of complex numbers, `d/dre + i d/dim`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<T> {
    /// One for each point.
    pub points: Vec<Complex<T>>,
    /// Of the parameter.
    pub c: Complex<f64>,
}

/// Where an orbit left the disc.
pub(crate) struct Exit {
    /// Number of the iterate.
    pub(crate) k: f64,
    /// The iterate.
    pub(crate) z: Complex<f64>,
}

/// Gradients of `sum grad[i] * field[i]`, where `d field = slope(exit) * 2**-k * d log|z_k|` for orbits that leave and 0
/// for the others.
pub(crate) fn vjp<T: Real>(
    grad: &[T],
    points: &[Complex<T>],
    c: Complex<f64>,
    max_iter: u32,
    radius: f64,
    executor: &dyn Executor,
    slope: impl Fn(&Exit) -> f64 + Sync,
) -> Result<Gradients<T>> {
    if grad.len() != points.len() {
        return Err(KernelError::shape("grad", grad.len(), format!("{} values, one a point", points.len())));
    }
    let level = Level::new();
    let parameter = [T::from_f64(c.re), T::from_f64(c.im)];
    let sums: Vec<Mutex<Complex<f64>>> = (0..points.len().div_ceil(PIECE)).map(|_| Mutex::default()).collect();
    let points = map_pieces(points, executor, |task, piece, out| {
        let mut lanes = EscapedTangents::new();
        dispatch!(level, simd => escape_with_tangents(simd, piece, parameter, max_iter, radius, &mut lanes));
        let complex = |re: T, im: T| Complex { re: re.to_f64(), im: im.to_f64() };
        let mut sum = Complex::default();
        for (i, out) in out.iter_mut().enumerate() {
            let exit = Exit { k: lanes.orbit.count[i].to_f64(), z: complex(lanes.orbit.re[i], lanes.orbit.im[i]) };
            if exit.k >= f64::from(max_iter) {
                continue;
            }
            // d log|z| = Re(dz / z), so d/dre + i d/dim = conj(dz / z).
            let weight = grad[task * PIECE + i].to_f64() * slope(&exit);
            let by_point = (complex(lanes.point[0][i], lanes.point[1][i]) / exit.z).conj() * weight;
            *out = Complex { re: T::from_f64(by_point.re), im: T::from_f64(by_point.im) };
            sum += (complex(lanes.parameter[0][i], lanes.parameter[1][i]) / exit.z).conj() * weight;
        }
        *sums[task].lock().unwrap_or_else(PoisonError::into_inner) = sum;
    });
    // Pieces are cut by the number of points alone and added in their order.
    let c = sums.into_iter().map(|sum| sum.into_inner().unwrap_or_else(PoisonError::into_inner)).sum();
    Ok(Gradients { points, c })
}
