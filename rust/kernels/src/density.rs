//! Information density of token sequences: how often the token changes around a position.

use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::{interrupt, memory};

/// Shares, in `[0, 1]`, of positions whose token differs from the next one, among those at most `radius` away that are in
/// the sequence; the last position has no next one and counts as unchanged. Sequences are the rows of `(batch, length)`,
/// and none looks at another. A radius of 0 gives the changes themselves.
pub fn density<T: PartialEq + Sync>(
    tokens: &[T],
    [batch, length]: [usize; 2],
    radius: usize,
    executor: &dyn Executor,
) -> Result<Vec<f32>> {
    if memory::product::<T>("tokens", &[batch, length])? != tokens.len() {
        let given = format!("{} tokens", tokens.len());
        return Err(KernelError::shape("tokens", given, format!("({batch}, {length})")));
    }
    let mut densities = memory::zeros::<f32>("tokens", tokens.len())?;
    for_each_chunk(executor, &mut densities, length.max(1), |row, densities| {
        let row = &tokens[row * length..(row + 1) * length];
        let change = |i: usize| u64::from(i + 1 < length && row[i] != row[i + 1]);
        // The window moves along: what enters is added, what leaves is taken away.
        let mut changes: u64 = (0..length.min(radius)).map(change).sum();
        for (i, density) in densities.iter_mut().enumerate() {
            interrupt::check_each(i, 1 << 16);
            changes += i.checked_add(radius).filter(|&enters| enters < length).map_or(0, change);
            changes -= i.checked_sub(radius.saturating_add(1)).map_or(0, change);
            let places = i.saturating_add(radius).min(length - 1) - i.saturating_sub(radius) + 1;
            *density = changes as f32 / places as f32;
        }
    });
    Ok(densities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;

    const THREES: [u32; 9] = [1, 1, 1, 2, 2, 2, 3, 3, 3];

    fn spread(values: &[f32]) -> f32 {
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        values.iter().map(|x| (x - mean).powi(2)).sum()
    }

    #[test]
    fn changes_are_dense_and_repetition_is_not() {
        assert_eq!(density(&THREES, [1, 9], 0, &Serial).unwrap(), [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(density(&[7; 5], [1, 5], 2, &Serial).unwrap(), [0.0; 5]);
        assert_eq!(density(&[7], [1, 1], 3, &Serial).unwrap(), [0.0]);
        assert_eq!(density::<u32>(&[], [0, 4], 1, &Serial).unwrap(), []);
        assert_eq!(density::<u32>(&[], [4, 0], 1, &Serial).unwrap(), []);
        let mut last = f32::INFINITY;
        for radius in [0, 1, 2, 4, 8, usize::MAX] {
            let smooth = density(&THREES, [1, 9], radius, &Serial).unwrap();
            assert!(smooth.iter().all(|d| (0.0..=1.0).contains(d)));
            assert!(spread(&smooth) <= last, "{radius}");
            last = spread(&smooth);
        }
    }

    #[test]
    fn a_window_is_the_mean_of_what_it_covers() {
        let tokens: Vec<u32> = (0..100).map(|i| i * i % 23 / 4).collect();
        let changes = density(&tokens, [4, 25], 0, &Serial).unwrap();
        for radius in [1, 3, 24, 30] {
            for (i, got) in density(&tokens, [4, 25], radius, &Serial).unwrap().into_iter().enumerate() {
                let (start, place) = (i / 25 * 25, i % 25);
                let window = &changes[start + place.saturating_sub(radius)..=start + (place + radius).min(24)];
                let mean = window.iter().sum::<f32>() / window.len() as f32;
                assert!((got - mean).abs() < 1e-6, "{i} {radius}: {got}, not {mean}");
            }
        }
        assert_eq!(density(&tokens, [3, 25], 1, &Serial).unwrap_err().argument, "tokens");
    }
}
