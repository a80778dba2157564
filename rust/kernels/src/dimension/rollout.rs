//! Attention rollout (S. Abnar and W. Zuidema, 2020): how much of each input reaches each output through all layers.

use super::support::{Matrices, Scalar};
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::interrupt;
use crate::memory;

/// What is made of a layer's heads, cell by cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fusion {
    /// Their mean.
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// The product of all layers, first layer rightmost: `(n, n)`. A layer is `residual` times the identity and
/// `1 - residual` times its heads, each row scaled to sum 1; a row without mass passes its own token on.
pub fn rollout<T: Scalar>(
    weights: Matrices<'_, T>,
    layers: usize,
    residual: f64,
    fusion: Fusion,
    executor: &dyn Executor,
) -> Result<Vec<f64>> {
    weights.domain().whole()?;
    let [matrices, n, columns] = weights.domain().shape();
    if n != columns {
        return Err(KernelError::shape("weights", format!("{n} x {columns}"), "as many keys as queries"));
    }
    if layers == 0 || matrices == 0 || !matrices.is_multiple_of(layers) {
        return Err(KernelError::shape("weights", format!("{matrices} matrices"), format!("{layers} layers of heads")));
    }
    if !(0.0..=1.0).contains(&residual) {
        return Err(KernelError::value("residual", residual, "0 ..= 1"));
    }
    weights.check_measure(executor)?;
    let heads = matrices / layers;
    let mut product: Vec<f64> = Vec::new();
    for layer in 0..layers {
        let mut next: Vec<f64> = memory::zeros("weights", n * n)?;
        for_each_chunk(executor, &mut next, n, |i, next| {
            interrupt::check_each(i, 8);
            let fused = fused(weights, layer * heads..(layer + 1) * heads, i, residual, fusion);
            if product.is_empty() {
                next.copy_from_slice(&fused);
                return;
            }
            for (row, &weight) in product.chunks(n).zip(&fused) {
                if weight > 0.0 {
                    next.iter_mut().zip(row).for_each(|(sum, &x)| *sum += weight * x);
                }
            }
        });
        product = next;
    }
    Ok(product)
}

fn scale(row: &mut [f64], factor: f64) {
    for x in row {
        *x *= factor;
    }
}

fn fused<T: Scalar>(
    weights: Matrices<'_, T>,
    heads: std::ops::Range<usize>,
    i: usize,
    residual: f64,
    fusion: Fusion,
) -> Vec<f64> {
    let count = heads.len() as f64;
    let mut row: Vec<f64> = weights.row(heads.start, i).iter().map(|&x| x.into()).collect();
    for head in heads.skip(1) {
        row.iter_mut().zip(weights.row(head, i)).for_each(|(sum, &x)| {
            *sum = match fusion {
                Fusion::Mean => *sum + x.into(),
                Fusion::Max => sum.max(x.into()),
                Fusion::Min => sum.min(x.into()),
            };
        });
    }
    if fusion == Fusion::Mean {
        scale(&mut row, 1.0 / count);
    }
    scale(&mut row, 1.0 - residual);
    row[i] += residual;
    let mass: f64 = row.iter().sum();
    if mass > 0.0 {
        scale(&mut row, 1.0 / mass);
    } else {
        row[i] = 1.0;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::super::support::{Domain, Support};
    use super::*;
    use crate::executor::Serial;
    use proptest::prelude::*;

    #[test]
    fn the_identity_stays_and_one_layer_is_half_itself() {
        let domain = Domain::new(Support::Full, [2, 2, 2]).unwrap();
        let same = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0_f32];
        let weights = Matrices::new("weights", &same, domain).unwrap();
        assert_eq!(rollout(weights, 2, 0.5, Fusion::Mean, &Serial).unwrap(), [1.0, 0.0, 0.0, 1.0]);
        let heads = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0_f32];
        let weights = Matrices::new("weights", &heads, domain).unwrap();
        assert_eq!(rollout(weights, 1, 0.5, Fusion::Mean, &Serial).unwrap(), [0.75, 0.25, 0.0, 1.0]);
        assert_eq!(rollout(weights, 1, 0.0, Fusion::Max, &Serial).unwrap(), [0.5, 0.5, 0.0, 1.0]);
        assert_eq!(rollout(weights, 1, 0.0, Fusion::Min, &Serial).unwrap(), [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(rollout(weights, 1, 1.5, Fusion::Min, &Serial).unwrap_err().argument, "residual");
        assert_eq!(rollout(weights, 3, 0.5, Fusion::Min, &Serial).unwrap_err().argument, "weights");
    }

    proptest! {
        #[test]
        fn rollout_is_a_product_of_layers(values in prop::collection::vec(0.01_f64..1.0, 6 * 16)) {
            let domain = Domain::new(Support::Full, [6, 4, 4]).unwrap();
            let found = rollout(Matrices::new("weights", &values, domain).unwrap(), 3, 0.3, Fusion::Mean, &Serial).unwrap();
            let mut wanted: Vec<f64> = (0..16).map(|k| f64::from(u8::from(k / 4 == k % 4))).collect();
            for layer in values.chunks(32) {
                let mean = |i: usize, j: usize| f64::midpoint(layer[i * 4 + j], layer[16 + i * 4 + j]);
                let mixed = |i: usize, j: usize| 0.7 * mean(i, j) + 0.3 * f64::from(u8::from(i == j));
                let scaled = |i: usize, j: usize| mixed(i, j) / (0..4).map(|k| mixed(i, k)).sum::<f64>();
                wanted = (0..16).map(|at| (0..4).map(|k| scaled(at / 4, k) * wanted[k * 4 + at % 4]).sum()).collect();
            }
            for (a, b) in found.iter().zip(&wanted) {
                prop_assert!((a - b).abs() < 1e-12);
            }
        }
    }
}
