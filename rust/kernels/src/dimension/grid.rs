//! Boxes of whatever sides over a matrix: each side's boxes are joined from those of a smaller side that divides it.
//!
//! The grid begins `origin` cells above and left of the first cell, and boxes that reach beyond the last row or column
//! are boxes too.

use crate::error::{KernelError, Result};
use crate::interrupt;
use crate::memory::{self, OrLeave};

/// Sides of boxes, increasing, each with the place of the side that its boxes are joined from.
#[derive(Clone, Debug)]
pub struct Ladder {
    sides: Vec<usize>,
    from: Vec<Option<usize>>,
    origin: [usize; 2],
}

/// Boxes of one side: rows, columns, and a value each.
#[derive(Clone, Debug)]
pub struct Joined<T> {
    /// Rows and columns of boxes.
    pub shape: [usize; 2],
    /// Row by row.
    pub boxes: Vec<T>,
}

impl Ladder {
    /// Sides in `1 ..= longest`, increasing; `origin` counts modulo each of them.
    pub fn new(sides: &[usize], longest: usize, origin: [usize; 2]) -> Result<Self> {
        if sides.is_empty() || sides.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(KernelError::value("scales", format!("{sides:?}"), "one or more integers, increasing"));
        }
        if sides[0] == 0 || sides[sides.len() - 1] > longest {
            return Err(KernelError::value("scales", format!("{sides:?}"), format!("1 ..= {longest}")));
        }
        if origin.iter().any(|&o| o >= sides[sides.len() - 1]) {
            return Err(KernelError::value("origin", format!("{origin:?}"), "below the largest scale"));
        }
        // Boxes of side 1 are the cells, which know no origin.
        let from = |i: usize| (0..i).rev().find(|&j| sides[j] > 1 && sides[i].is_multiple_of(sides[j]));
        Ok(Self { sides: sides.to_vec(), from: (0..sides.len()).map(from).collect(), origin })
    }

    /// The place of the side whose boxes those of a side are joined from; none where they are joined from cells.
    pub fn below(&self, place: usize) -> Option<usize> {
        self.from[place]
    }

    /// Cells before the first at which the grid begins.
    pub fn origin(&self) -> [usize; 2] {
        self.origin
    }

    /// The sides.
    pub fn sides(&self) -> &[usize] {
        &self.sides
    }

    /// The boxes of every side, one side after the other, of cells that `load` reads; `visit` gets the place of the side
    /// and its boxes.
    ///
    /// # Panics
    ///
    /// Unwinds where memory has no room, as tasks do.
    pub fn each<S: Copy, T: Copy>(
        &self,
        cells: &[S],
        shape: [usize; 2],
        load: impl Fn(S) -> T,
        join: impl Fn(T, T) -> T,
        mut visit: impl FnMut(usize, &Joined<T>),
    ) {
        let mut kept: Vec<Option<Joined<T>>> = (0..self.sides.len()).map(|_| None).collect();
        for (i, &side) in self.sides.iter().enumerate() {
            let boxes = match self.from[i].map(|j| (self.sides[j], kept[j].as_ref())) {
                Some((smaller, Some(below))) => {
                    let origin = self.origin.map(|o| (o % side - o % smaller) / smaller);
                    joined(&below.boxes, below.shape, side / smaller, origin, |x| x, &join)
                }
                _ => joined(cells, shape, side, self.origin.map(|o| o % side), &load, &join),
            }
            .or_leave();
            visit(i, &boxes);
            if self.from[i..].contains(&Some(i)) {
                kept[i] = Some(boxes);
            }
        }
    }
}

/// Boxes of `side` cells.
fn joined<S: Copy, T: Copy>(
    cells: &[S],
    [rows, columns]: [usize; 2],
    side: usize,
    [above, left]: [usize; 2],
    load: impl Fn(S) -> T,
    join: impl Fn(T, T) -> T,
) -> Result<Joined<T>> {
    let shape = [(rows + above).div_ceil(side), (columns + left).div_ceil(side)];
    let mut boxes = memory::with_capacity("scales", shape[0] * shape[1])?;
    let mut line: Vec<T> = memory::with_capacity("scales", columns)?;
    for i in 0..shape[0] {
        interrupt::check_each(i, 1 << 6);
        let first = (i * side).saturating_sub(above);
        let last = ((i + 1) * side - above).min(rows);
        line.clear();
        line.extend(cells[first * columns..(first + 1) * columns].iter().map(|&x| load(x)));
        for row in first + 1..last {
            let row = &cells[row * columns..(row + 1) * columns];
            line.iter_mut().zip(row).for_each(|(sum, &x)| *sum = join(*sum, load(x)));
        }
        let (head, rest) = line.split_at((side - left).min(columns));
        let one = |part: &[T]| part[1..].iter().fold(part[0], |sum, &x| join(sum, x));
        boxes.push(one(head));
        if side == 1 {
            boxes.extend_from_slice(rest);
        } else if side == 2 {
            let pairs = rest.chunks_exact(2);
            let odd = pairs.remainder().first().copied();
            boxes.extend(pairs.map(|pair| join(pair[0], pair[1])));
            boxes.extend(odd);
        } else {
            boxes.extend(rest.chunks(side).map(one));
        }
    }
    Ok(Joined { shape, boxes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn boxes_are_the_sums_of_their_cells(
            rows in 1_usize..20, columns in 1_usize..20, sides in prop::collection::btree_set(1_usize..13, 1..5),
            above in 0_usize..13, left in 0_usize..13,
        ) {
            let sides: Vec<usize> = sides.into_iter().collect();
            let largest = sides[sides.len() - 1];
            let origin = [above % largest, left % largest];
            let cells: Vec<u32> = (0..rows * columns).map(|i| (i * i % 17) as u32).collect();
            let ladder = Ladder::new(&sides, 12, origin).unwrap();
            let mut seen = 0;
            ladder.each(&cells, [rows, columns], u64::from, |a, b| a + b, |k, joined| {
                seen += 1;
                let side = sides[k];
                assert_eq!(joined.boxes.len(), joined.shape[0] * joined.shape[1]);
                assert_eq!(joined.boxes.iter().sum::<u64>(), cells.iter().map(|&x| u64::from(x)).sum::<u64>());
                let mut twin = vec![0; joined.boxes.len()];
                for (at, &cell) in cells.iter().enumerate() {
                    let (i, j) = (at / columns + origin[0] % side, at % columns + origin[1] % side);
                    twin[i / side * joined.shape[1] + j / side] += u64::from(cell);
                }
                assert_eq!(joined.boxes, twin);
            });
            prop_assert_eq!(seen, sides.len());
        }
    }

    #[test]
    fn ladders_are_refused_by_name() {
        for (sides, origin, argument) in [
            (&[][..], [0, 0], "scales"),
            (&[0, 2], [0, 0], "scales"),
            (&[2, 2], [0, 0], "scales"),
            (&[4, 2], [0, 0], "scales"),
            (&[2, 9], [0, 0], "scales"),
            (&[2, 4], [4, 0], "origin"),
        ] {
            assert_eq!(Ladder::new(sides, 8, origin).unwrap_err().argument, argument);
        }
    }
}
