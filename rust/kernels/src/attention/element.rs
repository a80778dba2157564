//! Element types: those that tensors are stored in, those of the computation, and their vectors.

use super::kept::Kept;
use bytemuck::Zeroable;
use fearless_simd::{Simd, f32x16, f64x8, prelude::*};
use half::slice::HalfFloatSliceExt;
use std::f32::consts::{LN_2, LOG2_E};

/// A type that attention is computed and accumulated in: `f32` or `f64`.
pub trait Accumulator: SimdFloatElement + Storage<Acc = Self> + PartialOrd + Zeroable
where
    Self: std::ops::Add<Output = Self> + std::ops::Sub<Output = Self> + std::ops::Mul<Output = Self>,
    Self: std::ops::AddAssign + std::ops::MulAssign,
{
    /// One 512-bit vector of it: its lanes are queries.
    type V<S: Simd>: SimdFloat<S, Element = Self>;
    /// One native vector of it: its lanes are columns.
    type N<S: Simd>: SimdFloat<S, Element = Self>;
    /// −∞.
    const NEG_INFINITY: Self;
    /// 1.
    const ONE: Self;

    /// Rounds an `f64`.
    fn from_f64(x: f64) -> Self;
    /// Widens to `f64`.
    fn to_f64(self) -> f64;
    /// e to the power of each lane, which is at most 1; for `f32` relative error 4e-7, exactly 0 below −87.3, for `f64`
    /// the library's.
    ///
    /// Not 2 to the power of scores times log₂ e: that product rounds large scores and overflows near the largest.
    fn exp<S: Simd>(simd: S, x: Self::V<S>) -> Self::V<S>;
    /// [`Self::exp`] of a native vector.
    fn exp_native<S: Simd>(simd: S, x: Self::N<S>) -> Self::N<S>;
    /// tanh of each lane; for `f32` within 5e-7 of it, relative, for `f64` the library's.
    fn tanh<S: Simd>(simd: S, x: Self::V<S>) -> Self::V<S>;
    /// [`Self::tanh`] of a native vector.
    fn tanh_native<S: Simd>(simd: S, x: Self::N<S>) -> Self::N<S>;
    /// The buffer for (p, ds) of row edges that the last backward pass left, for the next one to write over.
    fn kept_p_ds() -> &'static Kept<[Self; 2]>;
}

/// Range reduction to |r| ≤ ln 2 / 2, a polynomial, and the power of two added to the exponent bits.
macro_rules! exp_f32 {
    ($simd:ident, $x:ident, $v:ty) => {{
        // e^r for |r| <= ln 2 / 2, exact at 0; relative error 1e-7 before rounding.
        const P: [f32; 6] = [1.0, 1.0, 0.49999235, 0.1666711, 0.041890038, 0.008312731];
        // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
        const SHIFT: f32 = 12_582_912.0;
        let splat = |c| <$v>::splat($simd, c);
        // A comparison and not `max`, so that NaN stays NaN.
        let gone = $x.simd_lt(splat(-126.0 * LN_2));
        let shifted = $x.mul_add(splat(LOG2_E), splat(SHIFT));
        let r = (shifted - splat(SHIFT)).mul_add(splat(-LN_2), $x);
        let mut p = splat(P[5]);
        p = p.mul_add(r, splat(P[4]));
        p = p.mul_add(r, splat(P[3]));
        p = p.mul_add(r, splat(P[2]));
        p = p.mul_add(r, splat(P[1]));
        p = p.mul_add(r, splat(P[0]));
        gone.select(splat(0.0), <$v>::from_bits((shifted.to_bits() << 23) + p.to_bits()))
    }};
}

/// The continued fraction of tanh, cut off where `f32` does not see it, for small |x|; and for others
/// `(1 − e) / (1 + e)` with `e = e^{−2|x|}`, of which little is lost.
macro_rules! tanh_f32 {
    ($simd:ident, $x:ident, $v:ty, $exp:ident) => {{
        let splat = |c| <$v>::splat($simd, c);
        let size = $x.abs();
        let e = <Self as Accumulator>::$exp($simd, size * splat(-2.0));
        // x (945 + 105 x² + x⁴) / (945 + 420 x² + 15 x⁴)
        let s = $x * $x;
        let above = (s + splat(105.0)).mul_add(s, splat(945.0));
        let below = s.mul_add(splat(15.0), splat(420.0)).mul_add(s, splat(945.0));
        // NaN compares false and stays NaN.
        let near = size.simd_lt(splat(0.5));
        let above = near.select($x * above, (splat(1.0) - e).copysign($x));
        above / near.select(below, splat(1.0) + e)
    }};
}

