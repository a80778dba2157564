//! 16 bits of both coordinates of points of the plane, and the 32 bits of their codes, each from the other.
//!
//! A Hilbert code is the Morton code sent through an automaton: level by level from the top, the state (axes exchanged
//! or not, inverted or not) and the level's two bits give the two bits of the other code and the next state. The state
//! is kept with the bits in a byte, so that one lookup in a table that fits into a vector register is a whole step, of
//! one level or, where a register holds 64 bytes, of two.
//!
//! For it, words of four points are transposed into planes of bytes within their lanes: the order of the points does
//! not matter. Bits are spread and gathered by tables of half bytes.

use super::block::Direction;
use super::lattice::Curve;
use fearless_simd::{Simd, prelude::*};

/// Points of a block.
pub(crate) const BLOCK: usize = 512;

/// The first `n` words: points, `y | x << 16`, become codes, or codes points. States go on from the levels above.
#[inline(always)]
pub(crate) fn convert<S: Simd>(
    simd: S,
    words: &mut [u32; BLOCK],
    states: &mut [u8; BLOCK],
    n: usize,
    curve: Curve,
    direction: Direction,
) {
    let lanes = S::u32s::LEN;
    let tables = TableVectors::<S>::new(simd, direction);
    let groups = n.div_ceil(4 * lanes);
    for (words, states) in words.chunks_exact_mut(4 * lanes).zip(states.chunks_exact_mut(4 * lanes)).take(groups) {
        let [a, b, c, d] = transpose::<S>([
            S::u32s::from_slice(simd, &words[..lanes]),
            S::u32s::from_slice(simd, &words[lanes..2 * lanes]),
            S::u32s::from_slice(simd, &words[2 * lanes..3 * lanes]),
            S::u32s::from_slice(simd, &words[3 * lanes..]),
        ]);
        let mut planes = [a.bitcast(), b.bitcast(), c.bitcast(), d.bitcast()];
        if let Direction::Encode = direction {
            planes = tables.interleave(planes);
        }
        if let Curve::Hilbert = curve {
            let mut state = S::u8s::from_slice(simd, states);
            planes = tables.walk(planes, &mut state);
            state.store_slice(states);
        }
        if let Direction::Decode = direction {
            planes = tables.deinterleave(planes);
        }
        let [a, b, c, d] = planes;
        let [a, b, c, d] = transpose::<S>([a.bitcast(), b.bitcast(), c.bitcast(), d.bitcast()]);
        a.store_slice(&mut words[..lanes]);
        b.store_slice(&mut words[lanes..2 * lanes]);
        c.store_slice(&mut words[2 * lanes..3 * lanes]);
        d.store_slice(&mut words[3 * lanes..]);
    }
}

/// A 4 × 4 transposition of the bytes at equal lanes; its own inverse.
#[inline(always)]
fn transpose<S: Simd>([a, b, c, d]: [S::u32s; 4]) -> [S::u32s; 4] {
    let (a, c) = exchange::<S, 16>(a, c, 0x0000_ffff);
    let (b, d) = exchange::<S, 16>(b, d, 0x0000_ffff);
    let (a, b) = exchange::<S, 8>(a, b, 0x00ff_00ff);
    let (c, d) = exchange::<S, 8>(c, d, 0x00ff_00ff);
    [a, b, c, d]
}

/// Exchanges the fields of `a` above the mask with those of `b` within it.
#[inline(always)]
fn exchange<S: Simd, const BITS: u32>(a: S::u32s, b: S::u32s, mask: u32) -> (S::u32s, S::u32s) {
    (a & mask | b << BITS & !mask, a >> BITS & mask | b & !mask)
}

/// Lookup tables in registers.
struct TableVectors<S: Simd> {
    steps: S::u8s,
    spread: S::u8s,
    gather: S::u8s,
}

impl<S: Simd> TableVectors<S> {
    /// Whether a register holds the table of two levels.
    const TWO: bool = S::u8s::LEN == 64;

    #[inline(always)]
    fn new(simd: S, direction: Direction) -> Self {
        let steps = match direction {
            Direction::Encode => &MORTON_TO_HILBERT,
            Direction::Decode => &HILBERT_TO_MORTON,
        };
        Self {
            steps: if Self::TWO {
                S::u8s::from_slice(simd, &steps.two[..S::u8s::LEN])
            } else {
                S::u8s::block_splat(steps.one.simd_into(simd))
            },
            spread: S::u8s::block_splat(SPREAD.simd_into(simd)),
            gather: S::u8s::block_splat(GATHER.simd_into(simd)),
        }
    }

    /// Planes of y and x, low bytes first, to the planes of the Morton code.
    #[inline(always)]
    fn interleave(&self, [y0, y1, x0, x1]: [S::u8s; 4]) -> [S::u8s; 4] {
        [
            self.spread(y0 & 15, x0 & 15),
            self.spread(y0 >> 4, x0 >> 4),
            self.spread(y1 & 15, x1 & 15),
            self.spread(y1 >> 4, x1 >> 4),
        ]
    }

