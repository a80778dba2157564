//! Boxes over the cells of a domain: of a whole matrix by its grid, of a sparse one by the boxes that hold any cell.

use super::edges::Edges;
use super::grid::Ladder;
use super::support::Domain;
use crate::error::Result;
use crate::interrupt;
use crate::memory::{self, OrLeave};

/// Boxes of every side of a ladder over cells in the order of a [`Domain`].
#[derive(Clone, Debug)]
pub enum Tiling<'a> {
    /// Of a whole matrix, (rows, columns).
    Grid(&'a Ladder, [usize; 2]),
    /// Of edges, each side joined from cells or from the boxes of a smaller one.
    Edges(Vec<Joint>),
}

/// How the boxes of a side are joined.
#[derive(Clone, Debug)]
pub struct Joint {
    /// The place of the smaller side; cells where there is none.
    from: Option<usize>,
    /// The box of each part. Boxes are numbered as their first part comes.
    boxes: Vec<u32>,
    count: usize,
}

/// The boxes of one side by rows, as the next side reads them.
struct Held {
    starts: Vec<usize>,
    columns: Vec<u32>,
}

impl<'a> Tiling<'a> {
    /// The boxes over a domain, one matrix of it.
    pub fn new(domain: Domain<'_>, ladder: &'a Ladder) -> Result<Self> {
        let [_, rows, columns] = domain.shape();
        match domain.edges() {
            None => Ok(Self::Grid(ladder, [rows, columns])),
            Some(edges) => Ok(Self::Edges(joints(edges, columns, ladder)?)),
        }
    }

    /// As [`Ladder::each`]; boxes without a cell do not come.
    ///
    /// # Panics
    ///
    /// Unwinds where memory has no room, as tasks do.
    pub fn each<S: Copy, T: Copy>(
        &self,
        cells: &[S],
        load: impl Fn(S) -> T,
        join: impl Fn(T, T) -> T,
        mut visit: impl FnMut(usize, &[T]),
    ) {
        let joints = match self {
            Self::Grid(ladder, shape) => {
                return ladder.each(cells, *shape, load, join, |side, joined| visit(side, &joined.boxes));
            }
            Self::Edges(joints) => joints,
        };
        let mut kept: Vec<Vec<T>> = Vec::new();
        for (side, joint) in joints.iter().enumerate() {
            interrupt::check();
            let mut boxes: Vec<T> = memory::with_capacity("scales", joint.count).or_leave();
            let mut add = |part: T, into: u32| match boxes.get_mut(into as usize) {
                Some(sum) => *sum = join(*sum, part),
                None => boxes.push(part),
            };
            match joint.from {
                Some(smaller) => kept[smaller].iter().zip(&joint.boxes).for_each(|(&part, &into)| add(part, into)),
                None => cells.iter().zip(&joint.boxes).for_each(|(&cell, &into)| add(load(cell), into)),
            }
            visit(side, &boxes);
            let again = joints[side..].iter().any(|later| later.from == Some(side));
            kept.push(if again { boxes } else { Vec::new() });
        }
    }
}

fn joints(edges: Edges<'_>, columns: usize, ladder: &Ladder) -> Result<Vec<Joint>> {
    let (mut found, mut held): (Vec<Joint>, Vec<Held>) = (Vec::new(), Vec::new());
    let mut cells = Held {
        starts: memory::with_capacity("support", edges.rows() + 1)?,
        columns: memory::with_capacity("support", edges.count())?,
    };
    cells.starts.push(0);
    for row in 0..edges.rows() {
        cells.columns.extend(edges.row(row).iter().map(|&key| key as u32));
        cells.starts.push(cells.columns.len());
    }
    for (place, &side) in ladder.sides().iter().enumerate() {
        let from = ladder.below(place);
        let (below, times, shift) = match from {
            Some(smaller) => {
                let part = ladder.sides()[smaller];
                (&held[smaller], side / part, ladder.origin().map(|o| (o % side - o % part) / part))
            }
            None => (&cells, side, ladder.origin().map(|o| o % side)),
        };
        let (joint, boxes) = joined(below, columns, times, shift, from)?;
        found.push(joint);
        held.push(boxes);
    }
    Ok(found)
}

fn joined(
    below: &Held,
    widest: usize,
    times: usize,
    [above, left]: [usize; 2],
    from: Option<usize>,
) -> Result<(Joint, Held)> {
    let rows = below.starts.len() - 1;
    let mut boxes = memory::with_capacity("scales", below.columns.len())?;
    // Of every column the last box, which is of this row of boxes if its number is no smaller than the row's first.
    let mut last: Vec<u32> = memory::filled("scales", u32::MAX, (widest + left) / times + 1)?;
    let (mut starts, mut columns): (Vec<usize>, Vec<u32>) = (Vec::new(), Vec::new());
    let tall = (rows + above).div_ceil(times);
    for i in 0..tall {
        interrupt::check_each(i, 1 << 6);
        let first = columns.len();
        memory::extend("scales", &mut starts, [first])?;
        let (top, bottom) = ((i * times).saturating_sub(above), ((i + 1) * times - above).min(rows));
        for &column in &below.columns[below.starts[top]..below.starts[bottom]] {
            let column = (column as usize + left) / times;
            if last[column] == u32::MAX || (last[column] as usize) < first {
                last[column] = columns.len() as u32;
                memory::extend("scales", &mut columns, [column as u32])?;
            }
            boxes.push(last[column]);
        }
    }
    memory::extend("scales", &mut starts, [columns.len()])?;
    Ok((Joint { from, boxes, count: columns.len() }, Held { starts, columns }))
}

#[cfg(test)]
mod tests {
    use super::super::support::Support;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn boxes_of_edges_are_those_of_the_grid(
            held in prop::collection::vec(any::<bool>(), 15 * 13), sides in prop::collection::btree_set(1_usize..13, 1..5),
            above in 0_usize..13, left in 0_usize..13,
        ) {
            let sides: Vec<usize> = sides.into_iter().collect();
            let largest = sides[sides.len() - 1];
            let ladder = Ladder::new(&sides, 12, [above % largest, left % largest]).unwrap();
            let (mut starts, mut keys, mut values) = (vec![0_i64], Vec::new(), Vec::new());
            for (i, row) in held.chunks(13).enumerate() {
                keys.extend((0..13_i32).filter(|&j| row[j as usize]));
                values.extend((0..13).filter(|&j| row[j]).map(|j| (i * 13 + j) as u64 + 1));
                starts.push(keys.len() as i64);
            }
            let edges = Support::Edges(Edges::new(&starts, &keys, 13).unwrap());
            let whole: Vec<u64> = held.iter().zip(1_u64..).map(|(&held, x)| if held { x } else { 0 }).collect();
            let mut found = Vec::new();
            let sparse = Domain::new(edges, [1, 15, 13]).unwrap();
            Tiling::new(sparse, &ladder).unwrap().each(&values, |x| x, |a, b| a + b, |_, boxes| {
                let mut boxes = boxes.to_vec();
                boxes.sort_unstable();
                found.push(boxes);
            });
            let dense = Domain::new(Support::Full, [1, 15, 13]).unwrap();
            Tiling::new(dense, &ladder).unwrap().each(&whole, |x| x, |a, b| a + b, |side, boxes| {
                let mut boxes: Vec<u64> = boxes.iter().copied().filter(|&x| x > 0).collect();
                boxes.sort_unstable();
                assert_eq!(found[side], boxes);
            });
        }
    }
}
