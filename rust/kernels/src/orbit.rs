//! The orbit of `z -> z**2 + c` until it leaves a disc, for many points at once; where it left, it stays.

use crate::lanes::{C, PIECE, Piece, Real};
use fearless_simd::{Simd, SimdMask, prelude::*};

/// What is iterated: which of `z_0` and `c` is the point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Family<T> {
    /// `z_0` is the point, `c` is the same for all.
    Julia(T, T),
    /// `z_0 = 0`, `c` is the point.
    Mandelbrot,
}

/// First iterates outside of the disc, and their numbers; lanes that stay inside have `max_iter`.
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

/// Follows the orbits of a piece, four vectors at a time to hide the latency of each.
///
/// NaN is never inside the disc, so it is kept where it is.
#[inline(always)]
pub(crate) fn escape<S: Simd, T: Real>(
    simd: S,
    piece: &Piece<T>,
    family: Family<T>,
    max_iter: u32,
    radius: f64,
    out: &mut Escaped<T>,
) {
    const WAYS: usize = 4;
    let n = T::V::<S>::LEN;
    let splat = |x| T::V::<S>::splat(simd, x);
    let (zero, one, bound) = (splat(T::default()), splat(T::from_f64(1.0)), splat(T::from_f64(radius * radius)));
    for at in (0..piece.len).step_by(WAYS * n) {
        let mut z: [C<T::V<S>>; WAYS] = std::array::from_fn(|w| piece.load(simd, at + w * n));
        let c = match family {
            Family::Julia(re, im) => [C { re: splat(re), im: splat(im) }; WAYS],
            Family::Mandelbrot => std::mem::replace(&mut z, [C { re: zero, im: zero }; WAYS]),
        };
        let mut count = [zero; WAYS];
        for _ in 0..max_iter {
            let mut some = false;
            for w in 0..WAYS {
                let (rr, ii) = (z[w].re * z[w].re, z[w].im * z[w].im);
                let inside = (rr + ii).simd_le(bound);
                let ri = z[w].re * z[w].im;
                let next = C { re: (rr - ii) + c[w].re, im: (ri + ri) + c[w].im };
                z[w] = C { re: inside.select(next.re, z[w].re), im: inside.select(next.im, z[w].im) };
                count[w] += inside.select(one, zero);
                some |= inside.any_true();
            }
            if !some {
                break;
            }
        }
        for w in 0..WAYS {
            let lanes = at + w * n..at + (w + 1) * n;
            z[w].re.store_slice(&mut out.re[lanes.clone()]);
            z[w].im.store_slice(&mut out.im[lanes.clone()]);
            count[w].store_slice(&mut out.count[lanes]);
        }
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