    /// Planes of the Morton code to those of y and x.
    #[inline(always)]
    fn deinterleave(&self, [a, b, c, d]: [S::u8s; 4]) -> [S::u8s; 4] {
        let (a, b, c, d) = (self.gather(a), self.gather(b), self.gather(c), self.gather(d));
        [b & 0xf0 | a >> 4, d & 0xf0 | c >> 4, b << 4 | a & 15, d << 4 | c & 15]
    }

    /// Half bytes of y and x, interleaved.
    #[inline(always)]
    fn spread(&self, y: S::u8s, x: S::u8s) -> S::u8s {
        self.spread.swizzle_dyn_within_blocks(y) << 1 | self.spread.swizzle_dyn_within_blocks(x)
    }

    /// Four bits of y, then four of x.
    #[inline(always)]
    fn gather(&self, plane: S::u8s) -> S::u8s {
        let upper = self.gather.swizzle_dyn_within_blocks(plane >> 4);
        upper << 2 | self.gather.swizzle_dyn_within_blocks(plane & 15)
    }

    /// Sends planes of digits through the automaton, the top plane first.
    #[inline(always)]
    fn walk(&self, [a, b, c, d]: [S::u8s; 4], state: &mut S::u8s) -> [S::u8s; 4] {
        let d = self.walk_plane(d, state);
        let c = self.walk_plane(c, state);
        let b = self.walk_plane(b, state);
        [self.walk_plane(a, state), b, c, d]
    }

    #[inline(always)]
    fn walk_plane(&self, plane: S::u8s, state: &mut S::u8s) -> S::u8s {
        if Self::TWO {
            let upper = self.steps.swizzle_dyn(*state | plane >> 4);
            let lower = self.steps.swizzle_dyn(upper & 0x30 | plane & 15);
            *state = lower & 0x30;
            return upper << 4 | lower & 15;
        }
        let a = self.level(*state, plane >> 6);
        let b = self.level(a, plane >> 4);
        let c = self.level(b, plane >> 2);
        let d = self.level(c, plane);
        *state = d & 0b1100;
        (a & 0b11) << 6 | (b & 0b11) << 4 | (c & 0b11) << 2 | d & 0b11
    }

    /// A step of one level; other bits of its arguments are ignored.
    #[inline(always)]
    fn level(&self, state: S::u8s, digit: S::u8s) -> S::u8s {
        self.steps.swizzle_dyn_within_blocks(state & 0b1100 | digit & 0b11)
    }
}

/// The automaton: the next state and the other code's digit by state and digit, `state << 2 | digit`; and the same of
/// two levels at once, `state << 4 | digits`.
struct Steps {
    one: [u8; 16],
    two: [u8; 64],
}

const MORTON_TO_HILBERT: Steps = steps(Direction::Encode);
const HILBERT_TO_MORTON: Steps = steps(Direction::Decode);

const fn steps(direction: Direction) -> Steps {
    let (mut one, mut two) = ([0; 16], [0; 64]);
    let mut i = 0;
    while i < 16 {
        one[i as usize] = step(direction, i);
        i += 1;
    }
    let mut i = 0;
    while i < 64 {
        let upper = step(direction, i >> 2);
        let lower = step(direction, upper & 0b1100 | i & 0b11);
        two[i as usize] = (lower & 0b1100) << 2 | (upper & 0b11) << 2 | lower & 0b11;
        i += 1;
    }
    Steps { one, two }
}

/// State bit 0: axes exchanged; bit 1: both inverted. In the frame so made, bits `a`, `b` of a level have the digit
/// `a`, `a ^ b`. The first and the last quarter of the curve have their axes exchanged, the last one is inverted too.
const fn step(direction: Direction, entry: u8) -> u8 {
    let (swap, invert) = (entry >> 2 & 1, entry >> 3 & 1);
    let given = (entry >> 1 & 1, entry & 1);
    let (a, b) = match direction {
        Direction::Encode => turned(swap, invert, given),
        Direction::Decode => (given.0, given.0 ^ given.1),
    };
    let (left, right) = match direction {
        Direction::Encode => (a, a ^ b),
        Direction::Decode => turned(swap, invert, (a, b)),
    };
    // Digits 00 and 11 have b = 0.
    (invert ^ (a & !b & 1)) << 3 | (swap ^ b ^ 1) << 2 | left << 1 | right
}

/// Into the frame of a state, or out of it: its own inverse.
const fn turned(swap: u8, invert: u8, (a, b): (u8, u8)) -> (u8, u8) {
    if swap == 1 { (b ^ invert, a ^ invert) } else { (a ^ invert, b ^ invert) }
}

/// Half a byte to every other bit.
const SPREAD: [u8; 16] = by_half_byte(6, 4, 2, 0);
/// The odd bits of half a byte to bits 5 and 4, the even ones to bits 1 and 0.
const GATHER: [u8; 16] = by_half_byte(5, 1, 4, 0);

/// A table that sends the four bits to these places.
const fn by_half_byte(a: u32, b: u32, c: u32, d: u32) -> [u8; 16] {
    let mut table = [0; 16];
    let mut i = 0_u8;
    while i < 16 {
        table[i as usize] = (i >> 3 & 1) << a | (i >> 2 & 1) << b | (i >> 1 & 1) << c | (i & 1) << d;
        i += 1;
    }
    table
}
