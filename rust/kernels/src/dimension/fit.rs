//! The line through measured scales, and what speaks against it.

use crate::error::{KernelError, Result};
use crate::memory;

/// A line by least squares. NaN throughout where fewer than two points are finite or all lie above one another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Rise of `y` with `x`.
    pub slope: f64,
    /// `y` at 0.
    pub intercept: f64,
    /// Standard error of the slope, as if the points were independent; NaN of two points.
    pub stderr: f64,
    /// Half of the slope's 95 % interval, by Student's t.
    pub half: f64,
    /// Share of the variance that the line explains; 1 where there is none to explain.
    pub r2: f64,
    /// Change of the slope from the first point to the last in the parabola through the points; NaN below four points.
    pub bend: f64,
    /// The same over its standard error.
    pub bend_t: f64,
    /// Points that are finite.
    pub used: f64,
}

/// The numbers of a [`Line`], in its order.
pub const WIDTH: usize = 8;

impl Line {
    const NONE: Self = Self {
        slope: f64::NAN,
        intercept: f64::NAN,
        stderr: f64::NAN,
        half: f64::NAN,
        r2: f64::NAN,
        bend: f64::NAN,
        bend_t: f64::NAN,
        used: 0.0,
    };

    /// As a row of numbers.
    pub fn row(self) -> [f64; WIDTH] {
        [self.slope, self.intercept, self.stderr, self.half, self.r2, self.bend, self.bend_t, self.used]
    }
}

/// The line through each row of `y`, `(rows, points)`, over the same `x`; points that are not finite are left out.
pub fn lines(x: &[f64], y: &[f64], rows: usize) -> Result<Vec<Line>> {
    if x.is_empty() || memory::product::<f64>("y", &[rows, x.len()])? != y.len() {
        return Err(KernelError::shape("y", format!("{} values", y.len()), format!("({rows}, {})", x.len())));
    }
    if x.iter().any(|x| !x.is_finite()) {
        return Err(KernelError::value("x", format!("{x:?}"), "finite numbers"));
    }
    memory::collected("y", y.chunks(x.len()).map(|y| line(x, y)))
}

fn line(x: &[f64], y: &[f64]) -> Line {
    let points: Vec<[f64; 2]> = x.iter().zip(y).filter(|(_, y)| y.is_finite()).map(|(&x, &y)| [x, y]).collect();
    let n = points.len() as f64;
    let mean = |of: &dyn Fn(&[f64; 2]) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mx, my) = (mean(&|p| p[0]), mean(&|p| p[1]));
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|p| of(p[0] - mx, p[1] - my)).sum::<f64>();
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    if points.len() < 2 || xx <= 0.0 {
        return Line { used: n, ..Line::NONE };
    }
    let slope = xy / xx;
    let rest = sum(&|x, y| (y - slope * x).powi(2));
    let free = n - 2.0;
    let stderr = if free > 0.0 { (rest / free / xx).sqrt() } else { f64::NAN };
    let half = if free > 0.0 { student(free as u32) * stderr } else { f64::NAN };
    let r2 = if yy > 0.0 { (1.0 - rest / yy).max(0.0) } else { 1.0 };
    // The parabola: what is left of x^2 beside the line, and how much of y follows it.
    let (xxx, xxxx) = (sum(&|x, _| x.powi(3)), sum(&|x, _| x.powi(4)));
    let curve = |x: f64| x * x - xx / n - xxx / xx * x;
    let (cc, cy) = (xxxx - xx * xx / n - xxx * xxx / xx, sum(&|x, y| curve(x) * y));
    let (mut bend, mut bend_t) = (f64::NAN, f64::NAN);
    if points.len() >= 4 && cc > 0.0 {
        let reach =
            points.iter().map(|p| p[0]).fold(f64::MIN, f64::max) - points.iter().map(|p| p[0]).fold(f64::MAX, f64::min);
        let quadratic = cy / cc;
        let error = ((rest - cy * quadratic).max(0.0) / (n - 3.0) / cc).sqrt();
        bend = 2.0 * quadratic * reach;
        bend_t = if error > 0.0 { quadratic / error } else { 0.0 };
    }
    Line { slope, intercept: my - slope * mx, stderr, half, r2, bend, bend_t, used: n }
}

