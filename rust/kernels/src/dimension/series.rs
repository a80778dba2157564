//! Series: lengths of a curve at coarser and coarser steps, and fluctuations around local trends.

use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::interrupt;
use crate::memory::{self, OrLeave};

/// Series of equal length, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct ManySeries<'a> {
    values: &'a [f64],
    length: usize,
}

impl<'a> ManySeries<'a> {
    /// Series by their values, all finite: `(series, length)`.
    pub fn new(values: &'a [f64], [series, length]: [usize; 2]) -> Result<Self> {
        if memory::product::<f64>("series", &[series, length])? != values.len() || length == 0 {
            let given = format!("{} values as ({series}, {length})", values.len());
            return Err(KernelError::shape("series", given, "at least one value a series"));
        }
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            let given = format!("{} at {:?}", values[at], [at / length, at % length]);
            return Err(KernelError::value("series", given, "finite numbers"));
        }
        Ok(Self { values, length })
    }

    fn count(&self) -> usize {
        self.values.len() / self.length
    }

    fn get(&self, i: usize) -> &'a [f64] {
        &self.values[i * self.length..(i + 1) * self.length]
    }
}

/// T. Higuchi's lengths (1988) at steps of 1 to `most`: `(series, most)`. For each of the `k` starts `m` the length is
/// `(n - 1) / (steps k^2) * sum |x[m + i k] - x[m + (i - 1) k]|` over all `steps = floor((n - 1 - m) / k)`; their mean
/// counts. Without `last_step` the last step of each start is left out of its sum, but not out of `steps`.
pub fn higuchi(series: ManySeries<'_>, most: usize, last_step: bool, executor: &dyn Executor) -> Result<Vec<f64>> {
    let n = series.length;
    if most == 0 || most > (n - 1) / 2 {
        return Err(KernelError::value("kmax", most, format!("1 ..= {}, half of the series", (n - 1) / 2)));
    }
    let mut lengths = memory::zeros("kmax", memory::product::<f64>("kmax", &[series.count(), most])?)?;
    for_each_chunk(executor, &mut lengths, most, |i, lengths| {
        let x = series.get(i);
        for (length, k) in lengths.iter_mut().zip(1..) {
            interrupt::check();
            let of_start = |m: usize| {
                let steps = (n - 1 - m) / k;
                let sum: f64 =
                    (1..steps + usize::from(last_step)).map(|s| (x[m + s * k] - x[m + (s - 1) * k]).abs()).sum();
                sum * (n - 1) as f64 / (steps * k * k) as f64
            };
            *length = (0..k).map(of_start).sum::<f64>() / k as f64;
        }
    });
    Ok(lengths)
}

/// What windows of the fluctuation analysis are.
#[derive(Clone, Copy, Debug)]
pub struct Detrending<'a> {
    /// Values of a window, each size at least `order + 2`.
    pub sizes: &'a [usize],
    /// Degree of the polynomial that is taken from each.
    pub order: usize,
    /// Orders of the mean over windows.
    pub orders: &'a [f64],
    /// Whether the series is summed up first.
    pub profile: bool,
    /// Whether windows are laid from the end as well as from the start.
    pub both_ends: bool,
}

