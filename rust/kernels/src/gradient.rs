//! Gradients of fields that look at one number only, the logarithm of the first iterate outside of a disc.

use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::lanes::{C, PIECE, Piece, Real, map_pieces};
use crate::memory;
use fearless_simd::{Level, Simd, dispatch, prelude::*};
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
    let pieces = 0..points.len().div_ceil(PIECE);
    let sums: Vec<Mutex<Complex<f64>>> = memory::collected("points", pieces.map(|_| Mutex::default()))?;
    let points = map_pieces(points, executor, |task, piece, out| {
        let mut lanes = Tangents::new();
        dispatch!(level, simd => escape_with_tangents(simd, piece, parameter, max_iter, radius, &mut lanes));
        let complex = |re: T, im: T| Complex { re: re.to_f64(), im: im.to_f64() };
        let mut sum = Complex::default();
        for (i, out) in out.iter_mut().enumerate() {
            let exit = Exit { k: lanes.count[i].to_f64(), z: complex(lanes.re[i], lanes.im[i]) };
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
    })?;
    // Pieces are cut by the number of points alone and added in their order.
    let c = sums.into_iter().map(|sum| sum.into_inner().unwrap_or_else(PoisonError::into_inner)).sum();
    Ok(Gradients { points, c })
}

/// First iterates outside of the disc and their numbers, with derivatives, halved at every step: `2**-k dz_k/dp` and `2**-k dz_k/dc`.
struct Tangents<T> {
    re: [T; PIECE],
    im: [T; PIECE],
    count: [T; PIECE],
    point: [[T; PIECE]; 2],
    parameter: [[T; PIECE]; 2],
}

impl<T: Real> Tangents<T> {
    fn new() -> Self {
        let zeros = [T::default(); PIECE];
        Self { re: zeros, im: zeros, count: zeros, point: [zeros; 2], parameter: [zeros; 2] }
    }
}

/// Follows the orbits of a Julia set until they leave the disc, and derivatives that freeze together with them.
///
/// From `dz_{k+1} = 2 z_k dz_k (+ 1)`, the halved ones obey `w_{k+1} = z_k w_k (+ 2**-(k + 1))`.
#[inline(always)]
fn escape_with_tangents<S: Simd, T: Real>(
    simd: S,
    piece: &Piece<T>,
    [c_re, c_im]: [T; 2],
    max_iter: u32,
    radius: f64,
    out: &mut Tangents<T>,
) {
    let n = T::V::<S>::LEN;
    let splat = |x| T::V::<S>::splat(simd, x);
    let (zero, one, bound) = (splat(T::default()), splat(T::from_f64(1.0)), splat(T::from_f64(radius * radius)));
    let (most, least) = (splat(T::from_f64(T::TANGENT)), splat(T::from_f64(-T::TANGENT)));
    let held = |x: T::V<S>| x.max(least).min(most);
    let c = C { re: splat(c_re), im: splat(c_im) };
    for at in (0..piece.len).step_by(n) {
        let mut z = piece.load(simd, at);
        let mut count = zero;
        let mut dp = C { re: one, im: zero };
        let mut dc = C { re: zero, im: zero };
        let mut halved = one;
        for _ in 0..max_iter {
            let (rr, ii) = (z.re * z.re, z.im * z.im);
            let inside = (rr + ii).simd_le(bound);
            if !inside.any_true() {
                break;
            }
            halved *= T::from_f64(0.5);
            let keep = |new: T::V<S>, old: T::V<S>| inside.select(new, old);
            dp = C {
                re: keep(held(z.re * dp.re - z.im * dp.im), dp.re),
                im: keep(held(z.re * dp.im + z.im * dp.re), dp.im),
            };
            dc = C {
                re: keep(held((z.re * dc.re - z.im * dc.im) + halved), dc.re),
                im: keep(held(z.re * dc.im + z.im * dc.re), dc.im),
            };
            let ri = z.re * z.im;
            z = C { re: keep((rr - ii) + c.re, z.re), im: keep((ri + ri) + c.im, z.im) };
            count += inside.select(one, zero);
        }
        let lanes = at..at + n;
        z.re.store_slice(&mut out.re[lanes.clone()]);
        z.im.store_slice(&mut out.im[lanes.clone()]);
        count.store_slice(&mut out.count[lanes.clone()]);
        dp.re.store_slice(&mut out.point[0][lanes.clone()]);
        dp.im.store_slice(&mut out.point[1][lanes.clone()]);
        dc.re.store_slice(&mut out.parameter[0][lanes.clone()]);
        dc.im.store_slice(&mut out.parameter[1][lanes]);
    }
}
