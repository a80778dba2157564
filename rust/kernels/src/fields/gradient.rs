//! Gradients of fields that depend on one number only, the logarithm of the first iterate outside of a disc.

use super::lanes::{C, MOST_ADDED, PIECE, Piece, Real, held, map_pieces};
use crate::error::{KernelError, Result};
use crate::interrupt;
use crate::memory;
use crate::simd::{Run, dispatch};
use fearless_simd::{Simd, prelude::*};
use num_complex::Complex;
use std::sync::{Mutex, PoisonError};

/// Gradients of a field's weighted sum; of complex numbers, `d/dre + i d/dim`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldGradients<T> {
    /// One for each point.
    pub points: Vec<Complex<T>>,
    /// For the parameter.
    pub c: Complex<f64>,
}

/// Where an orbit left the disc.
pub(crate) struct Exit {
    /// Number of the iterate.
    pub(crate) k: f64,
    /// The iterate.
    pub(crate) z: Complex<f64>,
}

/// Two normal numbers whose product is `2**power`, for a whole `power` of at most 2000 either way; 0 times them is 0.
fn two_to(power: f64) -> [f64; 2] {
    let power = power as i64;
    let half = power >> 1;
    [half, power - half].map(|k| f64::from_bits(((1023 + k.clamp(-1000, 1000)) as u64) << 52))
}

/// `d / z`, also where the square of the modulus of `z` overflows; 0 at infinity.
fn quotient(d: Complex<f64>, z: Complex<f64>) -> Complex<f64> {
    const FAR: f64 = 1e150;
    // 2**-600
    const DOWN: f64 = f64::from_bits((1023 - 600) << 52);
    let largest = z.re.abs().max(z.im.abs());
    if largest <= FAR {
        return d / z;
    }
    if z.is_infinite() && !z.is_nan() { Complex::default() } else { (d * DOWN) / (z * DOWN) }
}

/// Gradients of `sum grad[i] * field[i]`, where `d field = slope * 2**power * d log|z_k|` with `(slope, power)` of the
/// exit for orbits that leave, and 0 for the others and at infinity. Points whose `grad` is 0 add nothing, even NaN.
pub(crate) fn vjp<T: Real>(
    grad: &[T],
    points: &[Complex<T>],
    c: Complex<f64>,
    max_iter: u32,
    radius: f64,
    run: Run<'_>,
    slope: impl Fn(&Exit) -> (f64, f64) + Sync,
) -> Result<FieldGradients<T>> {
    if grad.len() != points.len() {
        return Err(KernelError::shape("grad", grad.len(), format!("{} values, one a point", points.len())));
    }
    let parameter = [T::from_f64(c.re), T::from_f64(c.im)];
    let pieces = 0..points.len().div_ceil(PIECE);
    let sums: Vec<Mutex<Complex<f64>>> = memory::collected("points", pieces.map(|_| Mutex::default()))?;
    let points = map_pieces(points, run, |level, task, piece, out| {
        let mut lanes = Tangents::new();
        dispatch!(level, simd => escape_with_tangents(simd, piece, parameter, max_iter, radius, &mut lanes));
        let complex = |re: T, im: T| Complex { re: re.to_f64(), im: im.to_f64() };
        let mut sum = Complex::default();
        for (i, out) in out.iter_mut().enumerate() {
            let exit = Exit { k: lanes.count[i].to_f64(), z: complex(lanes.re[i], lanes.im[i]) };
            let g = grad[task * PIECE + i].to_f64();
            if exit.k >= f64::from(max_iter) || g == 0.0 {
                continue;
            }
            // d log|z| = Re(dz / z), so d/dre + i d/dim = conj(dz / z).
            let (slope, power) = slope(&exit);
            let [first, last] = two_to(power + lanes.power[i].to_f64());
            let weight = g * slope;
            let gradient = |d: [&[T; PIECE]; 2], most| {
                let q = quotient(complex(d[0][i], d[1][i]), exit.z).conj();
                let part = |x: f64| held(x * first * weight * last, g, most);
                Complex { re: part(q.re), im: part(q.im) }
            };
            let by_point = gradient(lanes.point.each_ref(), T::MOST);
            *out = Complex { re: T::from_f64(by_point.re), im: T::from_f64(by_point.im) };
            sum += gradient(lanes.parameter.each_ref(), MOST_ADDED);
        }
        *sums[task].lock().unwrap_or_else(PoisonError::into_inner) = sum;
    })?;
    // Pieces are cut by the number of points alone and added in their order.
    let c = sums.into_iter().map(|sum| sum.into_inner().unwrap_or_else(PoisonError::into_inner)).sum();
    Ok(FieldGradients { points, c })
}

