//! Products of matrices and the softmax of their rows.

use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::{interrupt, memory};

/// Values that are one task.
const PIECE: usize = 1 << 14;

/// Refuses an array that is not of this shape.
fn check(argument: &'static str, array: &[f32], shape: [usize; 2]) -> Result<()> {
    if memory::product::<f32>(argument, &shape)? != array.len() {
        return Err(KernelError::shape(argument, format!("{} values", array.len()), format!("{shape:?}")));
    }
    Ok(())
}

/// `exp(x) / sum exp` over each row of `(rows, columns)`. A value of minus infinity has weight 0, and so has every value of
/// a row that has no other; NaN and plus infinity make their row NaN.
pub fn softmax(values: &[f32], shape: [usize; 2], executor: &dyn Executor) -> Result<Vec<f32>> {
    check("values", values, shape)?;
    let columns = shape[1].max(1);
    let mut weights = memory::zeros("values", values.len())?;
    let rows_a_task = (PIECE / columns).max(1);
    for_each_chunk(executor, &mut weights, rows_a_task * columns, |task, weights| {
        let values = values[task * rows_a_task * columns..].chunks(columns);
        for (weights, row) in weights.chunks_mut(columns).zip(values) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let shift = if largest == f32::NEG_INFINITY { 0.0 } else { f64::from(largest) };
            let sum: f64 = row.iter().map(|&x| (f64::from(x) - shift).exp()).sum();
            let scale = if sum == 0.0 { 0.0 } else { 1.0 / sum };
            for (weight, &x) in weights.iter_mut().zip(row) {
                *weight = ((f64::from(x) - shift).exp() * scale) as f32;
            }
        }
    });
    Ok(weights)
}

/// The product of `(rows, inner)` and `(inner, columns)`, summed in double precision.
pub fn matmul(
    left: &[f32],
    right: &[f32],
    [rows, inner, columns]: [usize; 3],
    executor: &dyn Executor,
) -> Result<Vec<f32>> {
    check("left", left, [rows, inner])?;
    check("right", right, [inner, columns])?;
    let mut result = memory::zeros("result", memory::product::<f32>("result", &[rows, columns])?)?;
    for_each_chunk(executor, &mut result, columns.max(1), |row, out| {
        let mut sums = vec![0.0_f64; out.len()];
        for k in 0..inner {
            interrupt::check_each(k, 1 << 10);
            let factor = f64::from(left[row * inner + k]);
            for (sum, &x) in sums.iter_mut().zip(&right[k * columns..]) {
                *sum += factor * f64::from(x);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum as f32;
        }
    });
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;

    const INF: f32 = f32::INFINITY;

    #[test]
    fn rows_of_weights() {
        let weights = softmax(&[0.0, 0.0, 1000.0, 1000.0 + f32::ln(3.0), -INF, 7.0], [3, 2], &Serial).unwrap();
        for (got, wanted) in weights.iter().zip([0.5, 0.5, 0.25, 0.75, 0.0, 1.0]) {
            assert!((got - wanted).abs() < 1e-5, "{weights:?}");
        }
        assert_eq!(softmax(&[-INF; 3], [1, 3], &Serial).unwrap(), [0.0; 3]);
        for odd in [f32::NAN, INF] {
            assert!(softmax(&[odd, -INF, 1.0], [1, 3], &Serial).unwrap().iter().all(|w| w.is_nan()));
        }
        assert_eq!(softmax(&[], [0, 4], &Serial).unwrap(), []);
        assert_eq!(softmax(&[], [4, 0], &Serial).unwrap(), []);
        assert_eq!(softmax(&[1.0], [2, 1], &Serial).unwrap_err().argument, "values");
    }

    #[test]
    fn products_of_whole_numbers() {
        let (left, right) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, -1.0, 2.0, 0.5, 1.0]);
        assert_eq!(matmul(&left, &right, [2, 3, 2], &Serial).unwrap(), [0.5, 7.0, 2.0, 16.0]);
        assert_eq!(matmul(&[], &[], [2, 0, 2], &Serial).unwrap(), [0.0; 4]);
        assert_eq!(matmul(&[], &right, [0, 3, 2], &Serial).unwrap(), []);
        assert_eq!(matmul(&left, &right, [2, 3, 3], &Serial).unwrap_err().argument, "right");
    }
}