/// The number that Student's t with some degrees of freedom exceeds in one of 40 cases.
pub fn student(free: u32) -> f64 {
    let (mut low, mut high) = (1.9, 12.8);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if within(middle, free) < 0.95 { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The chance of `|t|` below a number, by the finite series for whole degrees of freedom (Abramowitz and Stegun,
/// 26.7.3 and 26.7.4).
fn within(t: f64, free: u32) -> f64 {
    let angle = (t / f64::from(free).sqrt()).atan();
    let (sin, square) = (angle.sin(), angle.cos().powi(2));
    let odd = free % 2 == 1;
    let (mut term, mut sum) = (1.0, 0.0);
    for k in 0..free.div_ceil(2) - u32::from(odd) {
        sum += term;
        let k = f64::from(k);
        term *= square * if odd { (2.0 * k + 2.0) / (2.0 * k + 3.0) } else { (2.0 * k + 1.0) / (2.0 * k + 2.0) };
    }
    if odd { std::f64::consts::FRAC_2_PI * (angle + sin * angle.cos() * sum) } else { sin * sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (free, wanted) in
            [(1, 12.706_205), (2, 4.302_653), (3, 3.182_446), (4, 2.776_445), (9, 2.262_157), (30, 2.042_272)]
        {
            assert!((student(free) - wanted).abs() < 1e-6, "{free}: {}", student(free));
        }
    }

    #[test]
    fn an_exact_line_is_exact_and_a_parabola_is_bent() {
        let x: Vec<f64> = (0..6).map(f64::from).collect();
        let y: Vec<f64> = x.iter().map(|x| 3.0 - 2.0 * x).chain(x.iter().map(|x| x * x)).collect();
        let found = lines(&x, &y, 2).unwrap();
        assert_eq!((found[0].slope, found[0].intercept, found[0].r2, found[0].used), (-2.0, 3.0, 1.0, 6.0));
        assert!(found[0].stderr < 1e-12 && found[0].bend.abs() < 1e-9);
        assert!((found[1].slope - 5.0).abs() < 1e-12 && (found[1].bend - 10.0).abs() < 1e-9);
        let flat = lines(&x, &[2.0; 6], 1).unwrap()[0];
        assert_eq!((flat.slope, flat.r2, flat.stderr), (0.0, 1.0, 0.0));
        let few = lines(&x, &[1.0, f64::NAN, f64::NEG_INFINITY, 4.0, f64::NAN, f64::NAN], 1).unwrap()[0];
        assert_eq!((few.slope, few.used), (1.0, 2.0));
        assert!(few.stderr.is_nan() && lines(&[1.0], &[2.0], 1).unwrap()[0].slope.is_nan());
        assert_eq!(lines(&x, &[1.0], 1).unwrap_err().argument, "y");
        assert_eq!(lines(&[f64::NAN], &[1.0], 1).unwrap_err().argument, "x");
    }

    proptest! {
        #[test]
        fn the_line_solves_the_normal_equations(y in prop::collection::vec(-5.0_f64..5.0, 7)) {
            let x = [0.0, 0.7, 1.4, 2.0, 2.5, 3.9, 4.1];
            let found = lines(&x, &y, 1).unwrap()[0];
            let rest: Vec<f64> = x.iter().zip(&y).map(|(x, y)| y - found.intercept - found.slope * x).collect();
            prop_assert!(rest.iter().sum::<f64>().abs() < 1e-9);
            prop_assert!(rest.iter().zip(&x).map(|(r, x)| r * x).sum::<f64>().abs() < 1e-9);
            let mean = x.iter().sum::<f64>() / 7.0;
            let error = (rest.iter().map(|r| r * r).sum::<f64>() / 5.0 / x.iter().map(|x| (x - mean).powi(2)).sum::<f64>()).sqrt();
            prop_assert!((found.stderr - error).abs() < 1e-9);
            prop_assert!((found.half - student(5) * error).abs() < 1e-9);
        }
    }
}
