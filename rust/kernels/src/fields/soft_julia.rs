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
//! which is `sum k h_k S_{k-1} + n S_{n-1}`, the survival-weighted escape time. For `smoothness -> inf` it is the
//! number of the first iterate outside of the disc. An orbit ends for certain (`S = 0`) beyond
//! `|z| = radius + CUT / smoothness`, where `1 - h` is below rounding anyway; so no iterate overflows, and no derivative is
//! lost to a clamp.
//!
//! Derivatives go forward beside the orbit: `dz_0/dp = 1`, `dz_{k+1}/dp = 2 z_k dz_k/dp`, `dz_0/dc = 0`,
//! `dz_{k+1}/dc = 2 z_k dz_k/dc + 1`, and `dS_k = (1 - h_k) (dS_{k-1} - S_{k-1} h_k d((|z_k| - radius) * smoothness))`. The state per
//! point is a few numbers, whatever the number of iterations. Near a Julia set these tangents grow like `2**k` and more
//! while `S` falls; so the state is `S_{k-1} dz_k`, which is as large as its contribution to the gradient. It is
//! clamped so far below the largest number that no sum of gradients overflows. From where an orbit ends, `S`, its
//! derivatives and `S dz` are 0, whatever the iterate.
//!
//! The idea (a sigmoid in place of the escape test) is that of "soft" escape times in fractal attention tutorials; the
//! hazard and survival forms are those of survival analysis.

use super::batch::Batch;
use super::lanes::{C, MOST_ADDED, PIECE, Real, check_iterations, check_parameter, check_range, for_each_piece, held};
use crate::error::{KernelError, Result};
use crate::interrupt;
use crate::memory;
use crate::simd::{Run, dispatch};
use fearless_simd::{Simd, SimdMask, prelude::*};
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
    /// For the parameter.
    pub c: Complex<f64>,
    /// For the radius.
    pub radius: f64,
    /// For the smoothness.
    pub smoothness: f64,
}

impl Soft {
    /// Multiply-adds over so many points, roughly: most orbits end early.
    pub fn work(self, points: usize) -> usize {
        points.saturating_mul(self.max_iter.min(16) as usize).saturating_mul(32)
    }

    /// Refuses values outside their ranges.
    pub fn check(self) -> Result<()> {
        check_parameter(self.c)?;
        check_iterations(self.max_iter)?;
        check_range("radius", self.radius, 1e-6, 1e6)?;
        check_range("smoothness", self.smoothness, 1e-6, 1e6)
    }

    /// Where the odds are so high that the survival is 0 to the last bit.
    fn bound<T: Real>(self) -> f64 {
        self.radius + T::CUT / self.smoothness
    }

    /// What the derivatives of an orbit are held within, so that none becomes infinite.
    pub fn held<T: Real>(self) -> f64 {
        T::MOST / (8.0 * self.bound::<T>().max(self.smoothness * f64::from(self.max_iter).powi(2)).max(1.0))
    }

