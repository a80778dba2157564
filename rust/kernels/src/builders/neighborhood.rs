//! Sliding windows in a box of 1 to 3 axes, shifted inward at its borders: neighbourhood attention.
//!
//! The rule of every axis, after A. Hassani et al., *Neighborhood Attention Transformer* (2023), *Dilated Neighborhood
//! Attention Transformer* (2022) and *Generalized Neighborhood Attention* (2025), as NATTEN 0.20 and later define it:
//!
//! * cells whose coordinates agree modulo the dilation form a grid of their own, and only they attend to each other;
//! * on that grid, queries are taken in groups of `stride`, and a group has one window: that of its leader, the cell in
//!   its middle (on a causal axis, its last cell), or the grid's last cell where the group is cut off;
//! * a window is `kernel` cells, one more before its leader than after it where `kernel` is even, shifted inward where it
//!   would pass a border;
//! * a causal axis has windows that end at the query and begin `kernel − 1` cells before the leader, cut
//!   off at the start.

use super::block_order::{Side, block_order};
use super::span::Span;
use crate::curves::lattice::check_cells;
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::index_set::IndexSet;
use crate::memory;

/// One axis of the box and the windows along it.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// Cells of the box.
    pub len: usize,
    /// Keys of a window.
    pub kernel: usize,
    /// Queries that share a window, at most `kernel`.
    pub stride: usize,
    /// Distance of the keys of a window; `kernel · dilation` is at most `len`.
    pub dilation: usize,
    /// Whether keys after the query are left out.
    pub causal: bool,
}

/// The keys of one coordinate: `first`, `first + dilation`, …, `count` of them.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: usize,
    count: usize,
}

impl Axis {
    fn check(self, number: usize) -> Result<()> {
        let sizes =
            [("shape", self.len), ("kernel_size", self.kernel), ("stride", self.stride), ("dilation", self.dilation)];
        for (argument, size) in sizes {
            if size == 0 || size > i32::MAX as usize {
                return Err(KernelError::value(argument, format!("{size} on axis {number}"), "1 to 2^31 - 1"));
            }
        }
        let len = self.len;
        if self.kernel > len {
            let given = format!("{} on axis {number}", self.kernel);
            return Err(KernelError::value("kernel_size", given, format!("at most the axis, {len}")));
        }
        if self.kernel * self.dilation > len {
            let given = format!("{} on axis {number}, with kernel_size {}", self.dilation, self.kernel);
            return Err(KernelError::value(
                "dilation",
                given,
                format!("kernel_size * dilation at most the axis, {len}"),
            ));
        }
        if self.stride > self.kernel {
            let given = format!("{} on axis {number}", self.stride);
            return Err(KernelError::value("stride", given, format!("at most kernel_size = {}", self.kernel)));
        }
        Ok(())
    }

    fn window(self, at: usize) -> Window {
        let (place, residue) = (at / self.dilation, at % self.dilation);
        let last = (self.len - residue).div_ceil(self.dilation) - 1;
        let group = place - place % self.stride;
        let (first, end) = if self.causal {
            let leader = (group + self.stride - 1).min(last);
            ((leader + 1).saturating_sub(self.kernel), place + 1)
        } else {
            let leader = (group + self.stride / 2).min(last);
            let first = leader.saturating_sub(self.kernel / 2).min(last + 1 - self.kernel);
            (first, first + self.kernel)
        };
        Window { first: residue + first * self.dilation, count: end - first }
    }

    /// The keys of every coordinate.
    fn windows(self) -> Result<Vec<Window>> {
        memory::collected("shape", (0..self.len).map(|at| self.window(at)))
    }

    fn side(self) -> Side {
        Side { len: self.len, window: self.kernel, stride: self.stride, residues: self.dilation }
    }
}

impl Window {
    fn keys(self, dilation: usize) -> impl Iterator<Item = usize> + Clone {
        (0..self.count).map(move |i| self.first + i * dilation)
    }
}

/// Keys in the window of the query's cell in a raster box, last axis fastest; every axis has its own rule.
///
/// The span has as many keys as the box has cells. Windows without gaps along the last axis are held as runs. A plan
/// takes the queries block by block, see `block_order`.
pub fn neighborhood(span: Span, axes: &[Axis], executor: &dyn Executor) -> Result<IndexSet> {
    if axes.is_empty() || axes.len() > 3 {
        return Err(KernelError::shape("shape", format!("{} axes", axes.len()), "1 to 3 axes"));
    }
    for (number, axis) in axes.iter().enumerate() {
        axis.check(number)?;
    }
    let shape: Vec<usize> = axes.iter().map(|axis| axis.len).collect();
    let cells = check_cells(&shape)?;
    if cells != span.n_keys() {
        return Err(KernelError::shape("n_keys", span.n_keys(), format!("the cells of shape {shape:?}, {cells}")));
    }
    let one = Axis { len: 1, kernel: 1, stride: 1, dilation: 1, causal: false };
    let mut three = [one; 3];
    three[3 - axes.len()..].copy_from_slice(axes);
    let [planes, lines, columns] = three.map(Axis::windows);
    let windows = [planes?, lines?, columns?];
    let [_, height, width] = three.map(|axis| axis.len);
    // Where each line of a window starts, and the window of the query's column.
    let lines = |query: usize| {
        let position = span.position(query);
        let at = [position / (height * width), position / width % height, position % width];
        let [planes, lines, _] = std::array::from_fn(|axis| windows[axis][at[axis]].keys(three[axis].dilation));
        let starts = planes.flat_map(move |plane| lines.clone().map(move |line| (plane * height + line) * width));
        (starts, windows[2][at[2]], span.end(position))
    };
    let [.., last] = three;
    let set = if last.dilation == 1 && last.kernel > 2 {
        IndexSet::from_run_rows(span.n_queries(), cells, executor, |query, push| {
            let (starts, window, end) = lines(query);
            for first in starts.map(|start| start + window.first).take_while(|&first| first < end) {
                push([first as i32, (first + window.count).min(end) as i32]);
            }
        })?
    } else {
        IndexSet::from_rows(span.n_queries(), cells, executor, |query, keys| {
            let (starts, window, end) = lines(query);
            for start in starts {
                let row = window.keys(last.dilation).map(|column| start + column).take_while(|&key| key < end);
                keys.extend(row.map(|key| key as i32));
            }
        })?
    };
    let sides: Vec<Side> = axes.iter().map(|axis| axis.side()).collect();
    match block_order(&sides, span.position(0))? {
        Some(order) => set.with_order(order),
        None => Ok(set),
    }
}
