//! Mean weight by the distance between query and key, or by key.

use super::support::{Matrices, Scalar};
use crate::error::Result;
use crate::executor::{Executor, for_each_chunk};
use crate::memory;

/// What a mean is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Every distance, query less key, from `1 - rows` to `columns - 1`.
    Distance,
    /// Every key.
    Key,
}

/// The mean over the support's cells, and how many there are: `(matrices, rows + columns - 1 or columns, 2)`. NaN where
/// there are none.
pub fn means<T: Scalar>(weights: Matrices<'_, T>, along: Along, executor: &dyn Executor) -> Result<Vec<f64>> {
    weights.check_measure(executor)?;
    let domain = weights.domain();
    let [matrices, rows, columns] = domain.shape();
    let wide = if along == Along::Distance { rows + columns - 1 } else { columns };
    let mut found = memory::zeros("weights", memory::product::<f64>("weights", &[matrices, wide, 2])?)?;
    for_each_chunk(executor, &mut found, 2 * wide, |matrix, found| {
        for i in 0..rows {
            let row = weights.row(matrix, i);
            // Row `i` is position `i + columns - rows`.
            let place = |j: usize| if along == Along::Distance { i + columns - 1 - j } else { j };
            domain.row(matrix, i).each(|k, j| {
                let mean = &mut found[2 * place(j)..][..2];
                mean[0] += row[k].into();
                mean[1] += 1.0;
            });
        }
        for mean in found.chunks_mut(2) {
            mean[0] /= mean[1];
        }
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::support::{Domain, Support};
    use super::*;
    use crate::executor::Serial;

    #[test]
    fn means_are_over_the_support() {
        let domain = Domain::new(Support::Causal, [1, 2, 3]).unwrap();
        let weights = Matrices::new("weights", &[1.0, 2.0, 0.0, 3.0, 4.0, 5.0], domain).unwrap();
        let by_distance = means(weights, Along::Distance, &Serial).unwrap();
        assert_eq!(by_distance[2..], [3.5, 2.0, 2.5, 2.0, 3.0, 1.0]);
        assert!(by_distance[0].is_nan());
        assert_eq!(means(weights, Along::Key, &Serial).unwrap(), [2.0, 2.0, 3.0, 2.0, 5.0, 1.0]);
    }
}