    #[inline(always)]
    fn constants<S: Simd, T: Real>(self, simd: S) -> Constants<T::V<S>> {
        let splat = |x| T::V::<S>::splat(simd, T::from_f64(x));
        let bound = self.bound::<T>();
        Constants {
            c: C { re: splat(self.c.re), im: splat(self.c.im) },
            radius: splat(self.radius),
            smoothness: splat(self.smoothness),
            bound: splat(bound * bound),
            never: splat(-1.0),
            held: splat(self.held::<T>()),
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
    never: V,
    held: V,
    steepest: V,
    zero: V,
    one: V,
}

/// The field at `points`, one value in `[0, max_iter]` each.
pub fn soft_julia<T: Real>(points: &[Complex<T>], soft: Soft, run: Run<'_>) -> Result<Vec<T>> {
    soft.check()?;
    let mut values = memory::zeros::<T>("points", points.len())?;
    for_each_piece(points, &mut values, run, Batch::new, |level, _, points, values, batch| {
        dispatch!(level, simd => survive(simd, points, soft, batch, values));
        for (value, _) in values.iter_mut().zip(points).filter(|(_, p)| is_nan(p)) {
            *value = T::from_f64(f64::NAN);
        }
    });
    Ok(values)
}

fn is_nan<T: Real>(z: &Complex<T>) -> bool {
    z.re.to_f64().is_nan() || z.im.to_f64().is_nan()
}

/// Gradients of `sum grad[i] * field[i]`. Points whose `grad` is 0 add nothing, even NaN.
pub fn soft_julia_vjp<T: Real>(
    grad: &[T],
    points: &[Complex<T>],
    soft: Soft,
    run: Run<'_>,
) -> Result<SoftGradients<T>> {
    soft.check()?;
    if grad.len() != points.len() {
        return Err(KernelError::shape("grad", grad.len(), format!("{} values, one a point", points.len())));
    }
    let pieces = 0..points.len().div_ceil(PIECE);
    let sums: Vec<Mutex<[f64; 4]>> = memory::collected("points", pieces.map(|_| Mutex::default()))?;
    let mut by_point = memory::zeros::<Complex<T>>("points", points.len())?;
    let scratch = || (Batch::new(), [[T::default(); 6]; PIECE]);
    for_each_piece(points, &mut by_point, run, scratch, |level, piece, points, by_point, (batch, tangents)| {
        dispatch!(level, simd => differentiate(simd, points, soft, batch, tangents));
        let mut sum = [0.0; 4];
        for (i, out) in by_point.iter_mut().enumerate() {
            let g = grad[piece * PIECE + i].to_f64();
            if g == 0.0 {
                continue;
            }
            let [re, im, shared @ ..] = if is_nan(&points[i]) { [T::from_f64(f64::NAN); 6] } else { tangents[i] };
            let part = |d: T, most| held(g * d.to_f64(), g, most);
            *out = Complex { re: T::from_f64(part(re, T::MOST)), im: T::from_f64(part(im, T::MOST)) };
            for (sum, d) in sum.iter_mut().zip(shared) {
                *sum += part(d, MOST_ADDED);
            }
        }
        *sums[piece].lock().unwrap_or_else(PoisonError::into_inner) = sum;
    });
    // Pieces are cut by the number of points alone and added in their order.
    let mut total = [0.0; 4];
    for sum in sums {
        let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
    }
    let [re, im, radius, smoothness] = total;
    Ok(SoftGradients { points: by_point, c: Complex { re, im }, radius, smoothness })
}

/// Steps between two checks of which orbits are alive. Only the iterates depend on one another; the root, the
/// exponential and the division of each are then computed side by side.
const STEPS: usize = 4;

/// The first of every [`STEPS`] steps.
fn ages(max_iter: u32) -> impl Iterator<Item = u32> {
    (0..max_iter).step_by(STEPS).inspect(|&age| interrupt::check_each(age as usize, 1 << 10))
}

/// The channel of the survival, behind the iterate's two.
const SURVIVAL: usize = 2;

/// Consecutive iterates, the squares of their moduli, and whether they are counted.
struct Iterates<V, M> {
    z: [C<V>; STEPS],
    square: [V; STEPS],
    alive: [M; STEPS],
}

/// The next iterates of an orbit, of which the first `left` are counted. An orbit that has ended stays where it is.
#[inline(always)]
fn walk<S: Simd, T: Real>(
    simd: S,
    z: &mut C<T::V<S>>,
    left: u32,
    k: &Constants<T::V<S>>,
) -> Iterates<T::V<S>, <T::V<S> as SimdBase<S>>::Mask> {
    let zero = T::V::<S>::splat(simd, T::default());
    let mut steps = Iterates { z: [*z; STEPS], square: [zero; STEPS], alive: [zero.simd_eq(zero); STEPS] };
    for j in 0..STEPS {
        let (rr, ii) = (z.re * z.re, z.im * z.im);
        (steps.z[j], steps.square[j]) = (*z, rr + ii);
        // No square is below zero.
        let alive = steps.square[j].simd_le(if (j as u32) < left { k.bound } else { k.never });
        let ri = z.re * z.im;
        z.re = alive.select((rr - ii) + k.c.re, z.re);
        z.im = alive.select((ri + ri) + k.c.im, z.im);
        steps.alive[j] = alive;
    }
    steps
}

#[inline(always)]
fn survive<S: Simd, T: Real>(simd: S, points: &[Complex<T>], soft: Soft, batch: &mut Batch<T, 4>, out: &mut [T]) {
    const VALUE: usize = 3;
    let n = T::V::<S>::LEN;
    let k = soft.constants::<S, T>(simd);
    batch.fill(points, |channel| T::from_f64(if channel == SURVIVAL { 1.0 } else { 0.0 }));
    for age in ages(soft.max_iter) {
        for row in (0..batch.len()).step_by(n).rev() {
            let mut z = batch.load_complex::<S>(simd, 0, row);
            let mut survival = batch.load::<S>(simd, SURVIVAL, row);
            let mut value = batch.load::<S>(simd, VALUE, row);
            let steps = walk::<S, T>(simd, &mut z, soft.max_iter - age, &k);
            let mut steep = steps.square;
            for steep in &mut steep {
                *steep = ((steep.sqrt() - k.radius) * k.smoothness).min(k.steepest);
            }
            let odds = T::exp(simd, steep);
            for j in 0..STEPS {
                survival = steps.alive[j].select(survival * (k.one / (k.one + odds[j])), k.zero);
                value += survival;
            }
            batch.store_complex::<S>(0, row, z);
            batch.store::<S>(SURVIVAL, row, survival);
            batch.store::<S>(VALUE, row, value);
            let stay = survival.simd_gt(k.zero).to_bitmask();
            batch.retire(row, n, stay, |_, point, state| out[point] = state[VALUE]);
        }
        if batch.len() == 0 {
            break;
        }
    }
    batch.drain(|point, state| out[point] = state[VALUE]);
}

#[inline(always)]
fn differentiate<S: Simd, T: Real>(
    simd: S,
    points: &[Complex<T>],
    soft: Soft,
    batch: &mut Batch<T, 19>,
    out: &mut [[T; 6]; PIECE],
) {
    const BY_POINT: usize = 3;
    const BY_C: usize = 5;
    const CHANGE: usize = 7;
    const SUM: usize = 13;
    let n = T::V::<S>::LEN;
    let k = soft.constants::<S, T>(simd);
    let splat = |x| T::V::<S>::splat(simd, T::from_f64(x));
    let power = |of: i32| splat(f64::from(of).exp2());
    let (tiny, two, small) = (splat(T::TINY), splat(2.0), power(-2 * T::SMALL));
    let least = k.zero - k.held;
    let held = |x: T::V<S>| x.max(least).min(k.held);
    let first = |channel| T::from_f64(if channel == SURVIVAL || channel == BY_POINT { 1.0 } else { 0.0 });
    batch.fill(points, first);
    let take = |state: [T; 19]| std::array::from_fn(|j| state[SUM + j]);
    for age in ages(soft.max_iter) {
        for row in (0..batch.len()).step_by(n).rev() {
            let mut z = batch.load_complex::<S>(simd, 0, row);
            let mut steps = walk::<S, T>(simd, &mut z, soft.max_iter - age, &k);
            batch.store_complex::<S>(0, row, z);
            let mut lowest = k.one;
            for j in 0..STEPS {
                // An iterate of an ended orbit may be infinite, and times 0 it would be NaN.
                let keep = |x| steps.alive[j].select(x, k.zero);
                (steps.z[j].re, steps.z[j].im) = (keep(steps.z[j].re), keep(steps.z[j].im));
                steps.square[j] = steps.alive[j].select(steps.square[j], k.one);
                lowest = lowest.min(steps.square[j]);
            }
            // Stay, the hazard's change with the smoothness and with the radius, and the latter over |z|.
            let (mut modulus, mut steep) = (steps.square, steps.square);
            for (modulus, steep) in modulus.iter_mut().zip(&mut steep) {
                *modulus = modulus.sqrt().max(tiny);
                *steep = ((*modulus - k.radius) * k.smoothness).min(k.steepest);
            }
            let odds = T::exp(simd, steep);
            let mut hazards = [[k.zero; 4]; STEPS];
            for j in 0..STEPS {
                // One division for 1 - h and 1 / |z|.
                let denominator = k.one + odds[j];
                let both = k.one / (modulus[j] * denominator);
                let stay = steps.alive[j].select(both * modulus[j], k.zero);
                let hazard = odds[j] * stay;
                let rate = hazard * k.smoothness;
                hazards[j] = [stay, hazard * (modulus[j] - k.radius), rate, rate * (both * denominator)];
            }
            let mut double = [two; STEPS];
            if lowest.simd_lt(small).any_true() {
                // Iterates whose squares are no normal numbers still have a direction: it is that of a multiple.
                // Lanes beside them keep their bits.
                for j in 0..STEPS {
                    let (z, low) = (steps.z[j], steps.square[j].simd_lt(small));
                    let lower = z.re.abs().max(z.im.abs()).simd_lt(small);
                    let scale = low.select(lower.select(power(2 * T::SMALL), power(T::SMALL)), k.one);
                    let z = C { re: z.re * scale, im: z.im * scale };
                    let modulus = (z.re * z.re + z.im * z.im).sqrt().max(tiny);
                    hazards[j][3] = low.select(hazards[j][2] / modulus, hazards[j][3]);
                    (steps.z[j], double[j]) = (z, two / scale);
                }
            }
            let mut survival = batch.load::<S>(simd, SURVIVAL, row);
            // S dz/dp and S dz/dc, with the S of the iterate before.
            let mut dp = batch.load_complex::<S>(simd, BY_POINT, row);
            let mut dc = batch.load_complex::<S>(simd, BY_C, row);
            // dS, and its sum so far.
            let mut change: [_; 6] = std::array::from_fn(|j| batch.load::<S>(simd, CHANGE + j, row));
            let mut sum: [_; 6] = std::array::from_fn(|j| batch.load::<S>(simd, SUM + j, row));
            for (j, [stay, steeper, rate, pull]) in hazards.into_iter().enumerate() {
                let z = steps.z[j];
                let growth = stay * double[j];
                // z conj(dz) is |z| times the gradient of |z|, and 2 z dz the next tangent: the same four products.
                let products = |d: C<_>| [z.re * d.re, z.im * d.im, z.re * d.im, z.im * d.re];
                let [a, b, c, d] = products(dp);
                change[0] -= pull * (a + b);
                change[1] += pull * (c - d);
                dp = C { re: held((a - b) * growth), im: held((c + d) * growth) };
                let [a, b, c, d] = products(dc);
                change[2] -= pull * (a + b);
                change[3] += pull * (c - d);
                change[4] += survival * rate;
                change[5] -= survival * steeper;
                survival *= stay;
                dc = C { re: held((a - b) * growth + survival), im: held((c + d) * growth) };
                for (sum, change) in sum.iter_mut().zip(&mut change) {
                    *change *= stay;
                    *sum += *change;
                }
            }
            batch.store::<S>(SURVIVAL, row, survival);
            batch.store_complex::<S>(BY_POINT, row, dp);
            batch.store_complex::<S>(BY_C, row, dc);
            for j in 0..6 {
                batch.store::<S>(CHANGE + j, row, change[j]);
                batch.store::<S>(SUM + j, row, sum[j]);
            }
            let mut stay = survival.simd_gt(k.zero);
            if !stay.all_true() {
                // A survival that has vanished can leave derivatives that grow.
                let mut left = survival;
                for part in [dp.re, dp.im, dc.re, dc.im].into_iter().chain(change) {
                    left = left.max(part.abs());
                }
                stay = left.simd_gt(k.zero);
            }
            batch.retire(row, n, stay.to_bitmask(), |_, point, state| out[point] = take(state));
        }
        if batch.len() == 0 {
            break;
        }
    }
    batch.drain(|point, state| out[point] = take(state));
}
