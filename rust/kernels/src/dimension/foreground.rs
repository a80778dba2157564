//! Which cells of a measure count as its set: by a bound, by the row's uniform weight, by mass, or by rank.

use super::support::{InRow, Matrices, Scalar};
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::memory::{self, OrLeave};

/// A cell of the support is in the set if its weight is …
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// … above a number.
    Above(f64),
    /// … above this many times its row's mass, shared evenly by the keys of the row.
    AboveUniform(f64),
    /// … among the largest of its row that together reach this share of its mass; equal weights go together.
    TopMass(f64),
    /// … above the quantile of its matrix's weights on the support: of `n` in order, the one at `floor(q (n - 1))`.
    AboveQuantile(f64),
}

impl Rule {
    fn check(self) -> Result<()> {
        let (x, least, most, allowed) = match self {
            Self::Above(x) => (x, 0.0, f64::MAX, "a finite number, 0 or more"),
            Self::AboveUniform(x) => (x, 0.0, f64::MAX, "a finite multiple, 0 or more"),
            Self::TopMass(x) => (x, f64::MIN_POSITIVE, 1.0, "a share above 0, at most 1"),
            Self::AboveQuantile(x) => (x, 0.0, 1.0, "a share, 0 to 1"),
        };
        if x >= least && x <= most { Ok(()) } else { Err(KernelError::value("foreground", x, allowed)) }
    }
}

/// The set of every matrix, one bool a cell.
pub fn foreground<T: Scalar>(weights: Matrices<'_, T>, rule: Rule, executor: &dyn Executor) -> Result<Vec<bool>> {
    rule.check()?;
    weights.check_measure(executor)?;
    let domain = weights.domain();
    let [matrices, rows, columns] = domain.shape();
    let mut set = memory::zeros("weights", memory::product::<bool>("weights", &[matrices, rows, columns])?)?;
    for_each_chunk(executor, &mut set, rows * columns, |matrix, set| {
        let whole = match rule {
            Rule::Above(bound) => bound,
            Rule::AboveQuantile(share) => quantile(weights, matrix, share),
            Rule::AboveUniform(_) | Rule::TopMass(_) => 0.0,
        };
        let mut scratch: Vec<f64> = memory::with_capacity("weights", columns).or_leave();
        for (i, set) in set.chunks_mut(columns).enumerate() {
            let (row, keys) = (weights.row(matrix, i), domain.row(matrix, i));
            let bound = match rule {
                Rule::Above(_) | Rule::AboveQuantile(_) => whole,
                Rule::AboveUniform(times) => {
                    times * row.iter().map(|&x| x.into()).sum::<f64>() / keys.count().max(1) as f64
                }
                Rule::TopMass(share) => {
                    scratch.clear();
                    scratch.extend(row.iter().map(|&x| -> f64 { x.into() }).filter(|&x| x > 0.0));
                    let least = reaching(&mut scratch, share);
                    keys.each(|j| set[j] = row[j].into() >= least);
                    continue;
                }
            };
            match keys {
                InRow::Between(range) => {
                    set[range.clone()].iter_mut().zip(&row[range]).for_each(|(set, &x)| *set = x.into() > bound);
                }
                InRow::Where(cells) => {
                    set.iter_mut().zip(cells).zip(row).for_each(|((set, &cell), &x)| *set = cell && x.into() > bound);
                }
            }
        }
    });
    Ok(set)
}

/// The smallest of the largest weights that together reach a share of all; infinity where there are none.
fn reaching(weights: &mut [f64], share: f64) -> f64 {
    weights.sort_unstable_by(|a, b| b.total_cmp(a));
    let mass = weights.iter().sum::<f64>() * share;
    let mut sum = 0.0;
    for &weight in &*weights {
        sum += weight;
        if sum >= mass {
            return weight;
        }
    }
    weights.last().copied().unwrap_or(f64::INFINITY)
}

