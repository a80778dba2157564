//! The numbers of the escape fields: `f32` or `f64`, a native vector of them at a time.
//!
//! Only operations that IEEE 754 rounds in one way are used (no fused multiply-add, no approximate reciprocal), so a
//! field has the same bits at every SIMD level.

use crate::error::{KernelError, Result};
use crate::memory;
use crate::simd::{Level, Run};
use bytemuck::Zeroable;
use fearless_simd::{Simd, SimdFloatElement, prelude::*};
use num_complex::Complex;

/// Points per task, and in the buffers on its stack.
pub(crate) const PIECE: usize = 512;

/// Lanes of the widest vector.
pub(crate) const MOST_LANES: usize = 16;

/// `f32` or `f64`.
pub trait Real:
    SimdFloatElement + Default + Zeroable + PartialOrd + Send + Sync + num_like::Arithmetic + std::fmt::Display + 'static
{
    /// One native vector.
    type V<S: Simd>: SimdFloat<S, Element = Self>;
    /// `exp(-CUT)` vanishes beside one.
    const CUT: f64;
    /// Tangents beyond this are scaled down, by `2**-RESCALE`; so they do not overflow within a few steps.
    const TANGENT: f64;
    /// See [`Self::TANGENT`].
    const RESCALE: i32;
    /// The largest finite number.
    const MOST: f64;
    /// Below `2**-SMALL` squares lose bits; below `2**-(2 SMALL)` they vanish, and times `2**(2 SMALL)` they do not.
    const SMALL: i32;
    /// Where the potential's orbit is far enough out: `BAIL**-2` vanishes beside one.
    const BAIL: f64;
    /// A radius below which a point counts as the origin.
    const TINY: f64;

    /// Rounds an `f64`.
    fn from_f64(x: f64) -> Self;
    /// Widens to `f64`.
    fn to_f64(self) -> f64;
    /// `exp` of each lane, which exceeds [`Self::CUT`] by little at most; 0 where that is no normal number.
    /// The relative error is a few roundings. Several vectors side by side hide each other's latency.
    fn exp<S: Simd, const N: usize>(simd: S, x: [Self::V<S>; N]) -> [Self::V<S>; N];
    /// The logarithm to base 2 of each lane, which is finite and 1 or more; the error is a few roundings of the result
    /// or of 1.
    fn log2<S: Simd, const N: usize>(simd: S, x: [Self::V<S>; N]) -> [Self::V<S>; N];
}

/// The operators both floats have, as one bound.
pub(crate) mod num_like {
    use std::ops::{Add, AddAssign, Mul, Sub};

    pub trait Arithmetic:
        Sized + Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + AddAssign
    {
    }
    impl<T: Copy + Add<Output = T> + Sub<Output = T> + Mul<Output = T> + AddAssign> Arithmetic for T {}
}

/// Range reduction to `[-ln 2 / 2, ln 2 / 2]`, a polynomial, and the power of two put into the exponent bits: adding
/// `$shift` rounds to an integer and leaves it, biased, in the low bits.
macro_rules! exp {
    ($simd:ident, $x:ident, $v:ty, $low:expr, $shift:expr, $ln2_high:expr, $ln2_low:expr, $p:expr, $bits:expr) => {{
        let splat = |c| <$v>::splat($simd, c);
        let (mut rest, mut shifted) = ($x, $x);
        for (rest, shifted) in rest.iter_mut().zip(&mut shifted) {
            let x = rest.max(splat($low));
            *shifted = x * splat(std::f64::consts::LOG2_E as _) + splat($shift);
            let n = *shifted - splat($shift);
            *rest = (x - n * splat($ln2_high)) - n * splat($ln2_low);
        }
        let mut p = [splat($p[$p.len() - 1]); N];
        for c in $p[..$p.len() - 1].iter().rev() {
            for (p, rest) in p.iter_mut().zip(rest) {
                *p = *p * rest + splat(*c);
            }
        }
        for (p, shifted) in p.iter_mut().zip(shifted) {
            *p *= <$v>::from_bits(shifted.to_bits() << $bits);
        }
        p
    }};
}

