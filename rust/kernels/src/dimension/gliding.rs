//! Gliding boxes over edges: those whose cells are all there, without a sum for every cell of the matrix.

use super::edges::Edges;
use crate::error::Result;
use crate::interrupt;
use crate::memory;

/// First and second moment of the masses of all boxes of a side that lie in the edges with all their cells, and how
/// many there are.
pub(super) fn boxes<T: Copy + Into<f64>>(
    edges: Edges<'_>,
    values: &[T],
    columns: usize,
    side: usize,
) -> Result<(f64, f64, u64)> {
    let (mut first, mut second, mut count) = (0.0, 0.0, 0);
    // Of every column the mass and the cells in the rows of the box.
    let mut mass: Vec<f64> = memory::zeros("weights", columns)?;
    let mut held: Vec<u32> = memory::zeros("weights", columns)?;
    let mut sums: Vec<(f64, u64)> = memory::with_capacity("weights", columns + 1)?;
    for bottom in 0..edges.rows() {
        interrupt::check_each(bottom, 1 << 6);
        for (&key, &value) in edges.row(bottom).iter().zip(&values[edges.span(bottom)]) {
            mass[key as usize] += value.into();
            held[key as usize] += 1;
        }
        let Some(top) = (bottom + 1).checked_sub(side) else { continue };
        let keys = edges.row(top);
        for run in keys.chunk_by(|a, b| a + 1 == *b).filter(|run| run.len() >= side) {
            sums.clear();
            sums.push((0.0, 0));
            let (mut sum, mut cells) = (0.0, 0);
            for &key in run {
                sum += mass[key as usize];
                cells += u64::from(held[key as usize]);
                sums.push((sum, cells));
            }
            for (start, end) in sums.iter().zip(&sums[side..]) {
                if end.1 - start.1 == (side * side) as u64 {
                    let x = (end.0 - start.0).max(0.0);
                    (first, second, count) = (first + x, second + x * x, count + 1);
                }
            }
        }
        for (&key, &value) in keys.iter().zip(&values[edges.span(top)]) {
            held[key as usize] -= 1;
            // What rounding leaves must not stay.
            let rest = mass[key as usize] - value.into();
            mass[key as usize] = if held[key as usize] == 0 { 0.0 } else { rest };
        }
    }
    Ok((first, second, count))
}
