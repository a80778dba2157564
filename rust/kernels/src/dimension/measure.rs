//! Moments of a measure over boxes: what generalised dimensions and the spectrum of singularities are slopes of.
//!
//! With `p` the shares of the mass in the boxes that hold any, and `q` an order: `Z = sum p^q`, and the mean of `ln p`
//! under the weights `p^q / Z`, which A. Chhabra and R. V. Jensen (1989) take instead of a derivative.

use super::grid::Ladder;
use super::logs;
use super::support::{Matrices, Scalar};
use super::tiling::Tiling;
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::memory::{self, OrLeave};
use crate::simd::{Level, Run};

/// What one side of boxes gives for one order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// `ln sum p^q`; minus infinity where no box counts.
    pub log_sum: f64,
    /// `sum p^q ln p / sum p^q`.
    pub mean_log: f64,
    /// Boxes with mass that count.
    pub boxes: f64,
    /// Boxes with mass that are left out, because a negative order would see the edge of the support in them.
    pub left_out: f64,
}

const NONE: Moment = Moment { log_sum: f64::NAN, mean_log: f64::NAN, boxes: 0.0, left_out: 0.0 };

/// Moments of every matrix, side and order: `(matrices, sides, orders)`. Matrices without mass give NaN.
///
/// Orders below 0 weigh the emptiest boxes most, so there only boxes that lie in the support with all their cells
/// count.
pub fn moments<T: Scalar>(
    weights: Matrices<'_, T>,
    ladder: &Ladder,
    orders: &[f64],
    run: Run<'_>,
) -> Result<Vec<Moment>> {
    let executor = run.executor();
    if orders.is_empty() || orders.iter().any(|q| q.abs() > 1e3 || q.is_nan()) {
        return Err(KernelError::value("q", format!("{orders:?}"), "one or more numbers in -1000 ..= 1000"));
    }
    weights.check_measure(executor)?;
    let domain = weights.domain();
    let ([matrices, _, columns], sides) = (domain.shape(), ladder.sides().len());
    let tiling = Tiling::new(domain, ladder)?;
    let whole = if orders.iter().any(|&q| q < 0.0) { whole(weights, ladder, &tiling, executor)? } else { Vec::new() };
    let all = memory::product::<Moment>("q", &[matrices, sides, orders.len()])?;
    let mut moments = memory::filled("q", NONE, all)?;
    run.for_each_chunk(&mut moments, sides * orders.len(), |level, matrix, moments| {
        let cells = weights.matrix(matrix);
        let mass: f64 = cells.chunks(columns).map(|row| row.iter().map(|&x| x.into()).sum::<f64>()).sum();
        if mass <= 0.0 {
            return;
        }
        let mut logs = Vec::new();
        tiling.each(
            cells,
            Into::into,
            |a: f64, b| a + b,
            |k, boxes| {
                let moments = &mut moments[k * orders.len()..(k + 1) * orders.len()];
                let whole = whole.get(if domain.different() == 1 { 0 } else { matrix }).map(|sides| &sides[k][..]);
                if !orders.iter().all(|&q| usual(q)) || !of_usual(level, boxes, mass, orders, moments) {
                    of_boxes(boxes, mass, whole, orders, &mut logs, moments);
                }
            },
        );
    });
    Ok(moments)
}

/// Of each different support and side, which boxes lie in the support with all their cells.
fn whole<T: Scalar>(
    weights: Matrices<'_, T>,
    ladder: &Ladder,
    tiling: &Tiling<'_>,
    executor: &dyn Executor,
) -> Result<Vec<Vec<Vec<bool>>>> {
    let (domain, size) = (weights.domain(), weights.domain().size());
    let cells = domain.cells(executor)?;
    let mut whole = memory::filled("support", Vec::new(), domain.different())?;
    for_each_chunk(executor, &mut whole, 1, |matrix, whole| {
        let cells = &cells[matrix * size..(matrix + 1) * size];
        tiling.each(
            cells,
            u64::from,
            |a, b| a + b,
            |k, boxes| {
                let side = ladder.sides()[k] as u64;
                let is_whole = boxes.iter().map(|&count| count == side * side);
                whole[0].push(memory::collected("support", is_whole).or_leave());
            },
        );
    });
    Ok(whole)
}

