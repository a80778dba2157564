//! Element types: what is stored, what is computed in, and the vectors of it.

use fearless_simd::{Simd, f32x16, f64x8, prelude::*};
use half::slice::HalfFloatSliceExt;

/// A type that attention is computed in: `f32` or `f64`.
pub trait Real: SimdFloatElement + Default + PartialOrd + Send + Sync + 'static
where
    Self: std::ops::Add<Output = Self> + std::ops::Sub<Output = Self> + std::ops::Mul<Output = Self>,
    Self: std::ops::AddAssign + std::ops::MulAssign,
{
    /// One 512-bit vector of it.
    type V<S: Simd>: SimdFloat<S, Element = Self>;
    /// −∞.
    const NEG_INFINITY: Self;
    /// 1.
    const ONE: Self;

    /// Rounds an `f64`.
    fn from_f64(x: f64) -> Self;
    /// Widens to `f64`.
    fn to_f64(self) -> f64;
    /// 2 to the power of each lane; for `f32` relative error 1e-7, exactly 0 below −126.5, for `f64` the library's.
    fn exp2<S: Simd>(simd: S, x: Self::V<S>) -> Self::V<S>;
}

impl Real for f32 {
    type V<S: Simd> = f32x16<S>;
    const NEG_INFINITY: Self = f32::NEG_INFINITY;
    const ONE: Self = 1.0;

    fn from_f64(x: f64) -> Self {
        x as f32
    }

    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn exp2<S: Simd>(simd: S, x: f32x16<S>) -> f32x16<S> {
        // Minimax polynomial of 2^f on [-1/2, 1/2], relative error 2e-9 before rounding.
        const P: [f32; 7] = [
            1.0,
            std::f32::consts::LN_2,
            0.240_226_46,
            0.055_503_286,
            0.009_618_489,
            0.001_339_993_1,
            0.000_153_458_12,
        ];
        // Adding 1.5 * 2^23 + 127 rounds to an integer and leaves it, biased, in the low bits.
        const SHIFT: f32 = 12_582_912.0 + 127.0;
        let low = f32x16::splat(simd, -127.0);
        // A comparison and not `max`, so that NaN stays NaN.
        let x = x.simd_lt(low).select(low, x);
        let shifted = x + f32x16::splat(simd, SHIFT);
        let f = x - (shifted - f32x16::splat(simd, SHIFT));
        let mut p = f32x16::splat(simd, P[6]);
        for c in P[..6].iter().rev() {
            p = p.mul_add(f, f32x16::splat(simd, *c));
        }
        let power = f32x16::from_bits(shifted.to_bits() << 23);
        p * power
    }
}

impl Real for f64 {
    type V<S: Simd> = f64x8<S>;
    const NEG_INFINITY: Self = f64::NEG_INFINITY;
    const ONE: Self = 1.0;

    fn from_f64(x: f64) -> Self {
        x
    }

    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp2<S: Simd>(simd: S, x: f64x8<S>) -> f64x8<S> {
        f64x8::from_fn(simd, |i| x[i].exp2())
    }
}

/// A type that tensors are stored in.
pub trait Storage: Copy + Default + Send + Sync + 'static {
    /// The type that attention over it is computed in.
    type Acc: Real;

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
