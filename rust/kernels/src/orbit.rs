//! The orbit of `z -> z**2 + c` until it leaves a disc, for many points at once; where it left, it stays.

use crate::batch::{Batch, COLUMN};
use crate::lanes::{C, PIECE, Piece, Real};
use fearless_simd::{Simd, SimdMask, prelude::*};
use num_complex::Complex;

/// What is iterated: which of `z_0` and `c` is the point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Family<T> {
    /// `z_0` is the point, `c` is the same for all.
    Julia(T, T),
    /// `z_0 = 0`, `c` is the point.
    Mandelbrot,
}

/// First iterates outside of the disc, and their numbers; points that stay inside have `max_iter` and no iterate.
pub(crate) struct Escaped<T> {
    pub(crate) re: [T; PIECE],
    pub(crate) im: [T; PIECE],
    pub(crate) count: [T; PIECE],
}

impl<T: Real> Escaped<T> {
    pub(crate) fn new() -> Self {
        Self { re: [T::default(); PIECE], im: [T::default(); PIECE], count: [T::default(); PIECE] }
    }
}

/// Channels of the state behind the iterate: the iterate seen before, and of Mandelbrot orbits the point.
const SEEN: usize = 2;
const PARAMETER: usize = 4;

/// What the orbits of a piece are followed in; one scratch serves many pieces.
pub(crate) struct Scratch<T, const CHANNELS: usize> {
    batch: Batch<T, CHANNELS>,
    left: Left<T>,
    pub(crate) escaped: Escaped<T>,
}

impl<T: Real, const CHANNELS: usize> Scratch<T, CHANNELS> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { batch: Batch::new(), left: Left::new(), escaped: Escaped::new() }
    }
}

/// Channels of Julia orbits.
pub(crate) const JULIA: usize = 4;

/// Channels of Mandelbrot orbits, which carry their parameter.
pub(crate) const MANDELBROT: usize = 6;

/// Vectors side by side, to hide the latency of each.
const WAYS: usize = 4;

/// Steps of the round that begins at an age, for discs that no orbit comes back into: many leave early, few late.
fn round(age: u32) -> u32 {
    if age < 32 { 8 } else { 16 }
}

/// Whether an orbit that is inside of the disc after some steps has been inside all along.
///
/// Beyond the radius `|z**2 + c| >= |z|**2 - |c|` must be above `|z|`, by far more than roundings. A Mandelbrot orbit that
/// leaves a disc smaller than its `|c|` leaves it by its first step, to `c`, and `|c|**2 - |c|` is well above `|c|`.
fn leaves_for_good<T: Real>(family: Family<T>, radius: f64) -> bool {
    match family {
        Family::Julia(re, im) => radius * radius - re.to_f64().hypot(im.to_f64()) >= 1.25 * radius,
        Family::Mandelbrot => radius >= 2.25,
    }
}

