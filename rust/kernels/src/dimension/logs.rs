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

/// The sums of `values`, finite and not negative, over the largest of them, and that one. None where a quotient is no
/// normal number, which only logarithms one by one are exact for.
pub(super) fn sums(level: Level, values: &[f64]) -> Option<(Sums, f64)> {
    dispatch!(level, simd => of(simd, values))
}

/// The sum of numbers, in lanes.
pub(super) fn total<T: Copy + Into<f64>>(values: &[T]) -> f64 {
    let mut lanes = [0.0; 8];
    let parts = values.chunks_exact(8);
    let rest: f64 = parts.remainder().iter().map(|&x| x.into()).sum();
    for part in parts {
        lanes.iter_mut().zip(part).for_each(|(sum, &x)| *sum += x.into());
    }
    lanes.iter().sum::<f64>() + rest
}

#[inline(always)]
fn of<S: Simd>(simd: S, values: &[f64]) -> Option<(Sums, f64)> {
    let lanes = S::f64s::LEN;
    let whole = values.chunks_exact(lanes);
    let mut last = [0.0; 8];
    last[..whole.remainder().len()].copy_from_slice(whole.remainder());
    let last = S::f64s::from_slice(simd, &last[..lanes]);
    let mut tops = last;
    for part in whole.clone() {
        tops = tops.max(S::f64s::from_slice(simd, part));
    }
    let most = tops.reduce_max();
    if most < f64::MIN_POSITIVE * 4.0 {
        return values.is_empty().then_some((Sums::default(), 0.0));
    }
    let scale = S::f64s::splat(simd, most.recip());
    let mut sums = [S::f64s::splat(simd, 0.0); 7];
    for part in whole {
        add(simd, S::f64s::from_slice(simd, part) * scale, &mut sums);
    }
    add(simd, last * scale, &mut sums);
    let mut found = [0.0; 7];
    for (found, sum) in found.iter_mut().zip(sums) {
        *found = sum.reduce_sum();
    }
    let [low, count, logs, first, first_logs, second, second_logs] = found;
    (low < 0.5).then_some((Sums { count, logs, first, first_logs, second, second_logs }, most))
}

#[inline(always)]
fn add<S: Simd>(simd: S, x: S::f64s, sums: &mut [S::f64s; 7]) {
    let (zero, one) = (S::f64s::splat(simd, 0.0), S::f64s::splat(simd, 1.0));
    let held = x.simd_gt(zero);
    let low = x.simd_lt(S::f64s::splat(simd, f64::MIN_POSITIVE));
    let count = held.select(one, zero);
    let log = held.select(ln(simd, x), zero);
    let (x_log, square) = (x * log, x * x);
    sums[0] += low.select(count, zero);
    sums[1] += count;
    sums[2] += log;
    sums[3] += x;
    sums[4] += x_log;
    sums[5] += square;
    sums[6] += x * x_log;
}

/// `2 / (2 i + 1)`.
const SERIES: [f64; 11] = [
    2.0,
    2.0 / 3.0,
    2.0 / 5.0,
    2.0 / 7.0,
    2.0 / 9.0,
    2.0 / 11.0,
    2.0 / 13.0,
    2.0 / 15.0,
    2.0 / 17.0,
    2.0 / 19.0,
    2.0 / 21.0,
];

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
    let mut p = splat(SERIES[10]);
    for c in SERIES[..10].iter().rev() {
        p = p * square + splat(*c);
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
            let largest = values.iter().copied().fold(0.0, f64::max);
            prop_assume!(largest > 0.0);
            let shares: Vec<f64> = values.iter().map(|x| x * largest.recip()).filter(|&x| x > 0.0).collect();
            prop_assume!(shares.iter().all(|x| x.is_normal()));
            prop_assert!((total(&values) - values.iter().sum::<f64>()).abs() <= 1e-14 * total(&values));
            let wanted = |of: &dyn Fn(f64) -> f64| shares.iter().map(|&x| of(x)).sum::<f64>();
            for (_, level) in levels() {
                let (found, top) = sums(level, &values).unwrap();
                prop_assert_eq!(top.to_bits(), largest.to_bits());
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
            assert_eq!(sums(level, &[1.0, 1e-310]), None);
            assert_eq!(sums(level, &[1e-310]), None);
            assert_eq!(sums(level, &[]), Some((Sums::default(), 0.0)));
        }
    }
}
