//! Roughness of a surface over the plane: increments over a lag, and boxes that cover the surface.

use super::grid::Ladder;
use super::support::{Domain, Matrices, Scalar};
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::memory::{self, OrLeave};

/// Means of `|z(x + lag) - z(x)|^power` along rows and columns, over pairs that both lie in the support, and how many
/// pairs there are: `(matrices, lags, 2)`. NaN where there are none.
pub fn increments<T: Scalar>(
    values: Matrices<'_, T>,
    lags: &[usize],
    power: f64,
    executor: &dyn Executor,
) -> Result<Vec<f64>> {
    let [matrices, rows, columns] = values.domain().shape();
    let longest = rows.max(columns);
    if lags.is_empty() || lags.iter().any(|&lag| lag == 0 || lag >= longest) {
        let allowed = format!("one or more lags of 1 ..= {}", longest - 1);
        return Err(KernelError::value("scales", format!("{lags:?}"), allowed));
    }
    if !(power > 0.0 && power <= 16.0) {
        return Err(KernelError::value("power", power, "above 0, at most 16"));
    }
    values.domain().whole()?;
    values.check_surface(executor)?;
    let inside = values.domain().cells(executor)?;
    let mut found = memory::zeros("scales", memory::product::<f64>("scales", &[matrices, lags.len(), 2])?)?;
    for_each_chunk(executor, &mut found, 2 * lags.len(), |matrix, found| {
        let (cells, inside) = (values.matrix(matrix), own(values.domain(), &inside, matrix));
        for (found, &lag) in found.chunks_mut(2).zip(lags) {
            let (mut pairs, mut total) = (0_u64, 0.0);
            for i in 0..rows {
                let mut sum = 0.0;
                let mut add = |from: usize, to: usize| {
                    if inside[from] && inside[to] {
                        let step: f64 = (cells[to].into() - cells[from].into()).abs();
                        pairs += 1;
                        sum += if power.to_bits() == 2.0_f64.to_bits() { step * step } else { step.powf(power) };
                    }
                };
                (lag..columns).for_each(|j| add(i * columns + j - lag, i * columns + j));
                if i >= lag {
                    (0..columns).for_each(|j| add((i - lag) * columns + j, i * columns + j));
                }
                total += sum;
            }
            (found[0], found[1]) = (total / pairs as f64, pairs as f64);
        }
    });
    Ok(found)
}

/// The part of a list of supports that belongs to a matrix.
fn own<'a>(domain: Domain<'_>, inside: &'a [bool], matrix: usize) -> &'a [bool] {
    let [_, rows, columns] = domain.shape();
    let start = if domain.different() == 1 { 0 } else { matrix * rows * columns };
    &inside[start..start + rows * columns]
}

