//! Detrended fluctuations of surfaces over square segments (G.-F. Gu and W.-X. Zhou, 2006).

use super::series::{mean_of, polynomials, residual};
use super::support::{Matrices, Scalar};
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::interrupt;
use crate::memory::{self, OrLeave};

/// What segments of the analysis are.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    /// Sides, each at least `order + 2`.
    pub sides: &'a [usize],
    /// Total degree of the polynomial that is taken from each.
    pub order: usize,
    /// Orders of the mean over segments.
    pub orders: &'a [f64],
    /// Whether a segment is summed up from its corner first.
    pub profile: bool,
    /// Whether segments are laid from all four corners.
    pub corners: bool,
}

/// As [`fluctuations`](super::series::fluctuations), over the segments that lie in the support with all their cells:
/// `(matrices, orders, sides)`. NaN where there are none.
pub fn fluctuations<T: Scalar>(
    values: Matrices<'_, T>,
    how: Segments<'_>,
    executor: &dyn Executor,
) -> Result<Vec<f64>> {
    let domain = values.domain();
    let [matrices, rows, columns] = domain.shape();
    let (least, most) = (how.order + 2, rows.min(columns));
    if how.order > 8 {
        return Err(KernelError::value("order", how.order, "0 ..= 8"));
    }
    if how.sides.is_empty() || how.sides.iter().any(|&side| side < least || side > most) {
        let allowed = format!("one or more of {least} ..= {most}");
        return Err(KernelError::value("scales", format!("{:?}", how.sides), allowed));
    }
    if how.orders.is_empty() || how.orders.iter().any(|q| q.abs() > 100.0 || q.is_nan()) {
        return Err(KernelError::value("q", format!("{:?}", how.orders), "one or more numbers in -100 ..= 100"));
    }
    domain.whole()?;
    values.check_surface(executor)?;
    let bases: Vec<Vec<f64>> = how.sides.iter().map(|&side| planes(side, how.order)).collect::<Result<_>>()?;
    let (sides, orders) = (how.sides.len(), how.orders.len());
    let mut found = memory::zeros("scales", memory::product::<f64>("scales", &[matrices, orders, sides])?)?;
    for_each_chunk(executor, &mut found, orders * sides, |matrix, found| {
        for (k, (&side, basis)) in how.sides.iter().zip(&bases).enumerate() {
            let mut left: Vec<f64> = Vec::new();
            let mut segment: Vec<f64> = memory::with_capacity("values", side * side).or_leave();
            for first in firsts([rows, columns], side, how.corners) {
                for (top, at) in (first[0]..=rows - side)
                    .step_by(side)
                    .flat_map(|top| (first[1]..=columns - side).step_by(side).map(move |at| (top, at)))
                {
                    interrupt::check();
                    if (top..top + side).all(|i| (at..at + side).all(|j| domain.row(matrix, i).has(j))) {
                        segment.clear();
                        for i in top..top + side {
                            segment.extend(values.row(matrix, i)[at..at + side].iter().map(|&x| -> f64 { x.into() }));
                        }
                        if how.profile {
                            sum_up(&mut segment, side);
                        }
                        memory::extend("values", &mut left, [residual(&segment, basis)]).or_leave();
                    }
                }
            }
            for (l, &q) in how.orders.iter().enumerate() {
                found[l * sides + k] = mean_of(&left, q);
            }
        }
    });
    Ok(found)
}

/// The first cells of the first segments from each corner.
fn firsts(shape: [usize; 2], side: usize, corners: bool) -> Vec<[usize; 2]> {
    let [down, across] = shape.map(|n| n % side);
    let mut firsts = vec![[0, 0]];
    if corners {
        firsts
            .extend([[down, 0], [0, across], [down, across]].into_iter().filter(|first| first.iter().any(|&x| x > 0)));
        firsts.dedup();
    }
    firsts
}

/// Orthonormal polynomials of two variables, of a total degree up to `order`, on `side` times `side` points.
fn planes(side: usize, order: usize) -> Result<Vec<f64>> {
    let lines = polynomials(side, order)?;
    let count = (order + 1) * (order + 2) / 2;
    let mut basis: Vec<f64> = memory::with_capacity("scales", side * side * count)?;
    for (degree, down) in lines.chunks(side).enumerate() {
        for across in lines.chunks(side).take(order + 1 - degree) {
            basis.extend(down.iter().flat_map(|a| across.iter().map(move |b| a * b)));
        }
    }
    Ok(basis)
}

fn sum_up(segment: &mut [f64], side: usize) {
    for i in 0..side {
        let mut sum = 0.0;
        for j in 0..side {
            sum += segment[i * side + j];
            segment[i * side + j] = sum + if i > 0 { segment[(i - 1) * side + j] } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::{Domain, Support};
    use super::*;
    use crate::executor::Serial;

    const HOW: Segments<'_> = Segments { sides: &[4, 7], order: 1, orders: &[2.0], profile: false, corners: true };

    #[test]
    fn a_plane_leaves_nothing_and_segments_lie_in_the_support() {
        let cells: Vec<f64> = (0..17 * 19).map(|k| 3.0 + 0.5 * f64::from(k / 19) - f64::from(k % 19)).collect();
        let values = |support| Matrices::new("values", &cells, Domain::new(support, [1, 17, 19]).unwrap()).unwrap();
        assert!(fluctuations(values(Support::Full), HOW, &Serial).unwrap().iter().all(|&f| f < 1e-12));
        let near = Support::Near { radius: 1, causal: false };
        assert!(fluctuations(values(near), HOW, &Serial).unwrap().iter().all(|f| f.is_nan()));
        for (argument, how) in [
            ("order", Segments { order: 9, ..HOW }),
            ("scales", Segments { sides: &[2], ..HOW }),
            ("scales", Segments { sides: &[18], ..HOW }),
            ("q", Segments { orders: &[], ..HOW }),
        ] {
            assert_eq!(fluctuations(values(Support::Full), how, &Serial).unwrap_err().argument, argument);
        }
    }

    #[test]
    fn a_segment_is_summed_from_its_corner_and_freed_of_its_mean() {
        let cells = [1.0, 2.0, 3.0, 4.0];
        let values = Matrices::new("values", &cells, Domain::new(Support::Full, [1, 2, 2]).unwrap()).unwrap();
        let how = Segments { sides: &[2], order: 0, orders: &[2.0, 0.0], profile: true, corners: true };
        // Sums 1, 3, 4, 10 around 4.5.
        let wanted = ((3.5_f64.powi(2) + 1.5_f64.powi(2) + 0.5_f64.powi(2) + 5.5_f64.powi(2)) / 4.0).sqrt();
        for found in fluctuations(values, how, &Serial).unwrap() {
            assert!((found - wanted).abs() < 1e-12);
        }
    }
}
