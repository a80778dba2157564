//! Statistics of each row of attention on its support.

use super::logs;
use super::support::{Matrices, Scalar};
use crate::error::{KernelError, Result};
use crate::interrupt;
use crate::memory::{self, OrLeave};
use crate::simd::{Level, Run};

/// What is asked of every row.
#[derive(Clone, Copy, Debug)]
pub struct Questions<'a> {
    /// Share of the mass that `top_p_keys` reaches.
    pub top_p: f64,
    /// How many of the largest weights `top_k_mass` adds up.
    pub top_k: usize,
    /// `below` counts keys under this many times the row's uniform weight.
    pub below: f64,
    /// How many first keys are the sink.
    pub sinks: usize,
    /// How far away local keys are at most.
    pub local: usize,
    /// The token at each key position, to find keys that follow an earlier copy of the query's own token.
    pub tokens: Option<&'a [i64]>,
}

/// The statistics, in the order in which [`statistics`] gives them. All but the first two are of the row divided by its
/// mass; rows without mass give NaN, and rows with fewer than two keys in what compares keys.
pub const NAMES: [&str; 16] = [
    "mass",
    "keys",
    "entropy",
    "normalized_entropy",
    "effective_support",
    "maximum",
    "gini",
    "hoyer",
    "top_p_keys",
    "top_k_mass",
    "below",
    "sink",
    "previous",
    "local",
    "distance",
    "induction",
];

/// `(matrices, rows, statistics)`.
pub fn statistics<T: Scalar>(weights: Matrices<'_, T>, asked: Questions<'_>, run: Run<'_>) -> Result<Vec<[f64; 16]>> {
    let [matrices, rows, columns] = weights.domain().shape();
    if !(asked.top_p > 0.0 && asked.top_p <= 1.0) {
        return Err(KernelError::value("top_p", asked.top_p, "a share above 0, at most 1"));
    }
    if asked.top_k == 0 {
        return Err(KernelError::value("top_k", asked.top_k, "1 or more"));
    }
    if !(asked.below >= 0.0 && asked.below.is_finite()) {
        return Err(KernelError::value("below", asked.below, "a finite number, 0 or more"));
    }
    if asked.tokens.is_some_and(|tokens| tokens.len() != columns) {
        let given = format!("{} tokens", asked.tokens.unwrap_or_default().len());
        return Err(KernelError::shape("tokens", given, format!("one for each of the {columns} keys")));
    }
    weights.check_measure(run.executor())?;
    let all = memory::product::<[f64; 16]>("weights", &[matrices, rows])?;
    let mut found = memory::filled("weights", [f64::NAN; 16], all)?;
    let piece = ((1 << 16) / columns).max(1);
    run.for_each_chunk(&mut found, piece, |level, task, found| {
        let mut order: Vec<f64> = memory::with_capacity("weights", columns).or_leave();
        for (k, found) in found.iter_mut().enumerate() {
            interrupt::check_each(k, 16);
            let (matrix, row) = ((task * piece + k) / rows, (task * piece + k) % rows);
            of_row(level, weights, matrix, row, asked, &mut order, found);
        }
    });
    Ok(found)
}