/// First iterates outside of the disc and their numbers, with derivatives: `2**-power dz_k/dp` and `2**-power dz_k/dc`.
struct Tangents<T> {
    re: [T; PIECE],
    im: [T; PIECE],
    count: [T; PIECE],
    power: [T; PIECE],
    point: [[T; PIECE]; 2],
    parameter: [[T; PIECE]; 2],
}

impl<T: Real> Tangents<T> {
    fn new() -> Self {
        let zeros = [T::default(); PIECE];
        Self { re: zeros, im: zeros, count: zeros, power: zeros, point: [zeros; 2], parameter: [zeros; 2] }
    }
}

/// Steps between two checks of the size of the derivatives.
///
/// Of iterates inside of a disc of radius 1e11 or less, `|z_{k - 1}|**2 <= |z_k| + |c|` with `|c| <= 1e6`: the product
/// of four times `2**4` is below 1e24, and below 1e21 for the radius 1e9 that is the most in `f32`.
const CHECK_EVERY: u32 = 4;

/// Follows the orbits of a Julia set, with their derivatives, until they leave the disc.
///
/// From `dz_{k+1} = 2 z_k dz_k (+ 1)`; both are scaled down together before they overflow.
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
    let (most, down) = (splat(T::from_f64(T::TANGENT)), splat(T::from_f64((-f64::from(T::RESCALE)).exp2())));
    let more = splat(T::from_f64(T::RESCALE.into()));
    let c = C { re: splat(c_re), im: splat(c_im) };
    let mut since = 0;
    for at in (0..piece.len).step_by(n) {
        if since > 1 << 16 {
            interrupt::check();
            since = 0;
        }
        let mut z = piece.load(simd, at);
        let mut count = zero;
        let mut dp = C { re: one, im: zero };
        let mut dc = C { re: zero, im: zero };
        let (mut unit, mut power) = (one, zero);
        let mut taken = max_iter;
        for step in 1..=max_iter {
            let (rr, ii) = (z.re * z.re, z.im * z.im);
            let inside = (rr + ii).simd_le(bound);
            if !inside.any_true() {
                taken = step;
                break;
            }
            let twice = C { re: z.re + z.re, im: z.im + z.im };
            let keep = |new: T::V<S>, old: T::V<S>| inside.select(new, old);
            dp = C {
                re: keep(twice.re * dp.re - twice.im * dp.im, dp.re),
                im: keep(twice.re * dp.im + twice.im * dp.re, dp.im),
            };
            dc = C {
                re: keep((twice.re * dc.re - twice.im * dc.im) + unit, dc.re),
                im: keep(twice.re * dc.im + twice.im * dc.re, dc.im),
            };
            if step % CHECK_EVERY == 0 {
                let large = dp.re.abs().max(dp.im.abs()).max(dc.re.abs().max(dc.im.abs())).simd_gt(most);
                if large.any_true() {
                    let scale = large.select(down, one);
                    power += large.select(more, zero);
                    unit *= scale;
                    for part in [&mut dp.re, &mut dp.im, &mut dc.re, &mut dc.im] {
                        *part *= scale;
                    }
                }
            }
            let ri = z.re * z.im;
            z = C { re: keep((rr - ii) + c.re, z.re), im: keep((ri + ri) + c.im, z.im) };
            count += inside.select(one, zero);
        }
        since += taken;
        let lanes = at..at + n;
        z.re.store_slice(&mut out.re[lanes.clone()]);
        z.im.store_slice(&mut out.im[lanes.clone()]);
        count.store_slice(&mut out.count[lanes.clone()]);
        power.store_slice(&mut out.power[lanes.clone()]);
        dp.re.store_slice(&mut out.point[0][lanes.clone()]);
        dp.im.store_slice(&mut out.point[1][lanes.clone()]);
        dc.re.store_slice(&mut out.parameter[0][lanes.clone()]);
        dc.im.store_slice(&mut out.parameter[1][lanes]);
    }
}
