//! Sums of shares and their logarithms, in vectors.

use crate::simd::{Level, dispatch};
use fearless_simd::{Simd, prelude::*};

/// Sums over the numbers above 0 of a slice, each number divided by a largest one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// How many there are.
    pub count: f64,
    /// `sum ln x`.
    pub logs: f64,
    /// `sum x`.
    pub first: f64,
    /// `sum x ln x`.
    pub first_logs: f64,
    /// `sum x^2`.
    pub second: f64,
    /// `sum x^2 ln x`.
    pub second_logs: f64,
}

/// The sums of `values / most`, all 0 to 1. None where a quotient is no normal number, which only logarithms one by one
/// are exact for.
pub(super) fn sums(level: Level, values: &[f64], most: f64) -> Option<Sums> {
    if most < f64::MIN_POSITIVE * 4.0 || !most.is_finite() {
        return None;
    }
    dispatch!(level, simd => of(simd, values, most.recip()))
}

#[inline(always)]
fn of<S: Simd>(simd: S, values: &[f64], scale: f64) -> Option<Sums> {
    let splat = |x| S::f64s::splat(simd, x);
    let (zero, one, least) = (splat(0.0), splat(1.0), splat(f64::MIN_POSITIVE));
    let mut sums = [zero; 6];
    let mut low = zero;
    let mut add = |x: S::f64s| {
        let x = x * splat(scale);
        let held = x.simd_gt(zero);
        low += held.select(x.simd_lt(least).select(one, zero), zero);
        let log = held.select(ln(simd, x), zero);
        let (x_log, square) = (x * log, x * x);
        for (sum, part) in sums.iter_mut().zip([held.select(one, zero), log, x, x_log, square, square * log]) {
            *sum += part;
        }
    };
    let lanes = S::f64s::LEN;
    let whole = values.chunks_exact(lanes);
    let rest = whole.remainder();
    for part in whole {
        add(S::f64s::from_slice(simd, part));
    }
    if !rest.is_empty() {
        let mut last = [0.0; 8];
        last[..rest.len()].copy_from_slice(rest);
        add(S::f64s::from_slice(simd, &last[..lanes]));
    }
    let [count, logs, first, first_logs, second, second_logs] = sums.map(|sum| sum.reduce_sum());
    (low.reduce_sum() == 0.0).then_some(Sums { count, logs, first, first_logs, second, second_logs })
}

/// The logarithm of normal numbers above 0: `x = 2^k m` with `m` from `sqrt(1/2)` to `sqrt(2)`, and
/// `ln m = 2 artanh((m - 1) / (m + 1))` by its series. The error is a few roundings of the result or of 1.
#[inline(always)]
fn ln<S: Simd>(simd: S, x: S::f64s) -> S::f64s {
    const BIAS: u64 = 1024;
    const WHOLE: f64 = 4_503_599_627_370_496.0;
    let splat = |x| S::f64s::splat(simd, x);
    let integers = |c| <S::f64s as SimdFloat<S>>::Bits::splat(simd, c);
    let bits = x.to_bits();
    let exponent = (bits + integers((BIAS << 52) - std::f64::consts::FRAC_1_SQRT_2.to_bits())) >> 52_u32;
    let m = S::f64s::from_bits(bits + integers(BIAS << 52) - (exponent << 52_u32));
    let k = S::f64s::from_bits(exponent + integers(WHOLE.to_bits())) - splat(WHOLE + BIAS as f64);
    let s = (m - splat(1.0)) / (m + splat(1.0));
    let square = s * s;
    let term = |i: i32| splat(2.0 / f64::from(2 * i + 1));
    let mut p = term(10);
    for i in (0..10).rev() {
        p = p * square + term(i);
    }
    // The high part of ln 2 times k is exact.
    (p * s + k * splat(1.908_214_929_270_587_7e-10)) + k * splat(0.693_147_180_369_123_8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::levels;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_are_those_of_numbers_one_by_one(
            exponents in prop::collection::vec(-900.0_f64..0.0, 0..40), zeros in prop::collection::vec(any::<bool>(), 40),
            most in 0.01_f64..1e9,
        ) {
            let values: Vec<f64> =
                exponents.iter().zip(&zeros).map(|(e, &zero)| if zero { 0.0 } else { most * e.exp2() }).collect();
            let shares: Vec<f64> = values.iter().map(|x| x * most.recip()).filter(|&x| x > 0.0).collect();
            let wanted = |of: &dyn Fn(f64) -> f64| shares.iter().map(|&x| of(x)).sum::<f64>();
            for (_, level) in levels() {
                let found = sums(level, &values, most).unwrap();
                for (found, wanted) in [
                    (found.count, shares.len() as f64),
                    (found.logs, wanted(&|x| x.ln())),
                    (found.first, wanted(&|x| x)),
                    (found.first_logs, wanted(&|x| x * x.ln())),
                    (found.second, wanted(&|x| x * x)),
                    (found.second_logs, wanted(&|x| x * x * x.ln())),
                ] {
                    prop_assert!((found - wanted).abs() <= 1e-14 * (1.0 + wanted.abs()), "{found} {wanted}");
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_not_normal_are_left_to_others() {
        for (_, level) in levels() {
            assert_eq!(sums(level, &[1.0, 1e-310], 1.0), None);
            assert_eq!(sums(level, &[1e-310], 1e-310), None);
            assert_eq!(sums(level, &[], 1.0), Some(Sums::default()));
        }
    }
}