/// Fluctuations `F_q(s) = (mean over windows of v^(q / 2))^(1 / q)`, with `v` the mean square of what a polynomial leaves
/// of a window, and `exp(mean ln v / 2)` at `q = 0`: `(series, orders, sizes)` (J. W. Kantelhardt et al., 2002). Windows
/// without any fluctuation are left out of orders of 0 and below; NaN where none is left.
pub fn fluctuations(series: ManySeries<'_>, how: Detrending<'_>, executor: &dyn Executor) -> Result<Vec<f64>> {
    let n = series.length;
    if how.order > 8 {
        return Err(KernelError::value("order", how.order, "0 ..= 8"));
    }
    if how.sizes.is_empty() || how.sizes.iter().any(|&size| size < how.order + 2 || size > n) {
        let allowed = format!("one or more of {} ..= {n}", how.order + 2);
        return Err(KernelError::value("scales", format!("{:?}", how.sizes), allowed));
    }
    if how.orders.is_empty() || how.orders.iter().any(|q| q.abs() > 100.0 || q.is_nan()) {
        return Err(KernelError::value("q", format!("{:?}", how.orders), "one or more numbers in -100 ..= 100"));
    }
    let bases: Vec<Vec<f64>> = how.sizes.iter().map(|&size| polynomials(size, how.order)).collect::<Result<_>>()?;
    let (sizes, orders) = (how.sizes.len(), how.orders.len());
    let mut found = memory::zeros("scales", memory::product::<f64>("scales", &[series.count(), orders, sizes])?)?;
    for_each_chunk(executor, &mut found, orders * sizes, |i, found| {
        let x = if how.profile { profile(series.get(i)) } else { memory::copied("series", series.get(i)) }.or_leave();
        for (k, (&size, basis)) in how.sizes.iter().zip(&bases).enumerate() {
            interrupt::check();
            let mut left: Vec<f64> = memory::with_capacity("series", 2 * (n / size)).or_leave();
            left.extend(x.chunks_exact(size).map(|window| residual(window, basis)));
            if how.both_ends && !n.is_multiple_of(size) {
                left.extend(x.rchunks_exact(size).map(|window| residual(window, basis)));
            }
            for (l, &q) in how.orders.iter().enumerate() {
                found[l * sizes + k] = mean_of(&left, q);
            }
        }
    });
    Ok(found)
}

fn profile(x: &[f64]) -> Result<Vec<f64>> {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let mut sum = 0.0;
    memory::collected(
        "series",
        x.iter().map(|&x| {
            sum += x - mean;
            sum
        }),
    )
}

/// Orthonormal polynomials of degrees 0 to `order` on `size` points, one after the other.
pub(super) fn polynomials(size: usize, order: usize) -> Result<Vec<f64>> {
    let mut basis: Vec<f64> = memory::with_capacity("scales", size * (order + 1))?;
    for degree in 0..=order {
        let at = |i: usize| (2 * i) as f64 / (size - 1) as f64 - 1.0;
        let mut next: Vec<f64> = (0..size).map(|i| at(i).powi(degree as i32)).collect();
        // Twice: what rounding leaves of the lower degrees goes the second time.
        for _ in 0..2 {
            for lower in basis.chunks(size) {
                let dot: f64 = lower.iter().zip(&next).map(|(a, b)| a * b).sum();
                next.iter_mut().zip(lower).for_each(|(x, a)| *x -= dot * a);
            }
        }
        let norm = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        basis.extend(next.iter().map(|x| x / norm));
    }
    Ok(basis)
}

/// Mean square of what the basis leaves of a window.
pub(super) fn residual(window: &[f64], basis: &[f64]) -> f64 {
    // Against the window's first value, so that a high level costs no digits.
    let mut left: Vec<f64> = window.iter().map(|x| x - window[0]).collect();
    for part in basis.chunks(window.len()) {
        let dot: f64 = part.iter().zip(&left).map(|(a, b)| a * b).sum();
        left.iter_mut().zip(part).for_each(|(x, a)| *x -= dot * a);
    }
    left.iter().map(|x| x * x).sum::<f64>() / window.len() as f64
}

