//! Cantor sets: the middle-thirds set as points of [0, 1), and its integer analogues, the numbers with digits from a
//! set.
//!
//! For a base `b` and digits `D` with 0 in `D`, `S = { sum d_i b**i : d_i in D }` has exactly `|D|**k` members below
//! `b**k`. Digits {0, 2} in base 3 are the classical set (all even); {0, 1} in base `b` adds up to every integer with
//! `b - 1` summands.

use crate::error::{KernelError, Result};
use crate::interrupt;
use crate::memory;

/// `2**depth` points of 8 bytes: half a gigabyte.
const MAX_DEPTH: u32 = 26;

/// Integers below `3**depth` whose `depth` ternary digits are all 0 or 2, ascending; `2**depth` of them.
pub fn numerators(depth: u32) -> Result<Vec<i64>> {
    if depth > MAX_DEPTH {
        return Err(KernelError::value("depth", depth, format!("0 ..= {MAX_DEPTH}")));
    }
    digit_offsets(3_i64.pow(depth), 3, &[0, 2])
}

/// Left ends of the `2**depth` intervals of step `depth` of the middle-thirds construction, ascending, in [0, 1).
///
/// Each is a [`numerators`] member over `3**depth`, rounded once.
pub fn points(depth: u32) -> Result<Vec<f64>> {
    let scale = 3_f64.powi(depth.min(MAX_DEPTH) as i32);
    memory::collected("depth", numerators(depth)?.into_iter().map(|p| p as f64 / scale))
}

/// How many members [`digit_offsets`] has; `digits` increase.
fn count(n: i64, base: i64, digits: &[i64]) -> usize {
    let choices = digits.len() as i64;
    let (mut place, mut shorter) = (1, 0);
    // The place value of n's highest digit. Members with fewer digits count apart, unless 0 is a digit: then they are
    // those with leading zeros.
    let mut lead = 1;
    while n / base >= lead {
        lead *= base;
        place *= choices;
        shorter += if digits[0] == 0 { 0 } else { place };
    }
    let (mut rest, mut members) = (n, shorter);
    while lead > 0 {
        let digit = rest / lead;
        let below = digits.partition_point(|&d| d < digit);
        members += below as i64 * place;
        if digits.get(below) != Some(&digit) {
            break;
        }
        (rest, lead, place) = (rest % lead, lead / base, place / choices);
    }
    members as usize
}

/// Integers in `0 .. n` whose base-`base` digits (without leading zeros) are all in `digits`, ascending.
pub fn digit_offsets(n: i64, base: i64, digits: &[i64]) -> Result<Vec<i64>> {
    if n < 0 {
        return Err(KernelError::value("n", n, "0 or more"));
    }
    if base < 2 {
        return Err(KernelError::value("base", base, "2 or more"));
    }
    let mut sorted = memory::copied("digits", digits)?;
    sorted.sort_unstable();
    if sorted.is_empty() || sorted[0] < 0 || sorted[sorted.len() - 1] >= base || sorted.windows(2).any(|w| w[0] == w[1])
    {
        let allowed = format!("one or more different integers in 0 ..= {}", base - 1);
        return Err(KernelError::value("digits", format!("{digits:?}"), allowed));
    }
    // One digit longer at a time: each generation is ascending and above the one before.
    let mut out = memory::with_capacity("n", count(n, base, &sorted))?;
    out.extend(sorted.iter().copied().filter(|&d| d < n));
    let mut generation = usize::from(sorted[0] == 0)..out.len();
    while !generation.is_empty() {
        let end = out.len();
        for parent in generation {
            interrupt::check_each(parent, 1 << 12);
            let Some(shifted) = out[parent].checked_mul(base).filter(|&s| s < n) else { break };
            out.extend(sorted.iter().map_while(|d| shifted.checked_add(*d).filter(|&x| x < n)));
        }
        generation = end..out.len();
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_counted_before_they_are_listed() {
        for (base, digits) in [(2, &[0, 1][..]), (3, &[0, 2]), (3, &[1, 2]), (5, &[2]), (7, &[0]), (10, &[0, 3, 9])] {
            for n in (0..400).chain([i64::from(u16::MAX), 59049, 100_000]) {
                assert_eq!(
                    count(n, base, digits),
                    digit_offsets(n, base, digits).unwrap().len(),
                    "{n} {base} {digits:?}"
                );
            }
        }
    }
}
