//! How closely a shader agrees with its twin.

use std::fmt;

/// What a shader's result may differ by. NaN agrees with NaN, and an infinity with itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Equal values.
    Exact,
    /// Every value within `absolute + relative * |twin's value|`.
    Close {
        /// Share of the twin's value.
        relative: f64,
        /// Where that value is near zero.
        absolute: f64,
    },
    /// As `Close`, but for a share of the values, which may be anything: escape counts at the boundary of a set.
    Mostly {
        /// How large a share.
        share: f64,
        /// Share of the twin's value, for the others.
        relative: f64,
        /// Where that value is near zero.
        absolute: f64,
    },
}

/// Where a result differs by too much.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// How many values differ by too much, of how many.
    pub count: (usize, usize),
    /// The place of the first.
    pub place: usize,
    /// The shader's value there.
    pub got: f64,
    /// The twin's.
    pub wanted: f64,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count: (wrong, all), place, got, wanted } = self;
        write!(f, "{wrong} of {all} values differ, the first at {place}: {got:?}, not {wanted:?}")
    }
}

impl std::error::Error for Disagreement {}

impl Tolerance {
    /// Compares a result with the twin's.
    ///
    /// # Panics
    ///
    /// If one has more values than the other.
    #[allow(clippy::float_cmp, reason = "equal is what an exact shader is")]
    pub fn check<T: Copy + Into<f64>>(&self, got: &[T], wanted: &[T]) -> Result<(), Disagreement> {
        assert_eq!(got.len(), wanted.len(), "both have a value for each");
        let (share, relative, absolute) = match *self {
            Self::Exact => (0.0, 0.0, 0.0),
            Self::Close { relative, absolute } => (0.0, relative, absolute),
            Self::Mostly { share, relative, absolute } => (share, relative, absolute),
        };
        let agree = |got: f64, wanted: f64| {
            got == wanted
                || got.is_nan() && wanted.is_nan()
                || wanted.is_finite() && (got - wanted).abs() <= absolute + relative * wanted.abs()
        };
        let pairs = got.iter().zip(wanted).map(|(&got, &wanted)| (got.into(), wanted.into()));
        let mut wrong = pairs.enumerate().filter(|(_, (got, wanted))| !agree(*got, *wanted));
        let Some((place, (got_there, wanted_there))) = wrong.next() else { return Ok(()) };
        let count = 1 + wrong.count();
        if count as f64 <= share * got.len() as f64 {
            return Ok(());
        }
        Err(Disagreement { count: (count, got.len()), place, got: got_there, wanted: wanted_there })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agrees_and_what_does_not() {
        let close = Tolerance::Close { relative: 1e-3, absolute: 1e-6 };
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for (got, wanted, exact, near) in [
            (1.0, 1.0, true, true),
            (0.0, -0.0, true, true),
            (1.0, 1.0005, false, true),
            (1.0, 1.002, false, false),
            (1e-7, 0.0, false, true),
            (nan, nan, true, true),
            (nan, 1.0, false, false),
            (1.0, nan, false, false),
            (inf, inf, true, true),
            (inf, -inf, false, false),
            (1e300, inf, false, false),
            (inf, 1.0, false, false),
        ] {
            assert_eq!(Tolerance::Exact.check(&[got], &[wanted]).is_ok(), exact, "{got} {wanted}");
            assert_eq!(close.check(&[got], &[wanted]).is_ok(), near, "{got} {wanted}");
        }
    }

    #[test]
    fn a_share_may_be_anything() {
        let mostly = Tolerance::Mostly { share: 0.5, relative: 0.0, absolute: 0.1 };
        assert_eq!(mostly.check(&[1.0, 9.0_f32], &[1.05, 2.0]), Ok(()));
        let error = mostly.check(&[1.0, 9.0, 7.0_f32], &[1.0, 2.0, 2.0]).unwrap_err();
        assert_eq!(error, Disagreement { count: (2, 3), place: 1, got: 9.0, wanted: 2.0 });
        assert_eq!(error.to_string(), "2 of 3 values differ, the first at 1: 9.0, not 2.0");
    }
}
