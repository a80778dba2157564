//! The correlation sum: how many pairs of points are closer than a radius (P. Grassberger and I. Procaccia, 1983).

use super::support::Scalar;
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::memory;

/// How far apart two points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// In Euclidean space.
    Euclidean,
    /// Hellinger's distance of two distributions, `|sqrt(p) - sqrt(q)| / sqrt(2)`.
    Hellinger,
    /// The square root of the divergence of J. Lin (1991), in nats.
    JensenShannon,
}

/// Points, `(points, width)`, checked: finite, and distributions where the distance asks for them.
#[derive(Clone, Debug)]
pub struct Cloud {
    points: Vec<f64>,
    shape: [usize; 2],
    apart: Apart,
}

impl Cloud {
    /// Points as they are given; distributions are rows of sum 1, which are scaled to it exactly.
    pub fn new<T: Scalar>(values: &[T], shape: [usize; 2], apart: Apart) -> Result<Self> {
        let [n, width] = shape;
        if memory::product::<T>("points", &shape)? != values.len() || n < 2 || width == 0 {
            let given = format!("{} values as {shape:?}", values.len());
            return Err(KernelError::shape("points", given, "two points or more, of one coordinate or more"));
        }
        let mut points = memory::collected("points", values.iter().map(|&x| -> f64 { x.into() }))?;
        for (i, point) in points.chunks_mut(width).enumerate() {
            let least = if apart == Apart::Euclidean { f64::NEG_INFINITY } else { 0.0 };
            if let Some(x) = point.iter().find(|x| !x.is_finite() || **x < least) {
                let allowed = if apart == Apart::Euclidean { "finite numbers" } else { "finite numbers, 0 or more" };
                return Err(KernelError::value("points", format!("{x} in point {i}"), allowed));
            }
            let mass: f64 = point.iter().sum();
            if apart != Apart::Euclidean && mass <= 0.0 {
                return Err(KernelError::value("points", format!("no mass in point {i}"), "distributions"));
            }
            match apart {
                Apart::Euclidean => {}
                Apart::Hellinger => point.iter_mut().for_each(|x| *x = (*x / mass / 2.0).sqrt()),
                Apart::JensenShannon => point.iter_mut().for_each(|x| *x /= mass),
            }
        }
        Ok(Self { points, shape, apart })
    }

    fn distance(&self, i: usize, j: usize) -> f64 {
        let width = self.shape[1];
        let (x, y) = (&self.points[i * width..(i + 1) * width], &self.points[j * width..(j + 1) * width]);
        if self.apart == Apart::JensenShannon {
            let term = |p: f64, m: f64| if p > 0.0 { p * (p / m).ln() } else { 0.0 };
            let sum: f64 =
                x.iter().zip(y).map(|(&p, &q)| term(p, f64::midpoint(p, q)) + term(q, f64::midpoint(p, q))).sum();
            return (sum / 2.0).max(0.0).sqrt();
        }
        x.iter().zip(y).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    }

    fn check(&self, apart: usize) -> Result<()> {
        if apart == 0 || apart >= self.shape[0] {
            return Err(KernelError::value("theiler", apart, format!("1 ..= {}", self.shape[0] - 1)));
        }
        Ok(())
    }

    /// The smallest distance above 0 and the largest, of pairs at least `theiler` places apart; infinity and 0 where
    /// there is none.
    pub fn extent(&self, theiler: usize, executor: &dyn Executor) -> Result<[f64; 2]> {
        self.check(theiler)?;
        let mut found = memory::filled("points", [f64::INFINITY, 0.0], self.shape[0] - theiler)?;
        for_each_chunk(executor, &mut found, 16, |task, found| {
            for (k, found) in found.iter_mut().enumerate() {
                let i = task * 16 + k;
                for j in i + theiler..self.shape[0] {
                    let d = self.distance(i, j);
                    *found = [if d > 0.0 { found[0].min(d) } else { found[0] }, found[1].max(d)];
                }
            }
        });
        Ok(found.iter().fold([f64::INFINITY, 0.0], |[low, high], &[a, b]| [low.min(a), high.max(b)]))
    }