fn of_row<T: Scalar>(
    level: Level,
    weights: Matrices<'_, T>,
    matrix: usize,
    row: usize,
    asked: Questions<'_>,
    order: &mut Vec<f64>,
    found: &mut [f64; 16],
) {
    let (domain, values) = (weights.domain(), weights.row(matrix, row));
    let (keys, own) = (domain.row(matrix, row), domain.position(row));
    let n = keys.count();
    let mass: f64 = values.iter().map(|&x| x.into()).sum();
    (found[0], found[1]) = (mass, n as f64);
    if mass <= 0.0 {
        return;
    }
    let mut distance = 0.0;
    order.clear();
    keys.each(|k, j| {
        let x: f64 = values[k].into();
        if x > 0.0 {
            distance += x * (own - j as isize).unsigned_abs() as f64;
            order.push(x / mass);
        }
    });
    let maximum = order.iter().copied().fold(0.0, f64::max);
    let (plogp, squares) = match logs::sums(level, order, maximum) {
        Some(sums) => {
            let log = maximum.ln() * sums.first;
            (maximum * (sums.first_logs + log), maximum * maximum * sums.second)
        }
        None => order.iter().fold((0.0, 0.0), |(plogp, squares), &p| (plogp + p * p.ln(), squares + p * p)),
    };
    let columns = domain.shape()[2];
    let within = |from: isize, to: isize| {
        let [from, to] = [from, to].map(|end| end.clamp(0, columns as isize) as usize);
        values[keys.places(from..to)].iter().map(|&x| x.into()).sum::<f64>() / mass
    };
    let entropy = (-plogp).max(0.0);
    found[2] = entropy;
    found[4] = 1.0 / squares;
    found[5] = maximum;
    order.sort_unstable_by(f64::total_cmp);
    let (zeros, several) = (n - order.len(), n > 1);
    let mut ranked = 0.0;
    for (i, &p) in order.iter().enumerate() {
        ranked += (2.0 * (zeros + i + 1) as f64 - n as f64 - 1.0) * p;
    }
    if several {
        let root = (n as f64).sqrt();
        found[3] = entropy / (n as f64).ln();
        found[6] = (ranked / n as f64).max(0.0);
        found[7] = ((root - 1.0 / squares.sqrt()) / (root - 1.0)).clamp(0.0, 1.0);
        let bound = asked.below / n as f64;
        let smaller = order.partition_point(|&p| p < bound);
        found[10] = (smaller + if bound > 0.0 { zeros } else { 0 }) as f64 / n as f64;
    }
    let (mut sum, mut reached) = (0.0, order.len());
    for (i, &p) in order.iter().rev().enumerate() {
        sum += p;
        if sum >= asked.top_p - 1e-12 {
            reached = i + 1;
            break;
        }
    }
    found[8] = reached as f64;
    found[9] = order.iter().rev().take(asked.top_k).sum();
    found[11] = within(0, isize::try_from(asked.sinks).unwrap_or(isize::MAX));
    found[12] = within(own - 1, own);
    let local = isize::try_from(asked.local).unwrap_or(isize::MAX);
    found[13] = within(own.saturating_sub(local), own.saturating_add(local).saturating_add(1));
    found[14] = distance / mass;
    if let Some(tokens) = asked.tokens {
        found[15] = match usize::try_from(own) {
            Ok(own) => {
                let mut sum = 0.0;
                keys.each(|k, j| {
                    if (1..=own).contains(&j) && tokens[j - 1] == tokens[own] {
                        sum += values[k].into();
                    }
                });
                sum / mass
            }
            Err(_) => 0.0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::{Domain, Support};
    use super::*;
    use crate::executor::Serial;
    use proptest::prelude::*;

    fn run() -> Run<'static> {
        Run::new(Level::new(), &Serial)
    }

    const ASKED: Questions<'_> = Questions { top_p: 0.9, top_k: 2, below: 0.5, sinks: 1, local: 1, tokens: None };

    fn row(values: &[f64]) -> [f64; 16] {
        let domain = Domain::new(Support::Full, [1, 1, values.len()]).unwrap();
        statistics(Matrices::new("weights", values, domain).unwrap(), ASKED, run()).unwrap()[0]
    }

    fn of(name: &str, found: &[f64; 16]) -> f64 {
        found[NAMES.iter().position(|&n| n == name).unwrap()]
    }

    #[test]
    fn known_rows_have_known_numbers() {
        let one_hot = row(&[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let uniform = row(&[0.25; 10]);
        let ramp = row(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        let half = row(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        for (name, found, wanted) in [
            ("gini", one_hot, 0.9),
            ("gini", uniform, 0.0),
            ("gini", ramp, 0.3),
            ("hoyer", one_hot, 1.0),
            ("hoyer", uniform, 0.0),
            ("hoyer", half, (10_f64.sqrt() - 5_f64.sqrt()) / (10_f64.sqrt() - 1.0)),
            ("entropy", uniform, 10_f64.ln()),
            ("normalized_entropy", uniform, 1.0),
            ("entropy", one_hot, 0.0),
            ("effective_support", half, 5.0),
            ("top_p_keys", uniform, 9.0),
            ("top_p_keys", one_hot, 1.0),
            ("top_k_mass", ramp, 19.0 / 55.0),
            ("below", ramp, 0.2),
            ("below", half, 0.5),
            ("sink", ramp, 1.0 / 55.0),
            ("previous", ramp, 9.0 / 55.0),
            ("local", ramp, 19.0 / 55.0),
            ("distance", one_hot, 6.0),
            ("mass", ramp, 55.0),
        ] {
            assert!((of(name, &found) - wanted).abs() < 1e-12, "{name}: {}, not {wanted}", of(name, &found));
        }
    }

    #[test]
    fn rows_that_say_nothing_say_nan_and_induction_looks_back() {
        let domain = Domain::new(Support::Causal, [1, 4, 4]).unwrap();
        let weights = [1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.125, 0.125_f32];
        let asked = Questions { tokens: Some(&[7, 8, 9, 7]), ..ASKED };
        let weights = Matrices::new("weights", &weights, domain).unwrap();
        let found = statistics(weights, asked, run()).unwrap();
        assert!(of("gini", &found[0]).is_nan() && of("entropy", &found[0]) == 0.0);
        assert!(of("entropy", &found[2]).is_nan() && of("mass", &found[2]) == 0.0);
        assert_eq!(["induction", "keys"].map(|name| (2.0 * of(name, &found[3])) as usize), [1, 8]);
        for (argument, asked) in [
            ("top_p", Questions { top_p: 0.0, ..ASKED }),
            ("top_k", Questions { top_k: 0, ..ASKED }),
            ("below", Questions { below: f64::NAN, ..ASKED }),
            ("tokens", Questions { tokens: Some(&[1]), ..ASKED }),
        ] {
            assert_eq!(statistics(weights, asked, run()).unwrap_err().argument, argument);
        }
    }

    proptest! {
        #[test]
        fn a_transfer_from_rich_to_poor_evens_out(
            mut values in prop::collection::vec(0.01_f64..1.0, 5), i in 0_usize..5, j in 0_usize..5, share in 0.01_f64..0.49,
        ) {
            let before = row(&values);
            let (rich, poor) = if values[i] > values[j] { (i, j) } else { (j, i) };
            let step = (values[rich] - values[poor]) * share;
            values[rich] -= step;
            values[poor] += step;
            let after = row(&values);
            prop_assert!(of("entropy", &after) >= of("entropy", &before) - 1e-12);
            prop_assert!(of("gini", &after) <= of("gini", &before) + 1e-12);
            prop_assert!(of("hoyer", &after) <= of("hoyer", &before) + 1e-12);
            prop_assert!(of("effective_support", &after) >= of("effective_support", &before) - 1e-12);
            values.reverse();
            let turned = row(&values);
            for name in ["entropy", "gini", "hoyer", "top_p_keys", "top_k_mass", "below"] {
                prop_assert!((of(name, &turned) - of(name, &after)).abs() < 1e-12);
            }
        }
    }
}
