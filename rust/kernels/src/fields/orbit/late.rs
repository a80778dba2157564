//! Points that left in a round of several steps, and the step at which they did.

use super::columns::{Columns, WAYS};
use crate::fields::lanes::{C, Real};
use fearless_simd::{Simd, SimdMask, prelude::*};

/// Points whose orbits leave the disc after the first steps: until [`Late::finish`] in the state at the beginning of
/// that round.
pub(super) struct Late<T> {
    pub(super) z: Columns<T, 2>,
    pub(super) c: Columns<T, 2>,
    pub(super) count: Columns<T, 1>,
    pub(super) point: Columns<T, 1>,
    pub(super) len: usize,
}

impl<T: Real> Late<T> {
    #[inline(always)]
    pub(super) fn push<S: Simd, const MANDELBROT: bool>(
        &mut self,
        simd: S,
        z: C<T::V<S>>,
        c: C<T::V<S>>,
        count: T::V<S>,
        point: T::V<S>,
        lanes: u64,
    ) {
        let row = self.len;
        self.len += lanes.count_ones() as usize;
        let lanes = SimdMask::from_bitmask(simd, lanes);
        self.z.pack_complex::<S>(row, z, lanes);
        self.point.pack::<S>(0, row, point, lanes);
        count.store_slice(&mut self.count.0[0][row..row + T::V::<S>::LEN]);
        if MANDELBROT {
            self.c.pack_complex::<S>(row, c, lanes);
        }
    }

    /// Repeats the steps of their rounds, testing each iterate.
    #[inline(always)]
    pub(super) fn finish<S: Simd, const MANDELBROT: bool>(&mut self, simd: S, parameter: [T; 2], radius: f64) {
        let n = T::V::<S>::LEN;
        let splat = |x| T::V::<S>::splat(simd, x);
        let (zero, one, two) = (splat(T::default()), splat(T::from_f64(1.0)), splat(T::from_f64(2.0)));
        let bound = splat(T::from_f64(radius * radius));
        // Rows after the last count as having left.
        let behind = self.len..self.len.next_multiple_of(WAYS * n);
        self.z.0[0][behind.clone()].fill(T::from_f64(2.0 * radius));
        self.z.0[1][behind].fill(T::default());
        let all = C { re: splat(parameter[0]), im: splat(parameter[1]) };
        for at in (0..self.len).step_by(WAYS * n) {
            let (mut z, mut c, mut count) = ([all; WAYS], [all; WAYS], [zero; WAYS]);
            for w in 0..WAYS {
                let row = at + w * n;
                z[w] = self.z.load_complex(simd, row);
                if MANDELBROT {
                    c[w] = self.c.load_complex(simd, row);
                }
                count[w] = self.count.load::<S>(simd, 0, row);
            }
            loop {
                let mut some = false;
                for w in 0..WAYS {
                    let C { re, im } = z[w];
                    let (rr, ii, ri) = (re * re, im * im, re * im);
                    let inside = (rr + ii).simd_le(bound);
                    z[w].re = inside.select((rr - ii) + c[w].re, re);
                    z[w].im = inside.select(ri.mul_add(two, c[w].im), im);
                    count[w] = inside.select(count[w] + one, count[w]);
                    some |= inside.any_true();
                }
                if !some {
                    break;
                }
            }
            for w in 0..WAYS {
                let row = at + w * n;
                self.z.store_complex::<S>(row, z[w]);
                count[w].store_slice(&mut self.count.0[0][row..row + n]);
            }
        }
    }
}