    /// Pairs at least `theiler` places apart whose distance is below each radius, and at the end all such pairs.
    pub fn closer(&self, radii: &[f64], theiler: usize, executor: &dyn Executor) -> Result<Vec<u64>> {
        self.check(theiler)?;
        let sorted = radii.windows(2).all(|pair| pair[0] < pair[1]);
        if radii.is_empty() || !sorted || radii.iter().any(|r| !(*r > 0.0 && r.is_finite())) {
            return Err(KernelError::value("radii", format!("{radii:?}"), "finite numbers above 0, increasing"));
        }
        let (starts, bins) = (self.shape[0] - theiler, radii.len() + 1);
        let tasks = starts.div_ceil(16);
        let mut counted = memory::zeros("radii", memory::product::<u64>("radii", &[tasks, bins])?)?;
        for_each_chunk(executor, &mut counted, bins, |task, counted| {
            for i in task * 16..starts.min(task * 16 + 16) {
                for j in i + theiler..self.shape[0] {
                    let d = self.distance(i, j);
                    counted[radii.partition_point(|&r| r <= d)] += 1;
                }
            }
        });
        let mut total = 0;
        Ok((0..bins)
            .map(|bin| {
                total += counted.iter().skip(bin).step_by(bins).sum::<u64>();
                total
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;
    use proptest::prelude::*;

    #[test]
    fn distances_are_theirs() {
        let at = |apart| Cloud::new(&[1.0, 0.0, 0.0, 2.0, 0.5, 0.5], [3, 2], apart).unwrap();
        assert!((at(Apart::Euclidean).distance(0, 1) - 5_f64.sqrt()).abs() < 1e-15);
        assert!((at(Apart::Hellinger).distance(0, 1) - 1.0).abs() < 1e-15);
        assert!((at(Apart::Hellinger).distance(0, 2) - (1.0 - 0.5_f64.sqrt()).sqrt()).abs() < 1e-15);
        assert!((at(Apart::JensenShannon).distance(0, 1) - 2_f64.ln().sqrt()).abs() < 1e-15);
        assert!(at(Apart::JensenShannon).distance(2, 2) <= 0.0);
    }

    proptest! {
        #[test]
        fn pairs_are_counted_once(points in prop::collection::vec(0.0_f32..1.0, 120), theiler in 1_usize..39) {
            let cloud = Cloud::new(&points, [40, 3], Apart::Euclidean).unwrap();
            let radii = [0.2, 0.5, 0.9];
            let counted = cloud.closer(&radii, theiler, &Serial).unwrap();
            let pairs: Vec<f64> = (0..40)
                .flat_map(|i| (i + theiler..40).map(move |j| (i, j)))
                .map(|(i, j)| cloud.distance(i, j))
                .collect();
            let wanted = |r: f64| pairs.iter().filter(|&&d| d < r).count() as u64;
            prop_assert_eq!(counted, [wanted(0.2), wanted(0.5), wanted(0.9), pairs.len() as u64]);
            let [low, high] = cloud.extent(theiler, &Serial).unwrap();
            let least = pairs.iter().copied().filter(|&d| d > 0.0).fold(f64::INFINITY, f64::min);
            let most = pairs.iter().copied().fold(0.0, f64::max);
            prop_assert_eq!([low, high].map(f64::to_bits), [least, most].map(f64::to_bits));
        }
    }

    #[test]
    fn what_is_no_cloud_is_refused() {
        for (values, shape, apart) in [
            (&[1.0, f64::NAN][..], [2, 1], Apart::Euclidean),
            (&[1.0, -1.0], [2, 1], Apart::Hellinger),
            (&[1.0, 0.0], [2, 1], Apart::JensenShannon),
            (&[1.0], [1, 1], Apart::Euclidean),
            (&[1.0, 2.0, 3.0], [2, 2], Apart::Euclidean),
        ] {
            assert_eq!(Cloud::new(values, shape, apart).unwrap_err().argument, "points");
        }
        let cloud = Cloud::new(&[1.0, 2.0, 4.0], [3, 1], Apart::Euclidean).unwrap();
        assert_eq!(cloud.closer(&[1.0, 0.5], 1, &Serial).unwrap_err().argument, "radii");
        assert_eq!(cloud.closer(&[1.0], 3, &Serial).unwrap_err().argument, "theiler");
        assert_eq!(cloud.extent(0, &Serial).unwrap_err().argument, "theiler");
    }
}
