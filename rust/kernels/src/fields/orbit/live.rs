//! Points that have not left yet: the first steps, and the rounds of several steps.

use super::columns::{Columns, WAYS};
use super::late::Late;
use super::round::{OLD, Round};
use crate::fields::lanes::{C, MOST_LANES, Real};
use fearless_simd::{Simd, SimdMask, prelude::*};
use num_complex::Complex;

/// Buffers for the orbits of a piece; one scratch serves many pieces.
///
/// Point indices are floats too, so that one instruction moves a vector of them.
pub(crate) struct Scratch<T> {
    pub(super) early: Early<T>,
    pub(super) z: Columns<T, 2>,
    pub(super) c: Columns<T, 2>,
    pub(super) seen: Columns<T, 2>,
    pub(super) point: Columns<T, 1>,
    pub(super) len: usize,
    pub(super) late: Late<T>,
}

/// The first steps of all points, in their order.
pub(super) struct Early<T> {
    pub(super) z: Columns<T, 2>,
    pub(super) count: Columns<T, 1>,
}

impl<T: Real> Scratch<T> {
    pub(crate) fn new() -> Self {
        let (complex, real) = (Columns::new, Columns::new);
        Self {
            early: Early { z: complex(), count: real() },
            z: complex(),
            c: complex(),
            seen: complex(),
            point: real(),
            len: 0,
            late: Late { z: complex(), c: complex(), count: real(), point: real(), len: 0 },
        }
    }
}

/// A bit for each of the `lanes` rows from `row` on that is below `len`.
#[inline(always)]
fn below(len: usize, row: usize, lanes: usize) -> u64 {
    u64::MAX.checked_shr(u64::BITS - lanes.min(len.saturating_sub(row)) as u32).unwrap_or(0)
}

impl<T: Real> Scratch<T> {
    /// The first steps of all points, and the list of those that are still inside.
    #[inline(always)]
    pub(super) fn begin<S: Simd, const MANDELBROT: bool>(
        &mut self,
        simd: S,
        points: &[Complex<T>],
        parameter: [T; 2],
        round: Round,
    ) {
        let n = T::V::<S>::LEN;
        let splat = |x| T::V::<S>::splat(simd, x);
        let (zero, one, two) = (splat(T::default()), splat(T::from_f64(1.0)), splat(T::from_f64(2.0)));
        let bound = splat(T::from_f64(round.radius * round.radius));
        let most = splat(T::from_f64(f64::from(round.max_iter)));
        let all = C { re: splat(parameter[0]), im: splat(parameter[1]) };
        let mut numbers = [T::default(); MOST_LANES];
        for (i, number) in numbers.iter_mut().enumerate() {
            *number = T::from_f64(i as f64);
        }
        let numbers = T::V::<S>::from_slice(simd, &numbers[..n]);
        (self.len, self.late.len) = (0, 0);
        let mut parts = [[T::default(); WAYS * MOST_LANES]; 2];
        for (step, some) in points.chunks(WAYS * n).enumerate() {
            let at = step * WAYS * n;
            for (i, z) in some.iter().enumerate() {
                (parts[0][i], parts[1][i]) = (z.re, z.im);
            }
            let (mut z, mut c, mut count) = ([all; WAYS], [all; WAYS], [zero; WAYS]);
            for w in 0..WAYS {
                let lanes = w * n..(w + 1) * n;
                let re = T::V::<S>::from_slice(simd, &parts[0][lanes.clone()]);
                let im = T::V::<S>::from_slice(simd, &parts[1][lanes]);
                z[w] = C { re, im };
                if MANDELBROT {
                    (z[w], c[w]) = (C { re: zero, im: zero }, z[w]);
                }
            }
            let mut bits = [0; WAYS];
            for step in 0..=round.steps {
                let mut some = 0;
                for w in 0..WAYS {
                    let C { re, im } = z[w];
                    let (rr, ii, ri) = (re * re, im * im, re * im);
                    let inside = (rr + ii).simd_le(bound);
                    bits[w] = inside.to_bitmask();
                    some |= bits[w];
                    if step < round.steps {
                        z[w].re = inside.select((rr - ii) + c[w].re, re);
                        // Doubling is exact, so that a fused instruction and two others round the same way.
                        z[w].im = inside.select(ri.mul_add(two, c[w].im), im);
                        count[w] = inside.select(count[w] + one, count[w]);
                    }
                }
                if some == 0 {
                    break;
                }
            }
            for w in 0..WAYS {
                let row = at + w * n;
                bits[w] &= below(points.len(), row, n);
                let lanes = <T::V<S> as SimdBase<S>>::Mask::from_bitmask(simd, bits[w]);
                self.early.z.store_complex::<S>(row, z[w]);
                lanes.select(most, count[w]).store_slice(&mut self.early.count.0[0][row..row + n]);
                if bits[w] == 0 {
                    continue;
                }
                self.z.pack_complex::<S>(self.len, z[w], lanes);
                self.point.pack::<S>(0, self.len, numbers + splat(T::from_f64(row as f64)), lanes);
                if MANDELBROT {
                    self.c.pack_complex::<S>(self.len, c[w], lanes);
                }
                self.len += bits[w].count_ones() as usize;
            }
        }
        self.end_at::<S>(self.len);
    }