/// Boxes that cover the surface over every side's columns, `(matrices, sides)`: with `h = side * range / shorter side`
/// the sum of `floor(max / h) - floor(min / h) + 1`, heights from the lowest value, or of `(max - min) / h + 1` where not
/// `floored` (N. Sarkar and B. B. Chaudhuri, 1994). A flat surface has one box a column.
pub fn cover<T: Scalar>(
    values: Matrices<'_, T>,
    ladder: &Ladder,
    floored: bool,
    executor: &dyn Executor,
) -> Result<Vec<f64>> {
    let [matrices, rows, columns] = values.domain().shape();
    values.domain().whole()?;
    values.check_surface(executor)?;
    let inside = values.domain().cells(executor)?;
    let sides = ladder.sides();
    let mut found = memory::zeros("scales", memory::product::<f64>("scales", &[matrices, sides.len()])?)?;
    for_each_chunk(executor, &mut found, sides.len(), |matrix, found| {
        let (cells, inside) = (values.matrix(matrix), own(values.domain(), &inside, matrix));
        // Places outside of the support are higher than all and lower than all: they widen no box.
        let range =
            |[low, high]: [f64; 2], [other_low, other_high]: [f64; 2]| [low.min(other_low), high.max(other_high)];
        let nothing = [f64::INFINITY, f64::NEG_INFINITY];
        let cell = |at: usize| if inside[at] { [cells[at].into(); 2] } else { nothing };
        let [lowest, highest] = (0..cells.len()).map(cell).fold(nothing, range);
        let height = highest - lowest;
        let ranges = memory::collected("values", (0..cells.len()).map(cell)).or_leave();
        ladder.each(
            &ranges,
            [rows, columns],
            |x| x,
            range,
            |k, joined| {
                let h = sides[k] as f64 * height / rows.min(columns) as f64;
                let boxes = joined.boxes.iter().filter(|[low, high]| low <= high);
                found[k] = boxes
                    .map(|[low, high]| match (h > 0.0, floored) {
                        (false, _) => 1.0,
                        (true, true) => ((high - lowest) / h).floor() - ((low - lowest) / h).floor() + 1.0,
                        (true, false) => (high - low) / h + 1.0,
                    })
                    .sum();
            },
        );
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::support::Support;
    use super::*;
    use crate::executor::Serial;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn increments_and_covers_are_their_definitions(
            cells in prop::collection::vec(-3.0_f64..3.0, 56), lag in 1_usize..8, power in 0.5_f64..2.5, causal: bool,
        ) {
            let support = if causal { Support::Causal } else { Support::Full };
            let domain = Domain::new(support, [1, 7, 8]).unwrap();
            let inside = domain.cells(&Serial).unwrap();
            let values = Matrices::new("values", &cells, domain).unwrap();
            let found = increments(values, &[lag], power, &Serial).unwrap();
            let at = |i: usize, j: usize| (i < 7 && j < 8 && inside[i * 8 + j]).then(|| cells[i * 8 + j]);
            let mut steps = Vec::new();
            for (i, j) in (0..7).flat_map(|i| (0..8).map(move |j| (i, j))) {
                for other in [at(i + lag, j), at(i, j + lag)] {
                    steps.extend(at(i, j).zip(other).map(|(a, b)| (a - b).abs().powf(power)));
                }
            }
            prop_assert_eq!(found[1] as usize, steps.len());
            let mean = steps.iter().sum::<f64>() / steps.len() as f64;
            prop_assert!(mean.is_nan() && found[0].is_nan() || (found[0] - mean).abs() < 1e-9);

            let all: Vec<f64> = (0..56).filter(|&k| inside[k]).map(|k| cells[k]).collect();
            let low = all.iter().copied().fold(f64::INFINITY, f64::min);
            let height = all.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low;
            let ladder = Ladder::new(&[lag.min(7)], 8, [0, 0]).unwrap();
            for floored in [true, false] {
                let h = lag.min(7) as f64 * height / 7.0;
                let side = lag.min(7);
                let mut total = 0.0;
                for (i, j) in (0..7).step_by(side).flat_map(|i| (0..8).step_by(side).map(move |j| (i, j))) {
                    let part: Vec<f64> = (0..side * side).filter_map(|k| at(i + k / side, j + k % side)).collect();
                    let (min, max) = part.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
                    if !part.is_empty() {
                        total += if floored {
                            ((max - low) / h).floor() - ((min - low) / h).floor() + 1.0
                        } else {
                            (max - min) / h + 1.0
                        };
                    }
                }
                prop_assert!((cover(values, &ladder, floored, &Serial).unwrap()[0] - total).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_plane_grows_with_the_lag_and_a_flat_surface_has_one_box() {
        let domain = Domain::new(Support::Full, [1, 16, 16]).unwrap();
        let ramp: Vec<f32> = (0..256).map(|i| (i / 16 + i % 16) as f32).collect();
        let values = Matrices::new("values", &ramp, domain).unwrap();
        assert_eq!(increments(values, &[1, 2, 5], 2.0, &Serial).unwrap(), [1.0, 480.0, 4.0, 448.0, 25.0, 352.0]);
        let flat = Matrices::new("values", &[2.5_f32; 256], domain).unwrap();
        let ladder = Ladder::new(&[1, 4, 16], 16, [0, 0]).unwrap();
        assert_eq!(cover(flat, &ladder, true, &Serial).unwrap(), [256.0, 16.0, 1.0]);
        assert_eq!(increments(values, &[16], 2.0, &Serial).unwrap_err().argument, "scales");
        assert_eq!(increments(values, &[1], 0.0, &Serial).unwrap_err().argument, "power");
    }
}
