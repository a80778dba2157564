//! Sorting of the weights of a row.

use crate::memory::{self, OrLeave};

/// Below this many a comparison sort is quicker.
const FEW: usize = 128;

/// Sorts numbers that are 0 or more by the digits of their bits, which are in the order of the numbers.
///
/// # Panics
///
/// Unwinds where memory has no room, as tasks do.
pub(super) fn by_digits(numbers: &mut [f32], spare: &mut Vec<f32>) {
    if numbers.len() < FEW {
        numbers.sort_unstable_by(f32::total_cmp);
        return;
    }
    spare.clear();
    memory::extend("weights", spare, numbers.iter().copied()).or_leave();
    let digit = |x: f32, place: usize| (x.to_bits() >> (8 * place)) as usize & 255;
    let mut counts = [[0_u32; 256]; 4];
    for &x in &*numbers {
        for (place, counts) in counts.iter_mut().enumerate() {
            counts[digit(x, place)] += 1;
        }
    }
    let (mut from, mut to): (&mut [f32], &mut [f32]) = (numbers, spare);
    let mut moves = 0;
    for (place, counts) in counts.iter_mut().enumerate() {
        if counts[digit(from[0], place)] as usize == from.len() {
            continue;
        }
        let mut start = 0;
        for count in counts.iter_mut() {
            start += std::mem::replace(count, start);
        }
        for &x in &*from {
            let at = &mut counts[digit(x, place)];
            to[*at as usize] = x;
            *at += 1;
        }
        (from, to) = (to, from);
        moves += 1;
    }
    if moves % 2 == 1 {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn digits_sort_as_comparisons_do(mut numbers in prop::collection::vec(0.0_f32..1.0, 0..400), power in 0_i32..9) {
            numbers.iter_mut().for_each(|x| *x = x.powi(power));
            let mut wanted = numbers.clone();
            wanted.sort_unstable_by(f32::total_cmp);
            by_digits(&mut numbers, &mut Vec::new());
            prop_assert_eq!(numbers, wanted);
        }
    }
}