    /// One round of all points that are left.
    #[inline(always)]
    pub(super) fn go_on<S: Simd, const MANDELBROT: bool>(&mut self, simd: S, parameter: [T; 2], round: Round) {
        let n = T::V::<S>::LEN;
        let splat = |x| T::V::<S>::splat(simd, x);
        let (bound, two) = (splat(T::from_f64(round.radius * round.radius)), splat(T::from_f64(2.0)));
        let age = splat(T::from_f64(f64::from(round.age)));
        let all = C { re: splat(parameter[0]), im: splat(parameter[1]) };
        let (is_old, renew) = (round.old > 0, (round.old + 1).is_power_of_two() && round.age + round.steps >= OLD);
        let hole = splat(T::from_f64(f64::NAN));
        let mut alive = 0;
        for at in (0..self.len).step_by(WAYS * n) {
            let (mut z, mut c) = ([all; WAYS], [all; WAYS]);
            for w in 0..WAYS {
                z[w] = self.z.load_complex(simd, at + w * n);
                if MANDELBROT {
                    c[w] = self.c.load_complex(simd, at + w * n);
                }
            }
            for _ in 0..round.steps {
                for w in 0..WAYS {
                    let C { re, im } = z[w];
                    let (rr, ii, ri) = (re * re, im * im, re * im);
                    let im = if w % 2 == 0 { ri.mul_add(two, c[w].im) } else { (ri + ri) + c[w].im };
                    z[w] = C { re: (rr - ii) + c[w].re, im };
                }
            }
            let mut leave = [0_u64; WAYS];
            let mut some = 0;
            for w in 0..WAYS {
                let row = at + w * n;
                let start = self.z.load_complex::<S>(simd, row);
                let C { re, im } = z[w];
                // Holes are NaN, so they are never inside.
                let mut inside = (re * re + im * im).simd_le(bound);
                if !round.for_good {
                    inside &= (start.re * start.re + start.im * start.im).simd_le(bound);
                }
                let before = if is_old { self.seen.load_complex::<S>(simd, row) } else { start };
                let stay = inside & !(re.simd_eq(before.re) & im.simd_eq(before.im));
                alive += stay.to_bitmask().count_ones() as usize;
                leave[w] = (start.re.simd_eq(start.re) & !inside).to_bitmask();
                some |= leave[w];
                z[w].re = stay.select(re, hole);
            }
            if some != 0 {
                for w in 0..WAYS {
                    let row = at + w * n;
                    let start = self.z.load_complex::<S>(simd, row);
                    self.late.push::<S, MANDELBROT>(simd, start, c[w], age, self.point.load(simd, 0, row), leave[w]);
                }
            }
            for w in 0..WAYS {
                self.z.store_complex::<S>(at + w * n, z[w]);
                if renew {
                    self.seen.store_complex::<S>(at + w * n, z[w]);
                }
            }
        }
        if alive < self.len - self.len / 8 {
            self.compact::<S, MANDELBROT>(simd, is_old || renew);
        }
    }

    /// Closes the gaps between the points that are left, in order.
    #[inline(always)]
    fn compact<S: Simd, const MANDELBROT: bool>(&mut self, simd: S, is_old: bool) {
        let n = T::V::<S>::LEN;
        let mut kept = 0;
        for row in (0..self.len).step_by(n) {
            let z = self.z.load_complex::<S>(simd, row);
            let stay = z.re.simd_eq(z.re);
            let point = self.point.load::<S>(simd, 0, row);
            self.z.pack_complex::<S>(kept, z, stay);
            self.point.pack::<S>(0, kept, point, stay);
            if MANDELBROT {
                let c = self.c.load_complex::<S>(simd, row);
                self.c.pack_complex::<S>(kept, c, stay);
            }
            if is_old {
                let seen = self.seen.load_complex::<S>(simd, row);
                self.seen.pack_complex::<S>(kept, seen, stay);
            }
            kept += stay.to_bitmask().count_ones() as usize;
        }
        self.end_at::<S>(kept);
    }

    /// Marks the rows after the last as holes, up to a whole step of vectors.
    #[inline(always)]
    fn end_at<S: Simd>(&mut self, len: usize) {
        self.len = len;
        self.z.0[0][len..len.next_multiple_of(WAYS * T::V::<S>::LEN)].fill(T::from_f64(f64::NAN));
    }
}