/// Whether an order needs no powers.
fn usual(q: f64) -> bool {
    [0.0, 1.0, 2.0].iter().any(|usual| q.total_cmp(usual).is_eq())
}

/// The usual orders by one pass over the boxes; false where their shares are too far apart for it.
fn of_usual(level: Level, boxes: &[f64], mass: f64, orders: &[f64], moments: &mut [Moment]) -> bool {
    let most = boxes.iter().copied().fold(0.0, f64::max);
    let Some(sums) = logs::sums(level, boxes, most) else { return false };
    // Shares are these numbers times the largest one.
    let log = (most / mass).ln();
    for (moment, &q) in moments.iter_mut().zip(orders) {
        let (sum, sum_log) = match q as u8 {
            0 => (sums.count, sums.logs),
            1 => (sums.first, sums.first_logs),
            _ => (sums.second, sums.second_logs),
        };
        moment.log_sum = sum.ln() + q * log;
        moment.mean_log = sum_log / sum + log;
        (moment.boxes, moment.left_out) = (sums.count, 0.0);
    }
    true
}

fn of_boxes(
    boxes: &[f64],
    mass: f64,
    whole: Option<&[bool]>,
    orders: &[f64],
    logs: &mut Vec<f64>,
    moments: &mut [Moment],
) {
    let occupied = boxes.iter().filter(|&&x| x > 0.0).count();
    logs.clear();
    memory::extend("weights", logs, boxes.iter().filter(|&&x| x > 0.0).map(|&x| (x / mass).ln())).or_leave();
    let inner: Vec<f64> = whole.map_or(Vec::new(), |whole| {
        let kept = boxes.iter().zip(whole).filter(|&(&x, &whole)| x > 0.0 && whole);
        memory::collected("weights", kept.map(|(&x, _)| (x / mass).ln())).or_leave()
    });
    for (moment, &q) in moments.iter_mut().zip(orders) {
        let logs: &[f64] = if q < 0.0 { &inner } else { logs };
        // Shifted by the largest term, no order overflows.
        let extreme = if q < 0.0 { f64::min } else { f64::max };
        let shift = logs.iter().copied().reduce(extreme).map_or(0.0, |log| q * log);
        let (mut sum, mut sum_log) = (0.0, 0.0);
        let mut add = |term: f64, log: f64| {
            sum += term;
            sum_log += term * log;
        };
        let shares = || boxes.iter().filter(|&&x| x > 0.0).zip(logs).map(|(&x, &log)| (x / mass, log));
        // The usual orders need no powers.
        let shifted = if q.to_bits() == 1.0_f64.to_bits() {
            shares().for_each(|(p, log)| add(p, log));
            0.0
        } else if q.to_bits() == 2.0_f64.to_bits() {
            let scale = (-shift / 2.0).exp();
            shares().for_each(|(p, log)| add((p * scale) * (p * scale), log));
            shift
        } else if q == 0.0 {
            for &log in logs {
                add(1.0, log);
            }
            0.0
        } else {
            for &log in logs {
                add((q * log - shift).exp(), log);
            }
            shift
        };
        moment.log_sum = sum.ln() + shifted;
        moment.mean_log = sum_log / sum;
        moment.boxes = logs.len() as f64;
        moment.left_out = (occupied - logs.len()) as f64;
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

    const P: [f64; 4] = [0.1, 0.2, 0.3, 0.4];

    fn cascade(levels: u32) -> Vec<f64> {
        let n = 1_usize << levels;
        let weight = |i: usize, j: usize| (0..levels).map(|k| P[2 * (i >> k & 1) + (j >> k & 1)]).product();
        (0..n * n).map(|cell| weight(cell / n, cell % n)).collect()
    }

    #[test]
    fn a_cascade_has_the_moments_of_its_factors() {
        let (orders, sides) = ([-2.0, 0.0, 0.5, 1.0, 2.0, 5.0], [1, 2, 4, 8, 16, 32]);
        let domain = Domain::new(Support::Full, [1, 64, 64]).unwrap();
        let ladder = Ladder::new(&sides, 64, [0, 0]).unwrap();
        let weights = cascade(6);
        let moments = moments(Matrices::new("weights", &weights, domain).unwrap(), &ladder, &orders, run()).unwrap();
        for (place, moment) in moments.iter().enumerate() {
            let (q, level) = (orders[place % 6], (6 - place / 6) as f64);
            let (z, mean) = P.iter().fold((0.0, 0.0), |(z, m), p| (z + p.powf(q), m + p.powf(q) * p.ln()));
            assert!((moment.log_sum - level * z.ln()).abs() < 1e-10, "{q} {level}");
            assert!((moment.mean_log - level * mean / z).abs() < 1e-10, "{q} {level}");
            assert_eq!((moment.boxes, moment.left_out), (4_f64.powf(level), 0.0));
        }
    }

    #[test]
    fn negative_orders_see_whole_boxes_alone() {
        let domain = Domain::new(Support::Causal, [1, 4, 4]).unwrap();
        let cells = domain.cells(&Serial).unwrap();
        let weights: Vec<f32> = cells.iter().map(|&x| f32::from(u8::from(x))).collect();
        let ladder = Ladder::new(&[1, 2], 4, [0, 0]).unwrap();
        let found = moments(Matrices::new("weights", &weights, domain).unwrap(), &ladder, &[-1.0, 0.0], run()).unwrap();
        let counted: Vec<[f64; 2]> = found.iter().map(|m| [m.boxes, m.left_out]).collect();
        assert_eq!(counted, [[10.0, 0.0], [10.0, 0.0], [1.0, 2.0], [3.0, 0.0]]);
        assert!((found[2].log_sum - 2.5_f64.ln()).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn moments_are_their_definition(
            weights in prop::collection::vec(0.0_f64..1.0, 30), side in 1_usize..6, q in -3.0_f64..4.0,
        ) {
            let domain = Domain::new(Support::Full, [1, 6, 5]).unwrap();
            let ladder = Ladder::new(&[side], 6, [0, 0]).unwrap();
            let found = moments(Matrices::new("weights", &weights, domain).unwrap(), &ladder, &[q], run()).unwrap()[0];
            let mass: f64 = weights.iter().sum();
            let mut boxes = std::collections::HashMap::new();
            for (at, x) in weights.iter().enumerate() {
                let whole = (at / 5 / side + 1) * side <= 6 && (at % 5 / side + 1) * side <= 5;
                if q >= 0.0 || whole {
                    *boxes.entry((at / 5 / side, at % 5 / side)).or_insert(0.0) += x / mass;
                }
            }
            let kept: Vec<f64> = boxes.into_values().filter(|&p| p > 0.0).collect();
            let z: f64 = kept.iter().map(|p| p.powf(q)).sum();
            let mean = kept.iter().map(|p| p.powf(q) * p.ln()).sum::<f64>() / z;
            prop_assert_eq!(found.boxes as usize, kept.len());
            if !kept.is_empty() {
                prop_assert!((found.log_sum - z.ln()).abs() < 1e-9);
                prop_assert!((found.mean_log - mean).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn extremes_do_not_overflow_and_nothing_is_nan() {
        let domain = Domain::new(Support::Full, [2, 2, 2]).unwrap();
        let ladder = Ladder::new(&[1], 2, [0, 0]).unwrap();
        let weights = Matrices::new("weights", &[1.0, 1e-300, 1e-300, 0.0, 0.0, 0.0, 0.0, 0.0], domain).unwrap();
        let found = moments(weights, &ladder, &[-50.0, 500.0], run()).unwrap();
        assert!((found[0].log_sum - (50.0 * 300.0 * 10_f64.ln() + 2_f64.ln())).abs() < 1e-6);
        assert!(found[1].log_sum.abs() < 1e-12);
        assert!(found[2].log_sum.is_nan() && found[2].boxes == 0.0);
        assert_eq!(moments(weights, &ladder, &[f64::NAN], run()).unwrap_err().argument, "q");
    }
}