/// `x = 2**k m` with `m` from `sqrt(1/2)` to `sqrt(2)`, and `log m = 2 artanh s`, `s = (m - 1) / (m + 1)`, by `$terms` terms of
/// its series. The integer `k` becomes a float by way of the low bits of `$whole`, below which floats are whole
/// numbers.
macro_rules! log2 {
    ($simd:ident, $x:ident, $v:ty, $bits:expr, $whole:expr, $terms:expr) => {{
        let splat = |c| <$v>::splat($simd, c);
        let integers = |c| <$v as SimdFloat<S>>::Bits::splat($simd, c);
        let (mut k, mut s) = ($x, $x);
        for (k, s) in k.iter_mut().zip(&mut s) {
            let bits = s.to_bits();
            let exponent = (bits - integers((std::f64::consts::FRAC_1_SQRT_2 as Self).to_bits())) >> $bits;
            let m = <$v>::from_bits(bits - (exponent << $bits));
            *k = <$v>::from_bits(exponent + integers(<Self>::to_bits($whole))) - splat($whole);
            *s = (m - splat(1.0)) / (m + splat(1.0));
        }
        let term = |i: u32| splat(Self::from_f64(2.0 * std::f64::consts::LOG2_E / f64::from(2 * i + 1)));
        let mut p = [term($terms - 1); N];
        for i in (0..$terms - 1).rev() {
            for (p, s) in p.iter_mut().zip(s) {
                *p = *p * (s * s) + term(i);
            }
        }
        for (p, (s, k)) in p.iter_mut().zip(s.into_iter().zip(k)) {
            *p = *p * s + k;
        }
        p
    }};
}

impl Real for f64 {
    type V<S: Simd> = S::f64s;
    const CUT: f64 = 40.0;
    const TANGENT: f64 = 1e100;
    const RESCALE: i32 = 256;
    const MOST: f64 = f64::MAX;
    const SMALL: i32 = 480;
    const BAIL: f64 = 1e8;
    const TINY: f64 = 1e-150;

    fn from_f64(x: f64) -> Self {
        x
    }

    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp<S: Simd, const N: usize>(simd: S, x: [S::f64s; N]) -> [S::f64s; N] {
        // Interpolates exp at Chebyshev nodes; relative error 4e-18 before rounding.
        const P: [f64; 12] = [
            1.0,
            1.0,
            0.500_000_000_000_001_9,
            0.166_666_666_666_666_82,
            0.041_666_666_666_486_66,
            0.008_333_333_333_319_49,
            0.001_388_888_895_269_656_5,
            0.000_198_412_698_903_406_65,
            2.480_148_507_410_511_7e-5,
            2.755_724_060_466_389_6e-6,
            2.763_279_054_212_718e-7,
            2.511_015_364_692_893e-8,
        ];
        const SHIFT: f64 = 6_755_399_441_055_744.0 + 1023.0;
        exp!(simd, x, S::f64s, -709.0, SHIFT, 0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10, P, 52_u32)
    }

    #[inline(always)]
    fn log2<S: Simd, const N: usize>(simd: S, x: [S::f64s; N]) -> [S::f64s; N] {
        log2!(simd, x, S::f64s, 52_u32, 4_503_599_627_370_496.0, 11_u32)
    }
}

impl Real for f32 {
    type V<S: Simd> = S::f32s;
    const CUT: f64 = 24.0;
    const TANGENT: f64 = 1e17;
    const RESCALE: i32 = 80;
    const MOST: f64 = f32::MAX as f64;
    const SMALL: i32 = 48;
    const BAIL: f64 = 1e4;
    const TINY: f64 = 1e-18;

