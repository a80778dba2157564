//! A differentiable escape count of `z -> z**2 + c`, and its vector–Jacobian product.
//!
//! At every iterate `z_0, …, z_{n - 1}` the orbit ends with probability `h_k`, and the field is the expected number of
//! iterates it survives:
//!
//! ```text
//! h_k = sigmoid((|z_k| - radius) * smoothness)
//! S_k = (1 - h_0) (1 - h_1) … (1 - h_k)
//! E   = S_0 + S_1 + … + S_{n - 1}            in [0, n]
//! ```
//!
//! which is `sum k h_k S_{k-1} + n S_{n-1}`, the survival-weighted escape time. For `smoothness -> inf` it is the number of
//! the first iterate outside of the disc. An orbit ends for certain (`S = 0`) beyond `|z| = radius + CUT / smoothness`,
//! where `1 - h` is below rounding anyway; so no iterate overflows, and no derivative is lost to a clamp.
//!
//! Derivatives go forward beside the orbit: `dz_0/dp = 1`, `dz_{k+1}/dp = 2 z_k dz_k/dp`, `dz_0/dc = 0`,
//! `dz_{k+1}/dc = 2 z_k dz_k/dc + 1`, and `d log S_k = - sum h_j d((|z_j| - radius) * smoothness)`. The state per point is
//! a few numbers, whatever the number of iterations. Near a Julia set these tangents grow like `2**k` and more; they are
//! held within `TANGENT` (1e100 for `f64`, 1e24 for `f32`), so that gradients stay finite.
//!
//! The idea (a sigmoid in place of the escape test) is that of "soft" escape times in fractal attention tutorials; the
//! hazard and survival forms are those of survival analysis.

use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::lanes::{C, PIECE, Piece, Real, check_iterations, check_parameter, check_range, map_pieces};
use fearless_simd::{Level, Simd, SimdMask, dispatch, prelude::*};
use num_complex::Complex;
use std::sync::{Mutex, PoisonError};

/// The parameters of the field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Soft {
    /// The `c` of the Julia set.
    pub c: Complex<f64>,
    /// Iterates that are tested, at least one.
    pub max_iter: u32,
    /// Radius of the disc, 1e-6 to 1e6.
    pub radius: f64,
    /// Steepness of its edge, 1e-6 to 1e6.
    pub smoothness: f64,
}

/// Gradients of a field's weighted sum; of complex numbers, `d/dre + i d/dim`.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftGradients<T> {
    /// One for each point.
    pub points: Vec<Complex<T>>,
    /// Of the parameter.
    pub c: Complex<f64>,
    /// Of the radius.
    pub radius: f64,
    /// Of the smoothness.
    pub smoothness: f64,
}

impl Soft {
    fn check(self) -> Result<()> {
        check_parameter(self.c)?;
        check_iterations(self.max_iter)?;
        check_range("radius", self.radius, 1e-6, 1e6)?;
        check_range("smoothness", self.smoothness, 1e-6, 1e6)
    }

    #[inline(always)]
    fn constants<S: Simd, T: Real>(self, simd: S) -> Constants<T::V<S>> {
        let splat = |x| T::V::<S>::splat(simd, T::from_f64(x));
        let bound = self.radius + T::CUT / self.smoothness;
        Constants {
            c: C { re: splat(self.c.re), im: splat(self.c.im) },
            radius: splat(self.radius),
            smoothness: splat(self.smoothness),
            bound: splat(bound * bound),
            steepest: splat(T::CUT + 1.0),
            zero: splat(0.0),
            one: splat(1.0),
        }
    }
}

#[derive(Clone, Copy)]
struct Constants<V> {
    c: C<V>,
    radius: V,
    smoothness: V,
    bound: V,
    steepest: V,
    zero: V,
    one: V,
}

/// The field at `points`, one value in `[0, max_iter]` each.
pub fn soft_julia<T: Real>(points: &[Complex<T>], soft: Soft, executor: &dyn Executor) -> Result<Vec<T>> {
    soft_julia_at(Level::new(), points, soft, executor)
}

/// [`soft_julia`] at a SIMD level of the caller's choice; every level gives the same bits.
pub fn soft_julia_at<T: Real>(
    level: Level,
    points: &[Complex<T>],
    soft: Soft,
    executor: &dyn Executor,
) -> Result<Vec<T>> {
    soft.check()?;
    Ok(map_pieces(points, executor, |_, piece, out| {
        let mut values = [T::default(); PIECE];
        dispatch!(level, simd => survive(simd, piece, soft, &mut values));
        for (i, out) in out.iter_mut().enumerate() {
            *out = values[i];
        }
    }))
}

/// Gradients of `sum grad[i] * field[i]`.
pub fn soft_julia_vjp<T: Real>(
    grad: &[T],
    points: &[Complex<T>],
    soft: Soft,
    executor: &dyn Executor,
) -> Result<SoftGradients<T>> {
    soft_julia_vjp_at(Level::new(), grad, points, soft, executor)
}