/// Follows the orbits of a piece in rounds of some steps, with a look at the iterate after each round. Points that left
/// go back to where the round began, and are followed step by step all together in the end. Discs that orbits come back
/// into take rounds of one step, with a look before it too.
///
/// NaN is never inside the disc, so it is kept where it is. An iterate that has been seen before makes the orbit a cycle,
/// which stays inside: exact, as `z -> z**2 + c` rounds the same way every time. The iterate to compare with is renewed
/// after 1, 2, 4, … rounds, as in R. P. Brent, "An improved Monte Carlo factorization algorithm" (1980).
#[inline(always)]
pub(crate) fn escape<S: Simd, T: Real, const CHANNELS: usize>(
    simd: S,
    points: &[Complex<T>],
    family: Family<T>,
    max_iter: u32,
    radius: f64,
    scratch: &mut Scratch<T, CHANNELS>,
) {
    let n = T::V::<S>::LEN;
    let splat = |x| T::V::<S>::splat(simd, x);
    let (zero, bound) = (splat(T::default()), splat(T::from_f64(radius * radius)));
    let whole = T::from_f64(f64::from(max_iter));
    let Scratch { batch, left, escaped } = scratch;
    batch.fill(points, |_| T::from_f64(f64::NAN));
    // Points that stay.
    escaped.count.fill(whole);
    escaped.re.fill(T::default());
    escaped.im.fill(T::default());
    if family == Family::Mandelbrot {
        for row in (0..batch.len()).step_by(n) {
            let c = batch.load_complex::<S>(simd, 0, row);
            batch.store_complex::<S>(PARAMETER, row, c);
            batch.store_complex::<S>(0, row, C { re: zero, im: zero });
        }
    }
    let for_good = leaves_for_good(family, radius);
    let (mut age, mut rounds) = (0, 0_u32);
    while age < max_iter && batch.len() > 0 {
        let steps = if for_good { round(age) } else { 1 };
        rounds += 1;
        let renew = rounds.is_power_of_two();
        for at in (0..batch.len()).step_by(WAYS * n).rev() {
            let mut start = [C { re: zero, im: zero }; WAYS];
            let mut c = start;
            for w in 0..WAYS {
                start[w] = batch.load_complex::<S>(simd, 0, at + w * n);
                c[w] = match family {
                    Family::Julia(re, im) => C { re: splat(re), im: splat(im) },
                    Family::Mandelbrot => batch.load_complex::<S>(simd, PARAMETER, at + w * n),
                };
            }
            let mut z = start;
            for _ in 0..steps {
                for (z, c) in z.iter_mut().zip(c) {
                    let (rr, ii, ri) = (z.re * z.re, z.im * z.im, z.re * z.im);
                    *z = C { re: (rr - ii) + c.re, im: (ri + ri) + c.im };
                }
            }
            let mut bits = [[0; 2]; WAYS];
            let mut all_stay = true;
            for w in 0..WAYS {
                let row = at + w * n;
                let (start, z) = (start[w], z[w]);
                let mut inside = (z.re * z.re + z.im * z.im).simd_le(bound);
                if !for_good {
                    inside &= (start.re * start.re + start.im * start.im).simd_le(bound);
                }
                let seen = batch.load_complex::<S>(simd, SEEN, row);
                let stay = inside & !(z.re.simd_eq(seen.re) & z.im.simd_eq(seen.im));
                if renew {
                    batch.store_complex::<S>(SEEN, row, z);
                }
                let z = C { re: inside.select(z.re, start.re), im: inside.select(z.im, start.im) };
                batch.store_complex::<S>(0, row, z);
                bits[w] = [inside.to_bitmask(), stay.to_bitmask()];
                all_stay &= stay.all_true();
            }
            if all_stay {
                continue;
            }
            for (w, [inside, stay]) in bits.into_iter().enumerate().rev() {
                batch.retire(at + w * n, n, stay, |bit, point, state| {
                    if inside >> bit & 1 == 0 {
                        left.push(point, T::from_f64(f64::from(age)), state);
                    }
                });
            }
        }
        age += steps;
    }
    left.finish::<S>(simd, family, whole, bound, escaped);
}

/// Points whose orbits leave the disc within a round, as they were at its beginning.
struct Left<T> {
    z: [[T; COLUMN]; 2],
    c: [[T; COLUMN]; 2],
    age: [T; COLUMN],
    point: [u16; COLUMN],
    len: usize,
}

impl<T: Real> Left<T> {
    #[inline(always)]
    fn new() -> Self {
        let zeros = [T::default(); COLUMN];
        Self { z: [zeros; 2], c: [zeros; 2], age: zeros, point: [0; COLUMN], len: 0 }
    }

    #[inline(always)]
    fn push<const CHANNELS: usize>(&mut self, point: usize, age: T, state: [T; CHANNELS]) {
        let at = self.len;
        (self.z[0][at], self.z[1][at]) = (state[0], state[1]);
        if let [re, im] = state[PARAMETER..] {
            (self.c[0][at], self.c[1][at]) = (re, im);
        }
        (self.age[at], self.point[at]) = (age, point as u16);
        self.len += 1;
    }

