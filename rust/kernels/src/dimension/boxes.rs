//! How many boxes of a side hold a cell of a set.

use super::grid::Ladder;
use super::support::Domain;
use super::tiling::Tiling;
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::memory;

/// Boxes that hold a true cell, for every matrix and side: `(matrices, sides)`. Of the domain only the order of cells
/// counts.
pub fn counts(set: &[bool], domain: Domain<'_>, ladder: &Ladder, executor: &dyn Executor) -> Result<Vec<u64>> {
    let ([matrices, ..], size) = (domain.shape(), domain.size());
    if memory::product::<bool>("set", &[matrices, size])? != set.len() {
        return Err(KernelError::shape("set", format!("{} cells", set.len()), format!("{matrices} times {size}")));
    }
    let tiling = Tiling::new(domain, ladder)?;
    let sides = ladder.sides().len();
    let mut counts = memory::zeros("scales", memory::product::<u64>("scales", &[matrices, sides])?)?;
    for_each_chunk(executor, &mut counts, sides, |matrix, counts| {
        let cells = &set[matrix * size..(matrix + 1) * size];
        // As bytes: OR runs on whole vectors of them.
        tiling.each(
            cells,
            u8::from,
            |a, b| a | b,
            |k, boxes| {
                counts[k] = boxes.chunks(128).map(|part| u64::from(part.iter().sum::<u8>())).sum();
            },
        );
    });
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::super::support::Support;
    use super::*;
    use crate::executor::Serial;
    use proptest::prelude::*;

    fn of(shape: [usize; 3]) -> Domain<'static> {
        Domain::new(Support::Full, shape).unwrap()
    }

    fn digits(n: usize, base: usize, keep: impl Fn(usize, usize) -> bool) -> Vec<bool> {
        let inside = |mut i: usize, mut j: usize| {
            let mut all = true;
            while i > 0 || j > 0 {
                all &= keep(i % base, j % base);
                (i, j) = (i / base, j / base);
            }
            all
        };
        (0..n * n).map(|cell| inside(cell / n, cell % n)).collect()
    }

    #[test]
    fn carpets_have_their_powers() {
        let (carpet, dust) = (digits(81, 3, |i, j| i != 1 || j != 1), digits(81, 3, |i, j| i != 1 && j != 1));
        let both = [carpet, dust].concat();
        let ladder = Ladder::new(&[1, 3, 9, 27, 81], 81, [0, 0]).unwrap();
        let counted = counts(&both, of([2, 81, 81]), &ladder, &Serial).unwrap();
        assert_eq!(counted, [4096, 512, 64, 8, 1, 256, 64, 16, 4, 1]);
        let triangle = digits(256, 2, |i, j| i & j == 0);
        let ladder = Ladder::new(&[1, 2, 4, 8, 16], 256, [0, 0]).unwrap();
        assert_eq!(counts(&triangle, of([1, 256, 256]), &ladder, &Serial).unwrap(), [6561, 2187, 729, 243, 81]);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_look_at_every_cell(
            rows in 1_usize..40, columns in 1_usize..40, sides in prop::collection::btree_set(1_usize..20, 1..6),
            seed in 0_usize..1000,
        ) {
            let sides: Vec<usize> = sides.into_iter().collect();
            let set: Vec<bool> = (0..2 * rows * columns).map(|i| (i * i + seed) % 29 < 2).collect();
            let ladder = Ladder::new(&sides, 20, [0, 0]).unwrap();
            let counted = counts(&set, of([2, rows, columns]), &ladder, &Serial).unwrap();
            for (place, count) in counted.into_iter().enumerate() {
                let (matrix, side) = (place / sides.len(), sides[place % sides.len()]);
                let held: std::collections::HashSet<_> = (0..rows * columns)
                    .filter(|&at| set[matrix * rows * columns + at])
                    .map(|at| (at / columns / side, at % columns / side))
                    .collect();
                prop_assert_eq!(count, held.len() as u64);
            }
        }
    }

    #[test]
    fn shapes_must_hold() {
        let ladder = Ladder::new(&[1], 2, [0, 0]).unwrap();
        assert_eq!(counts(&[true; 3], of([1, 2, 2]), &ladder, &Serial).unwrap_err().argument, "set");
        assert_eq!(counts(&[], of([0, 1, 1]), &ladder, &Serial).unwrap(), []);
    }
}
