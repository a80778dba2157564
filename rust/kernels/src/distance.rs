//! Distances between the points of two lists: in Euclidean space, and in hyperbolic space without loss near the diagonal.

use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::fields::lanes::check_range;
use crate::memory;

/// Two lists of points, `(rows, dimension)` and `(columns, dimension)`.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// Coordinates of the left points, which are the rows of the result.
    pub left: &'a [f32],
    /// Coordinates of the right points, its columns.
    pub right: &'a [f32],
    /// Rows, columns, and coordinates of a point.
    pub shape: [usize; 3],
}

impl Pairs<'_> {
    /// `of` every left and every right point.
    fn map(self, executor: &dyn Executor, of: impl Fn(&[f32], &[f32]) -> f64 + Sync) -> Result<Vec<f32>> {
        let [rows, columns, dimension] = self.shape;
        for (argument, points, n) in [("left", self.left, rows), ("right", self.right, columns)] {
            if memory::product::<f32>(argument, &[n, dimension])? != points.len() {
                let given = format!("{} values", points.len());
                return Err(KernelError::shape(argument, given, format!("({n}, {dimension})")));
            }
        }
        let mut distances = memory::zeros("left", memory::product::<f32>("left", &[rows, columns])?)?;
        for_each_chunk(executor, &mut distances, columns.max(1), |row, distances| {
            let left = &self.left[row * dimension..(row + 1) * dimension];
            for (column, distance) in distances.iter_mut().enumerate() {
                *distance = of(left, &self.right[column * dimension..(column + 1) * dimension]) as f32;
            }
        });
        Ok(distances)
    }
}

/// `|x - y|`.
pub fn euclidean(pairs: Pairs<'_>, executor: &dyn Executor) -> Result<Vec<f32>> {
    pairs.map(executor, |x, y| {
        let square: f64 = x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum();
        square.sqrt()
    })
}

/// Distances on the hyperboloid of curvature `-c`, of points given by their spatial part `s`; their time is
/// `sqrt(1 / c + |s|**2)`.
///
/// With `sinh r = sqrt(c) |s|` and `u = s / |s|`, `sinh(sqrt(c) d / 2)**2 = sinh((r1 - r2) / 2)**2 + sinh r1 sinh r2
/// |u1 - u2|**2 / 4`: no term is negative, so none cancels another, as they do in `acosh` of the Lorentz product.
pub fn hyperbolic(pairs: Pairs<'_>, c: f64, executor: &dyn Executor) -> Result<Vec<f32>> {
    check_range("c", c, 1e-6, 1e6)?;
    let root = c.sqrt();
    let norm = |s: &[f32]| s.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    pairs.map(executor, |x, y| {
        let (left, right) = (norm(x), norm(y));
        let radial = f64::midpoint((root * left).asinh(), -(root * right).asinh()).sinh().powi(2);
        let angular = if left == 0.0 || right == 0.0 {
            0.0
        } else {
            let unit = |(&x, &y): (&f32, &f32)| (f64::from(x) / left - f64::from(y) / right).powi(2);
            c * left * right * x.iter().zip(y).map(unit).sum::<f64>() / 4.0
        };
        2.0 / root * (radial + angular).sqrt().asinh()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;

    fn at(left: &[f32], right: &[f32], c: f64) -> f32 {
        let pairs = Pairs { left, right, shape: [1, 1, left.len()] };
        hyperbolic(pairs, c, &Serial).unwrap()[0]
    }

    #[test]
    fn euclidean_distances_are_theirs() {
        let pairs = Pairs { left: &[0.0, 0.0, 3.0, 0.0], right: &[0.0, 4.0], shape: [2, 1, 2] };
        assert_eq!(euclidean(pairs, &Serial).unwrap(), [4.0, 5.0]);
        assert_eq!(euclidean(Pairs { shape: [2, 0, 2], right: &[], ..pairs }, &Serial).unwrap(), []);
        let error = euclidean(Pairs { shape: [2, 2, 2], ..pairs }, &Serial).unwrap_err();
        assert_eq!((error.argument, error.allowed.as_str()), ("right", "(2, 2)"));
    }

    #[test]
    fn hyperbolic_distances_are_theirs() {
        let sinh = |r: f64| r.sinh() as f32;
        // Along a ray, and across the origin.
        assert!((at(&[sinh(3.0), 0.0], &[sinh(1.0), 0.0], 1.0) - 2.0).abs() < 1e-6);
        assert!((at(&[sinh(3.0), 0.0], &[-sinh(1.0), 0.0], 1.0) - 4.0).abs() < 1e-6);
        assert!((at(&[0.0, 0.0], &[0.0, sinh(1.5)], 1.0) - 1.5).abs() < 1e-6);
        assert!(at(&[0.3, 0.4], &[0.3, 0.4], 2.0) <= 0.0);
        // A right angle: cosh d = cosh r1 cosh r2.
        let wanted = (2.0_f64.cosh() * 1.0_f64.cosh()).acosh();
        assert!((f64::from(at(&[sinh(2.0), 0.0], &[0.0, sinh(1.0)], 1.0)) - wanted).abs() < 1e-6);
        // Curvature scales lengths.
        let (x, y) = ([0.7_f32, -0.2], [0.1_f32, 0.9]);
        let half = |s: [f32; 2]| s.map(|x| x / 2.0);
        assert!((at(&half(x), &half(y), 4.0) - at(&x, &y, 1.0) / 2.0).abs() < 1e-6);
        // Near the flat limit twice the step in the middle of the ball is the step here.
        assert!((at(&x, &y, 1e-6) - (0.6_f32.powi(2) + 1.1_f32.powi(2)).sqrt()).abs() < 1e-5);
        assert_eq!(
            hyperbolic(Pairs { left: &[], right: &[], shape: [0, 0, 2] }, 0.0, &Serial).unwrap_err().argument,
            "c"
        );
    }
}