/// Mean of order `q` of the roots.
pub(super) fn mean_of(squares: &[f64], q: f64) -> f64 {
    let kept = squares.iter().filter(|&&v| q > 0.0 || v > 0.0);
    let n = kept.clone().count() as f64;
    if q == 0.0 {
        return (kept.map(|v| v.ln()).sum::<f64>() / n / 2.0).exp();
    }
    // By the largest term, so that no order overflows.
    let extreme = if q > 0.0 { f64::max } else { f64::min };
    let largest = kept.clone().copied().reduce(extreme).unwrap_or(f64::NAN);
    if largest == 0.0 {
        return 0.0;
    }
    largest.sqrt() * (kept.map(|v| (v / largest).powf(q / 2.0)).sum::<f64>() / n).powf(1.0 / q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> ManySeries<'_> {
        ManySeries::new(values, [1, values.len()]).unwrap()
    }

    #[test]
    fn a_straight_line_has_length_over_step() {
        let line: Vec<f64> = (0..101).map(|i| 3.0 * f64::from(i) - 7.0).collect();
        for (length, k) in higuchi(of(&line), 20, true, &Serial).unwrap().into_iter().zip(1..) {
            assert!((length - 300.0 / f64::from(k)).abs() < 1e-9);
        }
        assert_eq!(higuchi(of(&line), 51, true, &Serial).unwrap_err().argument, "kmax");
        assert_eq!(higuchi(of(&line), 0, true, &Serial).unwrap_err().argument, "kmax");
    }

    #[test]
    fn a_polynomial_of_the_order_leaves_nothing() {
        let cube: Vec<f64> = (0..200).map(|i| (f64::from(i) / 50.0 - 1.3).powi(3) + 1e6).collect();
        let how = Detrending { sizes: &[8, 50], order: 3, orders: &[2.0], profile: false, both_ends: true };
        assert!(fluctuations(of(&cube), how, &Serial).unwrap().iter().all(|&f| f < 1e-8));
        let flat = [1.0; 64];
        let all = Detrending { orders: &[-2.0, 0.0, 2.0], ..how };
        let found = fluctuations(of(&flat), Detrending { sizes: &[8], order: 0, ..all }, &Serial).unwrap();
        assert!(found[0].is_nan() && found[1].is_nan() && found[2] == 0.0);
        for (argument, how) in [
            ("order", Detrending { order: 9, ..how }),
            ("scales", Detrending { sizes: &[4], ..how }),
            ("scales", Detrending { sizes: &[201], ..how }),
            ("q", Detrending { orders: &[f64::NAN], ..how }),
        ] {
            assert_eq!(fluctuations(of(&cube), how, &Serial).unwrap_err().argument, argument);
        }
        assert_eq!(ManySeries::new(&[1.0, f64::NAN], [1, 2]).unwrap_err().argument, "series");
        assert_eq!(ManySeries::new(&[], [1, 0]).unwrap_err().argument, "series");
    }

    proptest! {
        #[test]
        fn fluctuations_are_those_of_fitted_lines(
            x in prop::collection::vec(-1.0_f64..1.0, 40..60), size in 3_usize..20, q in -3.0_f64..4.0, both_ends: bool,
        ) {
            let how = Detrending { sizes: &[size], order: 1, orders: &[q, 0.0], profile: true, both_ends };
            let found = fluctuations(of(&x), how, &Serial).unwrap();
            let (n, mean) = (x.len(), x.iter().sum::<f64>() / x.len() as f64);
            let walk: Vec<f64> = (1..=n).map(|i| x[..i].iter().map(|x| x - mean).sum()).collect();
            let mut starts: Vec<usize> = (0..n / size).map(|w| w * size).collect();
            if both_ends && n % size > 0 {
                starts.extend((0..n / size).map(|w| n % size + w * size));
            }
            let squares: Vec<f64> = starts.iter().map(|&s| {
                let (window, middle) = (&walk[s..s + size], (size - 1) as f64 / 2.0);
                let level = window.iter().sum::<f64>() / size as f64;
                let t = |i: usize| i as f64 - middle;
                let rise = (0..size).map(|i| t(i) * window[i]).sum::<f64>() / (0..size).map(|i| t(i) * t(i)).sum::<f64>();
                (0..size).map(|i| (window[i] - level - rise * t(i)).powi(2)).sum::<f64>() / size as f64
            }).collect();
            let logs = squares.iter().map(|v| v.ln()).sum::<f64>() / squares.len() as f64;
            let wanted = (squares.iter().map(|v| v.powf(q / 2.0)).sum::<f64>() / squares.len() as f64).powf(1.0 / q);
            if squares.iter().all(|&v| v > 1e-12) && q.abs() > 0.01 {
                prop_assert!((found[0] / wanted - 1.0).abs() < 1e-6);
                prop_assert!((found[1] / (logs / 2.0).exp() - 1.0).abs() < 1e-6);
            }
        }

        #[test]
        fn lengths_are_sums_of_steps(x in prop::collection::vec(-1.0_f64..1.0, 9..40), k in 1_usize..5) {
            let found = higuchi(of(&x), k, true, &Serial).unwrap()[k - 1];
            let mut mean = 0.0;
            for m in 0..k {
                let part: Vec<f64> = x[m..].iter().copied().step_by(k).collect();
                let sum: f64 = part.windows(2).map(|w| (w[1] - w[0]).abs()).sum();
                mean += sum * (x.len() - 1) as f64 / ((part.len() - 1) * k) as f64 / k as f64 / k as f64;
            }
            prop_assert!((found - mean).abs() < 1e-9);
        }
    }
}
