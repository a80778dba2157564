//! Heighway dragon: the turns of the folded strip and its path on the square lattice.
//!
//! Write `k = 2**a * m` with `m` odd: turn `k >= 1` goes left if `m = 1 (mod 4)`, else right. The heading after `k`
//! turns is the number of ones in the Gray code of `k`, in quarter turns. C. Davis and D. E. Knuth, "Number
//! representations and dragon curves", 1970. No edge is walked twice and no vertex is visited more than twice; after
//! `2**k` steps the path is `2**(k / 2)` from its start.

use crate::error::{KernelError, Result};
use crate::interrupt;
use crate::memory;

/// Most turns or vertices of one call: 64 GiB of vertices.
const MAX_POINTS: usize = 1 << 32;

fn check(n: usize) -> Result<()> {
    if n > MAX_POINTS {
        return Err(KernelError::value("n", n, format!("0 ..= {MAX_POINTS}")));
    }
    Ok(())
}

/// Turn `k` for `k >= 1`: `+1` to the left, `-1` to the right, in constant time.
pub fn turn(k: u64) -> i8 {
    let odd = k >> k.trailing_zeros().min(63);
    if odd & 2 == 0 { 1 } else { -1 }
}

/// Direction of step `k` (from vertex `k` to `k + 1`) in quarter turns to the left of the first step, 0 to 3.
pub fn heading(k: u64) -> u32 {
    (k ^ k >> 1).count_ones() & 3
}

/// The first `n` turns, `k = 1 ..= n`.
pub fn turns(n: usize) -> Result<Vec<i8>> {
    check(n)?;
    let turns = (1..=n as u64).map(|k| {
        interrupt::check_each(k as usize, 1 << 16);
        turn(k)
    });
    memory::collected("n", turns)
}

/// The lattice step of a heading.
pub fn unit(heading: u32) -> (i64, i64) {
    match heading & 3 {
        0 => (1, 0),
        1 => (0, 1),
        2 => (-1, 0),
        _ => (0, -1),
    }
}

/// Vertex `k` by itself, in as many steps as `k` has bits: vertex `2p` is `(1 + i)` times vertex `p`.
pub fn vertex(k: u64) -> (i64, i64) {
    let (mut x, mut y) = (0, 0);
    for bit in (0..u64::BITS - k.leading_zeros()).rev() {
        (x, y) = (x - y, x + y);
        let prefix = k >> bit;
        if prefix & 1 == 1 {
            let (dx, dy) = unit(heading(prefix - 1));
            (x, y) = (x + dx, y + dy);
        }
    }
    (x, y)
}

/// The first `n` lattice vertices, shape (n, 2) as (x, y), from the origin with the first step along +x.
pub fn vertices(n: usize) -> Result<Vec<i64>> {
    check(n)?;
    let (mut x, mut y) = (0, 0);
    let mut out = memory::with_capacity("n", 2 * n)?;
    for k in 0..n as u64 {
        interrupt::check_each(k as usize, 1 << 16);
        out.extend([x, y]);
        let (dx, dy) = unit(heading(k));
        (x, y) = (x + dx, y + dy);
    }
    Ok(out)
}