    fn from_f64(x: f64) -> Self {
        x as f32
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn exp<S: Simd, const N: usize>(simd: S, x: [S::f32s; N]) -> [S::f32s; N] {
        // Relative error 3e-9 before rounding.
        const P: [f32; 7] = [1.0, 1.0, 0.5, 0.166_664_14, 0.041_666_35, 0.008_375_21, 0.001_394_121_3];
        const SHIFT: f32 = 12_582_912.0 + 127.0;
        exp!(simd, x, S::f32s, -88.0, SHIFT, 0.693_115_23, 3.194_618_5e-5, P, 23_u32)
    }

    #[inline(always)]
    fn log2<S: Simd, const N: usize>(simd: S, x: [S::f32s; N]) -> [S::f32s; N] {
        log2!(simd, x, S::f32s, 23_u32, 8_388_608.0, 5_u32)
    }
}

/// A complex vector.
#[derive(Clone, Copy)]
pub(crate) struct C<V> {
    pub(crate) re: V,
    pub(crate) im: V,
}

/// The points of one task as two arrays, zeros after the last.
pub(crate) struct Piece<T> {
    pub(crate) re: [T; PIECE],
    pub(crate) im: [T; PIECE],
    pub(crate) len: usize,
}

impl<T: Real> Piece<T> {
    /// The `task`-th piece.
    pub(crate) fn of(points: &[Complex<T>], task: usize) -> Self {
        let points = &points[task * PIECE..points.len().min((task + 1) * PIECE)];
        let mut piece = Self { re: [T::default(); PIECE], im: [T::default(); PIECE], len: points.len() };
        for (i, p) in points.iter().enumerate() {
            (piece.re[i], piece.im[i]) = (p.re, p.im);
        }
        piece
    }

    #[inline(always)]
    pub(crate) fn load<S: Simd>(&self, simd: S, at: usize) -> C<T::V<S>> {
        C {
            re: T::V::<S>::from_slice(simd, &self.re[at..at + T::V::<S>::LEN]),
            im: T::V::<S>::from_slice(simd, &self.im[at..at + T::V::<S>::LEN]),
        }
    }
}

/// `f(level, piece, points, out, scratch)` for every piece of the points and of the results; the pieces of a task share one
/// scratch.
pub(crate) fn for_each_piece<T: Real, O: Send, X>(
    points: &[Complex<T>],
    out: &mut [O],
    run: Run<'_>,
    scratch: impl Fn() -> X + Sync,
    f: impl Fn(Level, usize, &[Complex<T>], &mut [O], &mut X) + Sync,
) {
    // Enough tasks for all threads, but few enough that their scratch costs nothing.
    let pieces = (points.len() / (64 * PIECE)).clamp(1, 16);
    run.for_each_chunk(out, pieces * PIECE, |level, task, out| {
        let mut scratch = scratch();
        let points = points[task * pieces * PIECE..].chunks(PIECE);
        for (i, (points, out)) in points.zip(out.chunks_mut(PIECE)).enumerate() {
            f(level, task * pieces + i, points, out, &mut scratch);
        }
    });
}

/// `f(level, piece, points, out)` for every piece of the points; the results, one a point.
pub(crate) fn map_pieces<T: Real, O: Zeroable + Send>(
    points: &[Complex<T>],
    run: Run<'_>,
    f: impl Fn(Level, usize, &Piece<T>, &mut [O]) + Sync,
) -> Result<Vec<O>> {
    let mut out = memory::zeros::<O>("points", points.len())?;
    run.for_each_chunk(&mut out, PIECE, |level, task, out| f(level, task, &Piece::of(points, task), out));
    Ok(out)
}

/// Bound on each gradient in a sum, so that no sum over 2**40 points overflows.
pub(crate) const MOST_ADDED: f64 = f64::MAX / (1_u64 << 40) as f64;

/// A part of a gradient, clamped to `most`; infinite weights keep their infinities.
pub(crate) fn held(part: f64, weight: f64, most: f64) -> f64 {
    if weight.is_finite() { part.clamp(-most, most) } else { part }
}

/// Refuses numbers that are not finite or outside `low ..= high`.
pub fn check_range(argument: &'static str, x: f64, low: f64, high: f64) -> Result<()> {
    if !(low..=high).contains(&x) {
        return Err(KernelError::value(argument, x, format!("a finite number in {low} ..= {high}")));
    }
    Ok(())
}

/// Refuses a parameter that is not finite.
pub fn check_parameter(c: Complex<f64>) -> Result<()> {
    if !(c.re.is_finite() && c.im.is_finite()) || c.norm() > 1e6 {
        return Err(KernelError::value("c", c, "a finite complex number of modulus at most 1e6"));
    }
    Ok(())
}

/// Refuses an iteration count that `f32` cannot count to, or none.
pub(crate) fn check_iterations(max_iter: u32) -> Result<()> {
    const MOST: u32 = 1 << 24;
    if max_iter == 0 || max_iter > MOST {
        return Err(KernelError::value("max_iter", max_iter, format!("1 ..= {MOST}")));
    }
    Ok(())
}
