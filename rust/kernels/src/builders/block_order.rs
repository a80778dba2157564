//! The order in which a plan takes the cells of a box, so that 16 consecutive cells share most of their keys.

use crate::curves::hilbert_order;
use crate::error::Result;
use crate::memory;
use crate::plan::TILE;
use std::array::from_fn;

/// One axis of a box: what determines how many keys the cells of a block have together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    /// Cells of the box.
    pub(super) len: usize,
    /// Keys of a cell.
    pub(super) window: usize,
    /// Consecutive cells with the same keys.
    pub(super) stride: usize,
    /// Only cells whose coordinates agree modulo this number share keys.
    pub(super) residues: usize,
}

impl Side {
    /// Keys of `cells` consecutive cells of one residue.
    fn keys(self, cells: usize) -> usize {
        self.window + self.stride * (cells.div_ceil(self.stride) - 1)
    }
}

/// The cells from raster position `first` on, as queries 0, 1, …: residue by residue, blocks of 16 cells along the
/// Hilbert curve of the blocks, and after the whole blocks those that the box cuts off. `None` where that is the
/// raster order itself.
pub(super) fn block_order(sides: &[Side], first: usize) -> Result<Option<Vec<u32>>> {
    if let [side] = sides
        && side.residues == 1
    {
        return Ok(None);
    }
    let none = Side { len: 1, window: 1, stride: 1, residues: 1 };
    let mut three = [none; 3];
    three[3 - sides.len()..].copy_from_slice(sides);
    let block = block_of(&three);
    let residues = three.map(|side| side.residues);
    let (mut order, mut cut_off) = (Vec::new(), Vec::new());
    for residue in points(residues) {
        let grid: [usize; 3] = from_fn(|a| (three[a].len - residue[a]).div_ceil(residues[a]));
        let blocks: [usize; 3] = from_fn(|a| grid[a].div_ceil(block[a]));
        for corner in along_curve(blocks, sides.len())? {
            let corner: [usize; 3] = from_fn(|a| corner[a] * block[a]);
            let inside = from_fn(|a| block[a].min(grid[a] - corner[a]));
            let cells = points(inside).map(|within| {
                let at: [usize; 3] = from_fn(|a| (corner[a] + within[a]) * residues[a] + residue[a]);
                (at[0] * three[1].len + at[1]) * three[2].len + at[2]
            });
            let out = if inside == block { &mut order } else { &mut cut_off };
            let cells = cells.filter(|&position| position >= first).map(|position| (position - first) as u32);
            memory::extend("shape", out, cells)?;
        }
        memory::reserve("shape", &mut order, cut_off.len())?;
        order.append(&mut cut_off);
    }
    Ok(Some(order))
}

/// Sides of a block of 16 cells, or fewer in a small box: doubled where that adds the fewest keys.
fn block_of(sides: &[Side; 3]) -> [usize; 3] {
    let mut block = [1; 3];
    while block.iter().product::<usize>() < TILE {
        let growth = |axis: usize| sides[axis].keys(2 * block[axis]) as f64 / sides[axis].keys(block[axis]) as f64;
        let fits = |axis: &usize| 2 * block[*axis] * sides[*axis].residues <= sides[*axis].len;
        // Of equal axes the last: its cells are neighbours in memory.
        match (0..3).rev().filter(fits).min_by(|&a, &b| growth(a).total_cmp(&growth(b))) {
            Some(axis) => block[axis] *= 2,
            None => break,
        }
    }
    block
}

/// The points of a box of `axes` axes (the last ones of `shape`) along its Hilbert curve; of one axis in their order.
fn along_curve(shape: [usize; 3], axes: usize) -> Result<Vec<[usize; 3]>> {
    if axes == 1 {
        return memory::collected("shape", points(shape));
    }
    let order = hilbert_order::order(&shape[3 - axes..])?;
    memory::collected("shape", order.into_iter().map(|place| point(place as usize, shape)))
}

/// All points of a box, last axis fastest.
fn points(shape: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..shape.iter().product()).map(move |place| point(place, shape))
}

/// The point at a raster place of a box.
fn point(place: usize, shape: [usize; 3]) -> [usize; 3] {
    [place / (shape[1] * shape[2]), place / shape[2] % shape[1], place % shape[2]]
}
