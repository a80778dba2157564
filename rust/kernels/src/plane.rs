//! Codes of the plane's points, many points at a time: for the Hilbert curve without a walk over its levels.
//!
//! At each level the curve has a state, swapped axes `s` and inverted axes `i`, and a digit of two bits `h`, `l`. With
//! the axes exchanged at every other level, so that the state of a level of zeros stays as it is (the curve is
//! prefix-stable), the digit moves the state to `s ^ h ^ l`, `i ^ (h & l)`.
//!
//! *Decoding*: digits are known, so states are exclusive-or prefixes of `h ^ l` and `h & l`.
//!
//! *Encoding*: with coordinate bits `u`, `v`, `l = u ^ v` and `h = v ^ (s & l) ^ i`, so a level is an affine map of the
//! state over GF(2). With `s` and `i` exchanged at every other level, the linear parts are the powers of one matrix `W` of
//! order 3, `W**2 = W + 1`: they multiply like `a + b W`, in GF(4). Maps compose associatively, so all states are prefixes
//! again.
//!
//! A prefix of a word's bits takes one step a doubling (W. D. Hillis and G. L. Steele, "Data parallel algorithms", 1986), and
//! every step is a few bitwise operations, which the compiler makes vectors of, a lane a point.

use crate::error::Result;
use crate::executor::Executor;
use crate::lattice::{Coordinate, decode_plane, encode_plane};
use fearless_simd::{Level, dispatch};

/// Points worked on together, in buffers on the stack.
const BLOCK: usize = 256;

/// Codes of points (n, 2), on the Hilbert curve or in Morton order, in the narrowest words that hold them.
pub(crate) fn encode<T: Coordinate, const HILBERT: bool>(
    level: Level,
    coords: &[T],
    order: u32,
    executor: &dyn Executor,
) -> Result<Vec<u64>> {
    encode_plane(coords, order, executor, |coords, out| {
        if order <= 16 {
            dispatch!(level, _simd => narrow::encode::<T, HILBERT>(coords, out))
        } else {
            dispatch!(level, _simd => wide::encode::<T, HILBERT>(coords, out))
        }
    })
}

/// Points (n, 2) of codes; see [`encode`].
pub(crate) fn decode<T: Coordinate, const HILBERT: bool>(
    level: Level,
    index: &[T],
    order: u32,
    executor: &dyn Executor,
) -> Result<Vec<u64>> {
    decode_plane(index, order, executor, |index, out| {
        if order <= 16 {
            dispatch!(level, _simd => narrow::decode::<T, HILBERT>(index, out))
        } else {
            dispatch!(level, _simd => wide::decode::<T, HILBERT>(index, out))
        }
    })
}

/// The word that holds a coordinate, and the one that holds a code.
macro_rules! plane {
    ($name:ident, $half:ty, $code:ty, $doublings:expr, $masks:expr) => {
        pub(crate) mod $name {
            use super::{BLOCK, Coordinate};

            /// Levels of odd number.
            const ODD: $half = <$half>::MAX / 3 << 1;

            #[inline(always)]
            fn spread(x: $half) -> $code {
                $masks.iter().fold(<$code>::from(x), |x, &(shift, mask)| (x | x << shift) & mask)
            }

            #[inline(always)]
            fn gather(x: $code) -> $half {
                let mut x = x & $masks[$masks.len() - 1].1;
                for i in (0..$masks.len()).rev() {
                    let mask = if i == 0 { <$code>::from(<$half>::MAX) } else { $masks[i - 1].1 };
                    x = (x | x >> $masks[i].0) & mask;
                }
                x as $half
            }

            /// The digits' bits of a point.
            #[inline(always)]
            fn digits(y: $half, x: $half) -> ($half, $half) {
                let l = y ^ x;
                let v = x ^ (l & ODD);
                let (mut a, mut b) = (l | ODD, !l);
                let (e, m) = (v ^ l, v & l);
                let turn = (e ^ m) & ODD;
                let (mut c, mut d) = (m ^ turn, e ^ turn);
                // Bits that come in from above are zeros: maps to the state that the curve starts in.
                for step in 0..$doublings {
                    let shift = 1 << step;
                    let (a2, b2, c2, d2) = (a >> shift, b >> shift, c >> shift, d >> shift);
                    let both = a & c2;
                    c ^= both ^ (b & d2);
                    d ^= both ^ ((a ^ b) & (c2 ^ d2));
                    let both = a & a2;
                    (a, b) = (both ^ (b & b2), both ^ ((a ^ b) & (a2 ^ b2)));
                }
                let (p, q) = (c >> 1, d >> 1);
                let turn = (p ^ q) & ODD;
                (v ^ ((p ^ turn) & l) ^ (q ^ turn), l)
            }

            /// The point of digits.
            #[inline(always)]
            fn point(h: $half, l: $half) -> ($half, $half) {
                let (mut swap, mut invert) = (h ^ l, h & l);
                for step in 0..$doublings {
                    swap ^= swap >> (1 << step);
                    invert ^= invert >> (1 << step);
                }
                let turn = (l & ((swap >> 1) ^ ODD)) ^ (invert >> 1);
                (h ^ l ^ turn, h ^ turn)
            }

            /// Codes of points (n, 2), and all bits that any coordinate has.
            #[inline(always)]
            pub(crate) fn encode<T: Coordinate, const HILBERT: bool>(coords: &[T], out: &mut [u64]) -> u64 {
                let (mut y, mut x) = ([0; BLOCK], [0; BLOCK]);
                let mut used = 0;
                for (coords, out) in coords.chunks(2 * BLOCK).zip(out.chunks_mut(BLOCK)) {
                    for ((row, y), x) in coords.chunks_exact(2).zip(&mut y).zip(&mut x) {
                        let (a, b) = (row[0].bits(), row[1].bits());
                        used |= a | b;
                        (*y, *x) = (a as $half, b as $half);
                    }
                    if HILBERT {
                        for (y, x) in y.iter_mut().zip(&mut x) {
                            (*y, *x) = digits(*y, *x);
                        }
                    }
                    for ((out, &h), &l) in out.iter_mut().zip(&y).zip(&x) {
                        *out = u64::from(spread(h) << 1 | spread(l));
                    }
                }
                used
            }

            /// Points (n, 2) of codes, and all bits that any code has.
            #[inline(always)]
            pub(crate) fn decode<T: Coordinate, const HILBERT: bool>(index: &[T], out: &mut [u64]) -> u64 {
                let (mut y, mut x) = ([0; BLOCK], [0; BLOCK]);
                let mut used = 0;
                for (index, out) in index.chunks(BLOCK).zip(out.chunks_mut(2 * BLOCK)) {
                    for ((code, h), l) in index.iter().zip(&mut y).zip(&mut x) {
                        let code = code.bits();
                        used |= code;
                        (*h, *l) = (gather((code as $code) >> 1), gather(code as $code));
                    }
                    if HILBERT {
                        for (y, x) in y.iter_mut().zip(&mut x) {
                            (*y, *x) = point(*y, *x);
                        }
                    }
                    for ((row, &y), &x) in out.chunks_exact_mut(2).zip(&y).zip(&x) {
                        (row[0], row[1]) = (u64::from(y), u64::from(x));
                    }
                }
                used
            }
        }
    };
}

plane!(narrow, u16, u32, 4, [(8_u32, 0x00ff_00ff_u32), (4, 0x0f0f_0f0f), (2, 0x3333_3333), (1, 0x5555_5555)]);
plane!(
    wide,
    u32,
    u64,
    5,
    [
        (16_u32, 0x0000_ffff_0000_ffff_u64),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ]
);