/// [`soft_julia_vjp`] at a SIMD level of the caller's choice; every level gives the same bits.
pub fn soft_julia_vjp_at<T: Real>(
    level: Level,
    grad: &[T],
    points: &[Complex<T>],
    soft: Soft,
    executor: &dyn Executor,
) -> Result<SoftGradients<T>> {
    soft.check()?;
    if grad.len() != points.len() {
        return Err(KernelError::shape("grad", grad.len(), format!("{} values, one a point", points.len())));
    }
    let sums: Vec<Mutex<[f64; 4]>> = (0..points.len().div_ceil(PIECE)).map(|_| Mutex::default()).collect();
    let points = map_pieces(points, executor, |task, piece, out| {
        let mut tangents = Tangents::<T>::new();
        dispatch!(level, simd => differentiate(simd, piece, soft, &mut tangents));
        let mut sum = [0.0; 4];
        for (i, out) in out.iter_mut().enumerate() {
            let g = grad[task * PIECE + i];
            let [re, im, shared @ ..] = std::array::from_fn::<_, 6, _>(|j| tangents.0[j][i]);
            *out = Complex { re: g * re, im: g * im };
            for (sum, d) in sum.iter_mut().zip(shared) {
                *sum += g.to_f64() * d.to_f64();
            }
        }
        *sums[task].lock().unwrap_or_else(PoisonError::into_inner) = sum;
    });
    // Pieces are cut by the number of points alone and added in their order.
    let mut total = [0.0; 4];
    for sum in sums {
        let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
    }
    let [re, im, radius, smoothness] = total;
    Ok(SoftGradients { points, c: Complex { re, im }, radius, smoothness })
}

/// Derivatives of a piece's values by point (re, im), `c` (re, im), radius and smoothness.
struct Tangents<T>([[T; PIECE]; 6]);

impl<T: Real> Tangents<T> {
    fn new() -> Self {
        Self([[T::default(); PIECE]; 6])
    }
}

#[inline(always)]
fn survive<S: Simd, T: Real>(simd: S, piece: &Piece<T>, soft: Soft, out: &mut [T; PIECE]) {
    const WAYS: usize = 2;
    let n = T::V::<S>::LEN;
    let k = soft.constants::<S, T>(simd);
    for at in (0..piece.len).step_by(WAYS * n) {
        let mut z: [C<T::V<S>>; WAYS] = std::array::from_fn(|w| piece.load(simd, at + w * n));
        // Zero for numbers; NaN and infinities spread to the result.
        let mut value = z.map(|z| z.re * k.zero + z.im * k.zero);
        let mut survival = [k.one; WAYS];
        for _ in 0..soft.max_iter {
            let mut some = false;
            for w in 0..WAYS {
                let (rr, ii) = (z[w].re * z[w].re, z[w].im * z[w].im);
                let square = rr + ii;
                let alive = square.simd_le(k.bound);
                let steep = ((square.sqrt() - k.radius) * k.smoothness).min(k.steepest);
                let stay = k.one / (k.one + T::exp(simd, steep));
                survival[w] = alive.select(survival[w] * stay, k.zero);
                value[w] += survival[w];
                let ri = z[w].re * z[w].im;
                z[w].re = alive.select((rr - ii) + k.c.re, z[w].re);
                z[w].im = alive.select((ri + ri) + k.c.im, z[w].im);
                some |= survival[w].simd_gt(k.zero).any_true();
            }
            if !some {
                break;
            }
        }
        for w in 0..WAYS {
            value[w].store_slice(&mut out[at + w * n..at + (w + 1) * n]);
        }
    }
}

#[inline(always)]
fn differentiate<S: Simd, T: Real>(simd: S, piece: &Piece<T>, soft: Soft, out: &mut Tangents<T>) {
    let n = T::V::<S>::LEN;
    let k = soft.constants::<S, T>(simd);
    let splat = |x| T::V::<S>::splat(simd, T::from_f64(x));
    let (tiny, most, least) = (splat(T::TINY), splat(T::TANGENT), splat(-T::TANGENT));
    let held = |x: T::V<S>| x.max(least).min(most);
    for at in (0..piece.len).step_by(n) {
        let mut z = piece.load(simd, at);
        let mut survival = k.one;
        // dz/dp and dz/dc.
        let mut dp = C { re: k.one, im: k.zero };
        let mut dc = C { re: k.zero, im: k.zero };
        // d log S, and the sum of dS so far; NaN and infinities spread to the result.
        let mut log = [k.zero; 6];
        let mut sum = [z.re * k.zero + z.im * k.zero; 6];
        for _ in 0..soft.max_iter {
            let (rr, ii) = (z.re * z.re, z.im * z.im);
            let square = rr + ii;
            let alive = square.simd_le(k.bound);
            let modulus = square.sqrt().max(tiny);
            let over = modulus - k.radius;
            let odds = T::exp(simd, (over * k.smoothness).min(k.steepest));
            // One division for 1 - h and 1 / |z|.
            let denominator = k.one + odds;
            let both = k.one / (modulus * denominator);
            let stay = both * modulus;
            let hazard = odds * stay;
            let rate = hazard * k.smoothness;
            let pull = rate * (both * denominator);
            let (x, y) = (z.re * pull, z.im * pull);
            log[0] -= x * dp.re + y * dp.im;
            log[1] += x * dp.im - y * dp.re;
            log[2] -= x * dc.re + y * dc.im;
            log[3] += x * dc.im - y * dc.re;
            log[4] += rate;
            log[5] -= hazard * over;
            survival = alive.select(survival * stay, k.zero);
            for j in 0..6 {
                sum[j] += survival * log[j];
            }
            if !survival.simd_gt(k.zero).any_true() {
                break;
            }
            let (x, y) = (z.re + z.re, z.im + z.im);
            dp = C { re: held(x * dp.re - y * dp.im), im: held(x * dp.im + y * dp.re) };
            dc = C { re: held((x * dc.re - y * dc.im) + k.one), im: held(x * dc.im + y * dc.re) };
            let ri = z.re * z.im;
            z.re = alive.select((rr - ii) + k.c.re, z.re);
            z.im = alive.select((ri + ri) + k.c.im, z.im);
        }
        for j in 0..6 {
            sum[j].store_slice(&mut out.0[j][at..at + n]);
        }
    }
}
