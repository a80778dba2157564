//! The bits of coordinates interleaved, axis 0 first, and back.

/// The code of one point.
pub(crate) fn interleave(point: &[u64]) -> u64 {
    match *point {
        [x] => x,
        [y, x] => spread2(y) << 1 | spread2(x),
        [z, y, x] => spread3(z) << 2 | spread3(y) << 1 | spread3(x),
        _ => {
            let n = point.len();
            (0..u64::BITS as usize / n)
                .rev()
                .fold(0, |code, b| point.iter().fold(code, |code, x| code << 1 | x >> b & 1))
        }
    }
}

/// The point of one code.
pub(crate) fn deinterleave(code: u64, point: &mut [u64]) {
    match point {
        [x] => *x = code,
        [y, x] => (*y, *x) = (gather2(code >> 1), gather2(code)),
        [z, y, x] => (*z, *y, *x) = (gather3(code >> 2), gather3(code >> 1), gather3(code)),
        _ => {
            let n = point.len();
            for (i, x) in point.iter_mut().enumerate() {
                let shift = n - 1 - i;
                *x = (0..u64::BITS as usize / n).fold(0, |x, b| x | (code >> (b * n + shift) & 1) << b);
            }
        }
    }
}

const MASKS2: [u64; 6] = [
    0x5555_5555_5555_5555,
    0x3333_3333_3333_3333,
    0x0f0f_0f0f_0f0f_0f0f,
    0x00ff_00ff_00ff_00ff,
    0x0000_ffff_0000_ffff,
    0x0000_0000_ffff_ffff,
];

fn spread2(x: u64) -> u64 {
    (0..5).rev().fold(x & MASKS2[5], |x, i| (x | x << (1 << i)) & MASKS2[i])
}

fn gather2(x: u64) -> u64 {
    (0..5).fold(x & MASKS2[0], |x, i| (x | x >> (1 << i)) & MASKS2[i + 1])
}

const MASKS3: [u64; 6] = [
    0x1249_2492_4924_9249,
    0x10c3_0c30_c30c_30c3,
    0x100f_00f0_0f00_f00f,
    0x001f_0000_ff00_00ff,
    0x001f_0000_0000_ffff,
    0x0000_0000_001f_ffff,
];

#[inline(always)]
pub(crate) fn spread3(x: u64) -> u64 {
    (0..5).rev().fold(x & MASKS3[5], |x, i| (x | x << (2 << i)) & MASKS3[i])
}

#[inline(always)]
pub(crate) fn gather3(x: u64) -> u64 {
    (0..5).fold(x & MASKS3[0], |x, i| (x | x >> (2 << i)) & MASKS3[i + 1])
}
