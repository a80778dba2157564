//! Gliding-box lacunarity: how unevenly a measure fills space, at each size of a box (C. Allain and M. Cloitre, 1991).

use super::gliding;
use super::support::{Matrices, Scalar};
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::memory::{self, OrLeave};

/// `E[M^2] / E[M]^2` over all boxes of a side that lie in the support with all their cells, and how many there are:
/// `(matrices, sides, 2)`. NaN where there are none, or none has mass.
pub fn lacunarity<T: Scalar>(weights: Matrices<'_, T>, sides: &[usize], executor: &dyn Executor) -> Result<Vec<f64>> {
    let domain = weights.domain();
    let [matrices, rows, columns] = domain.shape();
    let longest = rows.min(columns);
    if sides.is_empty() || sides.iter().any(|&side| side == 0 || side > longest) {
        return Err(KernelError::value("scales", format!("{sides:?}"), format!("one or more of 1 ..= {longest}")));
    }
    weights.check_measure(executor)?;
    let mut found = memory::zeros("scales", memory::product::<f64>("scales", &[matrices, sides.len(), 2])?)?;
    if let Some(edges) = domain.edges() {
        for_each_chunk(executor, &mut found, 2, |place, found| {
            let values = weights.matrix(place / sides.len());
            let (first, second, boxes) = gliding::boxes(edges, values, columns, sides[place % sides.len()]).or_leave();
            found.copy_from_slice(&of_moments(first, second, boxes));
        });
        return Ok(found);
    }
    let inside = domain.cells(executor)?;
    let mut held = memory::filled("support", SummedArea::default(), domain.different())?;
    for_each_chunk(executor, &mut held, 1, |matrix, held| {
        let inside = &inside[matrix * rows * columns..(matrix + 1) * rows * columns];
        held[0] = summed(inside, columns, |x| f64::from(u8::from(x))).or_leave();
    });
    for_each_chunk(executor, &mut found, 2 * sides.len(), |matrix, found| {
        let mass = summed(weights.matrix(matrix), columns, Into::into).or_leave();
        let held = &held[if domain.different() == 1 { 0 } else { matrix }];
        for (found, &side) in found.chunks_mut(2).zip(sides) {
            let whole = (side * side) as f64;
            let (mut boxes, mut first, mut second) = (0_u64, 0.0, 0.0);
            for i in 0..=rows - side {
                let (mut row_first, mut row_second) = (0.0, 0.0);
                for j in 0..=columns - side {
                    if held.of([i, j], side) >= whole {
                        let x = mass.of([i, j], side).max(0.0);
                        (boxes, row_first, row_second) = (boxes + 1, row_first + x, row_second + x * x);
                    }
                }
                (first, second) = (first + row_first, second + row_second);
            }
            found.copy_from_slice(&of_moments(first, second, boxes));
        }
    });
    Ok(found)
}

fn of_moments(first: f64, second: f64, boxes: u64) -> [f64; 2] {
    let mean = first / boxes as f64;
    [if first > 0.0 { second / boxes as f64 / (mean * mean) } else { f64::NAN }, boxes as f64]
}

/// Sums of all cells above and left of each corner.
#[derive(Clone, Debug, Default)]
struct SummedArea {
    sums: Vec<f64>,
    wide: usize,
}

impl SummedArea {
    fn of(&self, [i, j]: [usize; 2], side: usize) -> f64 {
        let (top, bottom) = (i * self.wide + j, (i + side) * self.wide + j);
        (self.sums[bottom + side] - self.sums[bottom]) - (self.sums[top + side] - self.sums[top])
    }
}

fn summed<T: Copy>(cells: &[T], columns: usize, of: impl Fn(T) -> f64) -> Result<SummedArea> {
    let (rows, wide) = (cells.len() / columns, columns + 1);
    let mut sums: Vec<f64> = memory::zeros("weights", (rows + 1) * wide)?;
    for i in 0..rows {
        let (above, below) = sums[i * wide..(i + 2) * wide].split_at_mut(wide);
        let mut sum = 0.0;
        for j in 0..columns {
            sum += of(cells[i * columns + j]);
            below[j + 1] = above[j + 1] + sum;
        }
    }
    Ok(SummedArea { sums, wide })
}

#[cfg(test)]
mod tests {
    use super::super::support::{Domain, Support};
    use super::*;
    use crate::executor::Serial;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lacunarity_is_its_definition(
            cells in prop::collection::vec(0.0_f32..1.0, 56), side in 1_usize..7, causal: bool,
        ) {
            let support = if causal { Support::Causal } else { Support::Full };
            let domain = Domain::new(support, [1, 7, 8]).unwrap();
            let inside = domain.cells(&Serial).unwrap();
            let cells: Vec<f32> = cells.iter().zip(&inside).map(|(&x, &y)| if y { x } else { 0.0 }).collect();
            let found = lacunarity(Matrices::new("weights", &cells, domain).unwrap(), &[side], &Serial).unwrap();
            let mut masses = Vec::new();
            for (i, j) in (0..=7 - side).flat_map(|i| (0..=8 - side).map(move |j| (i, j))) {
                let all: Vec<usize> = (0..side * side).map(|k| (i + k / side) * 8 + j + k % side).collect();
                if all.iter().all(|&at| inside[at]) {
                    masses.push(all.iter().map(|&at| f64::from(cells[at])).sum::<f64>());
                }
            }
            let n = masses.len() as f64;
            prop_assert_eq!(found[1] as usize, masses.len());
            let mean = masses.iter().sum::<f64>() / n;
            let wanted = masses.iter().map(|m| m * m).sum::<f64>() / n / (mean * mean);
            prop_assert!(wanted.is_nan() && found[0].is_nan() || (found[0] - wanted).abs() < 1e-9 * wanted);
        }
    }

    #[test]
    fn what_is_filled_has_no_gaps() {
        let domain = Domain::new(Support::Full, [2, 9, 9]).unwrap();
        let cells = [vec![0.5_f64; 81], vec![0.0; 81]].concat();
        let weights = Matrices::new("weights", &cells, domain).unwrap();
        let found = lacunarity(weights, &[1, 3, 9], &Serial).unwrap();
        assert_eq!(found[..6], [1.0, 81.0, 1.0, 49.0, 1.0, 1.0]);
        assert!(found[6].is_nan());
        for sides in [&[][..], &[0], &[10]] {
            assert_eq!(lacunarity(weights, sides, &Serial).unwrap_err().argument, "scales");
        }
    }
}