impl Accumulator for f32 {
    type V<S: Simd> = f32x16<S>;
    type N<S: Simd> = S::f32s;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    const ONE: Self = 1.0;

    fn from_f64(x: f64) -> Self {
        x as f32
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn exp<S: Simd>(simd: S, x: f32x16<S>) -> f32x16<S> {
        exp_f32!(simd, x, f32x16<S>)
    }

    #[inline(always)]
    fn exp_native<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
        exp_f32!(simd, x, S::f32s)
    }

    #[inline(always)]
    fn tanh<S: Simd>(simd: S, x: f32x16<S>) -> f32x16<S> {
        tanh_f32!(simd, x, f32x16<S>, exp)
    }

    #[inline(always)]
    fn tanh_native<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
        tanh_f32!(simd, x, S::f32s, exp_native)
    }

    fn kept_p_ds() -> &'static Kept<[Self; 2]> {
        static KEPT: Kept<[f32; 2]> = Kept::new();
        &KEPT
    }
}

impl Accumulator for f64 {
    type V<S: Simd> = f64x8<S>;
    type N<S: Simd> = S::f64s;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    const ONE: Self = 1.0;

    fn from_f64(x: f64) -> Self {
        x
    }

    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp<S: Simd>(simd: S, x: f64x8<S>) -> f64x8<S> {
        f64x8::from_fn(simd, |i| x[i].exp())
    }

    #[inline(always)]
    fn exp_native<S: Simd>(simd: S, x: S::f64s) -> S::f64s {
        S::f64s::from_fn(simd, |i| x[i].exp())
    }

    #[inline(always)]
    fn tanh<S: Simd>(simd: S, x: f64x8<S>) -> f64x8<S> {
        f64x8::from_fn(simd, |i| x[i].tanh())
    }

    #[inline(always)]
    fn tanh_native<S: Simd>(simd: S, x: S::f64s) -> S::f64s {
        S::f64s::from_fn(simd, |i| x[i].tanh())
    }

    fn kept_p_ds() -> &'static Kept<[Self; 2]> {
        static KEPT: Kept<[f64; 2]> = Kept::new();
        &KEPT
    }
}

/// A type that tensors are stored in.
pub trait Storage: Copy + Default + Send + Sync + 'static {
    /// The type that attention over it is computed in.
    type Acc: Accumulator;

    /// The slice itself where no conversion is needed.
    fn as_acc(slice: &[Self]) -> Option<&[Self::Acc]>;
    /// Converts equally long slices.
    fn widen(from: &[Self], to: &mut [Self::Acc]);
    /// Rounds equally long slices.
    fn narrow(from: &[Self::Acc], to: &mut [Self]);
    /// The slice itself, to accumulate into, where no conversion is needed.
    fn as_acc_mut(slice: &mut [Self]) -> Option<&mut [Self::Acc]>;
}

macro_rules! stored_as_computed {
    ($t:ty) => {
        impl Storage for $t {
            type Acc = $t;

            fn as_acc(slice: &[Self]) -> Option<&[$t]> {
                Some(slice)
            }

            fn widen(from: &[Self], to: &mut [$t]) {
                to.copy_from_slice(from);
            }

            fn narrow(from: &[$t], to: &mut [Self]) {
                to.copy_from_slice(from);
            }

            fn as_acc_mut(slice: &mut [Self]) -> Option<&mut [$t]> {
                Some(slice)
            }
        }
    };
}

stored_as_computed!(f32);
stored_as_computed!(f64);

macro_rules! stored_in_half {
    ($t:ty) => {
        impl Storage for $t {
            type Acc = f32;

            fn as_acc(_: &[Self]) -> Option<&[f32]> {
                None
            }

            fn widen(from: &[Self], to: &mut [f32]) {
                from.convert_to_f32_slice(to);
            }

            fn narrow(from: &[f32], to: &mut [Self]) {
                to.convert_from_f32_slice(from);
            }

            fn as_acc_mut(_: &mut [Self]) -> Option<&mut [f32]> {
                None
            }
        }
    };
}

stored_in_half!(half::bf16);
stored_in_half!(half::f16);
