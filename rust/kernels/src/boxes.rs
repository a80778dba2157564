//! Boxes of 2, 4, 8, … cells a side over a plane of cells: which are occupied, and what each holds.
//!
//! The grid begins at the first cell, and boxes that reach beyond the last row or column are boxes too. Each level is made
//! of the one before, four boxes at a time, so all of them together cost a third of a look at every cell.

use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::{interrupt, memory};
use bytemuck::Zeroable;

/// Cells that are one task.
const PIECE: usize = 1 << 16;

/// The boxes of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxLevel<T> {
    /// Rows and columns of boxes.
    pub shape: [usize; 2],
    /// One value a box, row by row.
    pub boxes: Vec<T>,
}

/// Rows and columns of the boxes of each size, until one box holds everything.
pub fn shapes([rows, columns]: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    let next = |&[rows, columns]: &[usize; 2]| {
        (rows.max(columns) > 1 && rows.min(columns) > 0).then(|| [rows.div_ceil(2), columns.div_ceil(2)])
    };
    std::iter::successors(Some([rows, columns]), next).skip(1)
}

/// How many cells are not 0.
pub fn count(cells: &[u32]) -> u64 {
    cells.iter().enumerate().fold(0, |count, (i, &cell)| {
        interrupt::check_each(i, 1 << 16);
        count + u64::from(cell != 0)
    })
}

/// Which boxes have a cell that is not 0: 1 or 0 each, for sides of 2, 4, … cells.
pub fn occupied(cells: &[u32], shape: [usize; 2], executor: &dyn Executor) -> Result<Vec<BoxLevel<u32>>> {
    pyramid("cells", cells, shape, executor, |[a, b], [c, d]| u32::from(a | b | c | d != 0))
}

/// The sums of the boxes' cells, for sides of 2, 4, … cells: of two halves, the upper first, and each of two cells.
pub fn sums(cells: &[f32], shape: [usize; 2], executor: &dyn Executor) -> Result<Vec<BoxLevel<f32>>> {
    pyramid("cells", cells, shape, executor, |[a, b], [c, d]| (a + b) + (c + d))
}

fn pyramid<T: Copy + Zeroable + Send + Sync>(
    argument: &'static str,
    cells: &[T],
    shape: [usize; 2],
    executor: &dyn Executor,
    join: impl Fn([T; 2], [T; 2]) -> T + Sync,
) -> Result<Vec<BoxLevel<T>>> {
    if memory::product::<T>(argument, &shape)? != cells.len() {
        return Err(KernelError::shape(argument, format!("{} cells", cells.len()), format!("{shape:?}")));
    }
    let mut levels: Vec<BoxLevel<T>> = Vec::new();
    for next in shapes(shape) {
        let (below, shape) = levels.last().map_or((cells, shape), |level| (&level.boxes[..], level.shape));
        let boxes = halved(argument, below, shape, next, executor, &join)?;
        levels.push(BoxLevel { shape: next, boxes });
    }
    Ok(levels)
}

fn halved<T: Copy + Zeroable + Send + Sync>(
    argument: &'static str,
    cells: &[T],
    [rows, columns]: [usize; 2],
    [down, across]: [usize; 2],
    executor: &dyn Executor,
    join: &(impl Fn([T; 2], [T; 2]) -> T + Sync),
) -> Result<Vec<T>> {
    let mut boxes = memory::zeros(argument, down * across)?;
    let rows_a_task = (PIECE / across.max(1)).max(1);
    for_each_chunk(executor, &mut boxes, rows_a_task * across, |task, boxes| {
        for (i, out) in boxes.chunks_mut(across).enumerate() {
            let row = 2 * (task * rows_a_task + i);
            let cells_of = |row: usize| if row < rows { &cells[row * columns..(row + 1) * columns] } else { &[] };
            let (upper, lower) = (cells_of(row), cells_of(row + 1));
            for (j, out) in out.iter_mut().enumerate() {
                let pair =
                    |cells: &[T]| [2 * j, 2 * j + 1].map(|column| cells.get(column).copied().unwrap_or_else(T::zeroed));
                *out = join(pair(upper), pair(lower));
            }
        }
    });
    Ok(boxes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;

    /// Every box by a look at each of its cells.
    fn by_cells<T: Copy>(cells: &[T], [rows, columns]: [usize; 2], side: usize, of: impl Fn(&[T]) -> f64) -> Vec<f64> {
        let mut all = Vec::new();
        for top in (0..rows).step_by(side) {
            for left in (0..columns).step_by(side) {
                let inside = (top..rows.min(top + side))
                    .flat_map(|row| cells[row * columns + left..row * columns + columns.min(left + side)].to_vec());
                all.push(of(&inside.collect::<Vec<_>>()));
            }
        }
        all
    }

    #[test]
    fn boxes_are_what_their_cells_are() {
        for shape in [[1, 1], [1, 2], [3, 5], [8, 8], [7, 1], [33, 70], [300, 260]] {
            let n = shape[0] * shape[1];
            let mask: Vec<u32> = (0..n).map(|i| u32::from(i * i % 31 == 5) * 6).collect();
            let mass: Vec<f32> = (0..n).map(|i| (i * i % 97) as f32).collect();
            let (occupied, sums) = (occupied(&mask, shape, &Serial).unwrap(), sums(&mass, shape, &Serial).unwrap());
            assert_eq!(occupied.len(), (shape[0].max(shape[1]) as f64).log2().ceil() as usize);
            for (k, (boxes, sums)) in occupied.iter().zip(&sums).enumerate() {
                let side = 2 << k;
                let any = by_cells(&mask, shape, side, |cells| f64::from(u32::from(cells.iter().any(|&c| c != 0))));
                let boxes: Vec<f64> = boxes.boxes.iter().map(|&b| f64::from(b)).collect();
                assert_eq!(boxes, any, "{shape:?} {side}");
                let all = by_cells(&mass, shape, side, |cells| cells.iter().map(|&c| f64::from(c)).sum());
                assert_eq!(sums.boxes.iter().map(|&s| f64::from(s)).collect::<Vec<_>>(), all, "{shape:?} {side}");
            }
        }
    }

    #[test]
    fn the_sierpinski_carpet_of_two_is_a_triangle() {
        // Cells whose coordinates share no bit: 3**k boxes hold one at every size.
        let cells: Vec<u32> = (0..64 * 64).map(|i| u32::from((i / 64) & (i % 64) == 0)).collect();
        let counts: Vec<u64> = occupied(&cells, [64, 64], &Serial).unwrap().iter().map(|l| count(&l.boxes)).collect();
        assert_eq!((count(&cells), counts), (729, vec![243, 81, 27, 9, 3, 1]));
    }

    #[test]
    fn nothing_has_no_boxes_and_shapes_must_hold() {
        assert_eq!(occupied(&[], [0, 5], &Serial).unwrap(), []);
        assert_eq!(sums(&[1.0], [1, 1], &Serial).unwrap(), []);
        let error = sums(&[1.0, 2.0], [1, 3], &Serial).unwrap_err();
        assert_eq!((error.argument, error.given.as_str()), ("cells", "2 cells"));
    }
}