    /// Takes the steps of their rounds once more, with a look at each iterate, and empties the list.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, family: Family<T>, most: T, bound: T::V<S>, out: &mut Escaped<T>) {
        let n = T::V::<S>::LEN;
        let splat = |x| T::V::<S>::splat(simd, x);
        let (zero, one, most) = (splat(T::default()), splat(T::from_f64(1.0)), splat(most));
        for at in (0..self.len).step_by(WAYS * n) {
            let mut z = [C { re: zero, im: zero }; WAYS];
            let (mut c, mut count) = (z, [zero; WAYS]);
            for w in 0..WAYS {
                let rows = at + w * n..at + (w + 1) * n;
                let load = |column: &[T; COLUMN]| T::V::<S>::from_slice(simd, &column[rows.clone()]);
                z[w] = C { re: load(&self.z[0]), im: load(&self.z[1]) };
                c[w] = match family {
                    Family::Julia(re, im) => C { re: splat(re), im: splat(im) },
                    Family::Mandelbrot => C { re: load(&self.c[0]), im: load(&self.c[1]) },
                };
                count[w] = load(&self.age);
            }
            // Rows behind the last may not leave; none takes more steps than the longest round.
            for _ in 0..=round(u32::MAX) {
                let mut some = false;
                for w in 0..WAYS {
                    let C { re, im } = z[w];
                    let (rr, ii, ri) = (re * re, im * im, re * im);
                    let inside = (rr + ii).simd_le(bound);
                    z[w].re = inside.select((rr - ii) + c[w].re, re);
                    z[w].im = inside.select((ri + ri) + c[w].im, im);
                    count[w] += inside.select(one, zero);
                    some |= inside.any_true();
                }
                if !some {
                    break;
                }
            }
            for w in 0..WAYS {
                let rows = at + w * n..at + (w + 1) * n;
                // A round may go on behind the last iterate that counts.
                count[w].min(most).store_slice(&mut self.age[rows.clone()]);
                z[w].re.store_slice(&mut self.z[0][rows.clone()]);
                z[w].im.store_slice(&mut self.z[1][rows]);
            }
        }
        for (i, &point) in self.point[..self.len].iter().enumerate() {
            let point = usize::from(point);
            (out.re[point], out.im[point], out.count[point]) = (self.z[0][i], self.z[1][i], self.age[i]);
        }
        self.len = 0;
    }
}

/// [`Escaped`] with derivatives, halved at every step: `2**-k dz_k/dp` and `2**-k dz_k/dc`.
pub(crate) struct EscapedTangents<T> {
    pub(crate) orbit: Escaped<T>,
    pub(crate) point: [[T; PIECE]; 2],
    pub(crate) parameter: [[T; PIECE]; 2],
}

impl<T: Real> EscapedTangents<T> {
    pub(crate) fn new() -> Self {
        let zeros = [[T::default(); PIECE]; 2];
        Self { orbit: Escaped::new(), point: zeros, parameter: zeros }
    }
}

/// [`escape`] of a Julia set, with derivatives that freeze together with the orbit.
///
/// From `dz_{k+1} = 2 z_k dz_k (+ 1)`, the halved ones obey `w_{k+1} = z_k w_k (+ 2**-(k + 1))`.
#[inline(always)]
pub(crate) fn escape_with_tangents<S: Simd, T: Real>(
    simd: S,
    piece: &Piece<T>,
    [c_re, c_im]: [T; 2],
    max_iter: u32,
    radius: f64,
    out: &mut EscapedTangents<T>,
) {
    let n = T::V::<S>::LEN;
    let splat = |x| T::V::<S>::splat(simd, x);
    let (zero, one, bound) = (splat(T::default()), splat(T::from_f64(1.0)), splat(T::from_f64(radius * radius)));
    let (most, least) = (splat(T::from_f64(T::TANGENT)), splat(T::from_f64(-T::TANGENT)));
    let held = |x: T::V<S>| x.max(least).min(most);
    let c = C { re: splat(c_re), im: splat(c_im) };
    for at in (0..piece.len).step_by(n) {
        let mut z = piece.load(simd, at);
        let mut count = zero;
        let mut dp = C { re: one, im: zero };
        let mut dc = C { re: zero, im: zero };
        let mut halved = one;
        for _ in 0..max_iter {
            let (rr, ii) = (z.re * z.re, z.im * z.im);
            let inside = (rr + ii).simd_le(bound);
            if !inside.any_true() {
                break;
            }
            halved *= T::from_f64(0.5);
            let keep = |new: T::V<S>, old: T::V<S>| inside.select(new, old);
            dp = C {
                re: keep(held(z.re * dp.re - z.im * dp.im), dp.re),
                im: keep(held(z.re * dp.im + z.im * dp.re), dp.im),
            };
            dc = C {
                re: keep(held((z.re * dc.re - z.im * dc.im) + halved), dc.re),
                im: keep(held(z.re * dc.im + z.im * dc.re), dc.im),
            };
            let ri = z.re * z.im;
            z = C { re: keep((rr - ii) + c.re, z.re), im: keep((ri + ri) + c.im, z.im) };
            count += inside.select(one, zero);
        }
        let lanes = at..at + n;
        z.re.store_slice(&mut out.orbit.re[lanes.clone()]);
        z.im.store_slice(&mut out.orbit.im[lanes.clone()]);
        count.store_slice(&mut out.orbit.count[lanes.clone()]);
        dp.re.store_slice(&mut out.point[0][lanes.clone()]);
        dp.im.store_slice(&mut out.point[1][lanes.clone()]);
        dc.re.store_slice(&mut out.parameter[0][lanes.clone()]);
        dc.im.store_slice(&mut out.parameter[1][lanes]);
    }
}
