//! The orbits of `z -> z**2 + c` until they leave a disc, for many points at once; an orbit stops where it leaves.

mod columns;
mod late;
mod live;
mod round;

use super::lanes::Real;
use columns::WAYS;
use fearless_simd::{Simd, prelude::*};
use live::Early;
pub(crate) use live::Scratch;
use num_complex::Complex;
use round::{OLD, Round};

/// What is iterated: which of `z_0` and `c` is the point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Family<T> {
    /// `z_0` is the point, `c` is the same for all.
    Julia(T, T),
    /// `z_0 = 0`, `c` is the point.
    Mandelbrot,
}

/// Steps that test each iterate: outside of a set most orbits leave within them.
const FIRST: u32 = 8;

/// Steps of the round that begins at a later age, where no orbit re-enters the disc: many leave early, few late. The
/// lengths are multiples of the commonest periods, so that rounds around an attracting cycle end where they began.
fn steps(age: u32) -> u32 {
    match age {
        0..24 => 8,
        24..48 => 12,
        _ => [24, 20, 28][(age / 24 % 3) as usize],
    }
}

/// Whether an orbit that is inside of the disc after some steps has been inside all along.
///
/// Beyond the radius `|z**2 + c| >= |z|**2 - |c|` must be above `|z|`, by far more than roundings. A Mandelbrot orbit
/// that leaves a disc smaller than its `|c|` leaves it by its first step, to `c`, and `|c|**2 - |c|` is well above
/// `|c|`.
fn leaves_for_good<T: Real>(family: Family<T>, radius: f64) -> bool {
    match family {
        Family::Julia(re, im) => radius * radius - re.to_f64().hypot(im.to_f64()) >= 1.25 * radius,
        Family::Mandelbrot => radius >= 2.25,
    }
}

/// First iterates outside of the disc, and their numbers, in whole vectors. A number of `max_iter` or more means none.
pub(crate) struct Exits<'a, T> {
    /// Real parts of the iterates.
    pub(crate) re: &'a [T],
    /// Their imaginary parts.
    pub(crate) im: &'a [T],
    /// Their numbers.
    pub(crate) count: &'a [T],
    /// Their points in the piece; `None` for all points in order.
    pub(crate) point: Option<&'a [T]>,
}

impl<T: Real> Exits<'_, T> {
    /// Writes values of the exits from `at` on to their points.
    #[inline(always)]
    pub(crate) fn put(&self, at: usize, values: &[T], out: &mut [T]) {
        if let Some(points) = self.point {
            for (point, value) in points[at.min(points.len())..].iter().zip(values) {
                out[point.to_f64() as usize] = *value;
            }
        } else {
            let rows = at.min(out.len())..out.len().min(at + values.len());
            out[rows.clone()].copy_from_slice(&values[..rows.len()]);
        }
    }
}

/// Follows the orbits of a piece: a few steps that test each iterate, then rounds of several steps that test the last
/// one. Points that left in a round return to its beginning, and are all followed step by step at the end. Where orbits
/// can re-enter the disc, a round is one step, with a test before it too.
///
/// Returns the exits of the first steps, then the later ones, which replace the former.
///
/// NaN is never inside the disc, so it stays where it is. An iterate that has been seen before makes the orbit a cycle,
/// which stays inside: exact, as `z -> z**2 + c` rounds the same way every time. Young orbits are compared with the
/// beginning of the round, old ones with an iterate that is renewed after 1, 2, 4, … rounds, as in R. P. Brent, "An
/// improved Monte Carlo factorization algorithm" (1980).
#[inline(always)]
pub(crate) fn escape<'a, S: Simd, T: Real>(
    simd: S,
    points: &[Complex<T>],
    family: Family<T>,
    max_iter: u32,
    radius: f64,
    scratch: &'a mut Scratch<T>,
) -> [Exits<'a, T>; 2] {
    let for_good = leaves_for_good(family, radius);
    let (parameter, mandelbrot) = match family {
        Family::Julia(re, im) => ([re, im], false),
        Family::Mandelbrot => ([T::default(); 2], true),
    };
    let mut round = Round { age: 0, steps: FIRST.min(max_iter), max_iter, radius, for_good, old: 0 };
    if mandelbrot {
        scratch.begin::<S, true>(simd, points, parameter, round);
    } else {
        scratch.begin::<S, false>(simd, points, parameter, round);
    }
    round.age = round.steps;
    let mut rounds = 0;
    while round.age < max_iter && scratch.len > 0 {
        rounds += 1;
        crate::interrupt::check_each(rounds, 64);
        round.steps = if for_good { steps(round.age) } else { 1 };
        if mandelbrot {
            scratch.go_on::<S, true>(simd, parameter, round);
        } else {
            scratch.go_on::<S, false>(simd, parameter, round);
        }
        round.age += round.steps;
        round.old += u32::from(round.age >= OLD);
    }
    if mandelbrot {
        scratch.late.finish::<S, true>(simd, parameter, radius);
    } else {
        scratch.late.finish::<S, false>(simd, parameter, radius);
    }
    let whole = |len: usize| len.next_multiple_of(WAYS * T::V::<S>::LEN);
    let (Early { z, count }, late) = (&scratch.early, &scratch.late);
    let early = whole(points.len());
    let listed = whole(late.len);
    [
        Exits { re: &z.0[0][..early], im: &z.0[1][..early], count: &count.0[0][..early], point: None },
        Exits {
            re: &late.z.0[0][..listed],
            im: &late.z.0[1][..listed],
            count: &late.count.0[0][..listed],
            point: Some(&late.point.0[0][..late.len]),
        },
    ]
}