/// By counting leading bits, and ranking those alone whose bits are the right ones.
fn quantile<T: Scalar>(weights: Matrices<'_, T>, matrix: usize, share: f64) -> f64 {
    let each = |visit: &mut dyn FnMut(T)| {
        for i in 0..weights.domain().shape()[1] {
            let row = weights.row(matrix, i);
            match weights.domain().row(matrix, i) {
                InRow::Between(range) => row[range].iter().for_each(|&x| visit(x)),
                InRow::Where(cells) => row.iter().zip(cells).filter(|&(_, &cell)| cell).for_each(|(&x, _)| visit(x)),
            }
        }
    };
    let mut counts = memory::zeros::<usize>("weights", 1 << 16).or_leave();
    each(&mut |x| counts[usize::from(x.leading())] += 1);
    let all = counts.iter().sum::<usize>();
    if all == 0 {
        return 0.0;
    }
    let mut rank = (share * (all - 1) as f64).floor() as usize;
    let mut bits = 0;
    while rank >= counts[bits] {
        rank -= counts[bits];
        bits += 1;
    }
    let mut near: Vec<f64> = memory::with_capacity("weights", counts[bits]).or_leave();
    each(&mut |x| {
        if usize::from(x.leading()) == bits {
            near.push(x.into());
        }
    });
    *near.select_nth_unstable_by(rank, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::super::support::{Domain, Support};
    use super::*;
    use crate::executor::Serial;
    use proptest::prelude::*;

    fn set(values: &[f64], support: Support<'_>, rule: Rule) -> Vec<u8> {
        let n = values.len().isqrt();
        let domain = Domain::new(support, [1, n, n]).unwrap();
        let set = foreground(Matrices::new("weights", values, domain).unwrap(), rule, &Serial).unwrap();
        set.into_iter().map(u8::from).collect()
    }

    #[test]
    fn rules_are_theirs() {
        let a = [1.0, 0.0, 0.0, 0.75, 0.25, 0.0, 0.2, 0.2, 0.6];
        assert_eq!(set(&a, Support::Causal, Rule::Above(0.2)), [1, 0, 0, 1, 1, 0, 0, 0, 1]);
        assert_eq!(set(&a, Support::Causal, Rule::AboveUniform(1.0)), [0, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(set(&a, Support::Causal, Rule::TopMass(0.7)), [1, 0, 0, 1, 0, 0, 1, 1, 1]);
        assert_eq!(set(&a, Support::Causal, Rule::TopMass(0.5)), [1, 0, 0, 1, 0, 0, 0, 0, 1]);
        // Of six weights in order, 0.2 0.2 0.25 0.6 0.75 1, the third.
        assert_eq!(set(&a, Support::Causal, Rule::AboveQuantile(0.5)), [1, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(set(&[0.0; 4], Support::Full, Rule::TopMass(1.0)), [0; 4]);
        let domain = Domain::new(Support::Full, [1, 1, 1]).unwrap();
        for rule in [Rule::Above(-1.0), Rule::TopMass(0.0), Rule::AboveQuantile(1.5), Rule::AboveUniform(f64::NAN)] {
            let weights = Matrices::new("weights", &[1.0_f32], domain).unwrap();
            assert_eq!(foreground(weights, rule, &Serial).unwrap_err().argument, "foreground");
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_the_one_of_that_rank(
            mut values in prop::collection::vec(prop_oneof![0.0_f64..1.0, Just(0.0), Just(-0.0), Just(0.25)], 16),
            share in 0.0_f64..=1.0,
        ) {
            let domain = Domain::new(Support::Full, [1, 4, 4]).unwrap();
            let found = quantile(Matrices::new("weights", &values, domain).unwrap(), 0, share);
            let single: Vec<f32> = values.iter().map(|&x| x as f32).collect();
            let of_single = quantile(Matrices::new("weights", &single, domain).unwrap(), 0, share);
            values.sort_unstable_by(f64::total_cmp);
            let wanted = values[(share * 15.0).floor() as usize];
            prop_assert_eq!(found.abs().to_bits(), wanted.abs().to_bits());
            prop_assert_eq!((of_single.abs() as f32).to_bits(), (wanted.abs() as f32).to_bits());
        }

        #[test]
        fn a_share_of_mass_is_reached_by_the_fewest(
            row in prop::collection::vec(0.0_f64..1.0, 9), share in 0.01_f64..1.0,
        ) {
            let chosen = set(&row, Support::Full, Rule::TopMass(share));
            for (row, chosen) in row.chunks(3).zip(chosen.chunks(3)) {
                let picked: Vec<f64> = row.iter().zip(chosen).filter(|&(_, &c)| c == 1).map(|(&x, _)| x).collect();
                let (mass, total) = (picked.iter().sum::<f64>(), row.iter().sum::<f64>());
                let least = picked.iter().copied().fold(f64::INFINITY, f64::min);
                let ties = picked.iter().filter(|&&x| x.to_bits() == least.to_bits()).count() as f64;
                prop_assert!(mass >= total * share - 1e-12);
                prop_assert!(mass - ties * least < total * share + 1e-12);
            }
        }
    }
}
