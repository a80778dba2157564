//! One pass: the near points of each task, one after the other.

use super::edges::{EdgeHead, Edges};
use super::piece::{EdgePiece, EdgeTask};
use super::rows::PointRows;
use super::side::PointSide;
use crate::attention::element::Accumulator;
use crate::interrupt;
use crate::simd::{Run, dispatch};
use fearless_simd::Simd;
use std::sync::PoisonError;

/// What the passes of a backward call read beside the inputs; `(B, G, Nq, H / G)`.
#[derive(Clone, Copy)]
pub(super) struct Statistics<'a, A> {
    pub(super) lse: &'a [A],
    /// What a query's gradients of weights are measured from.
    pub(super) delta: &'a [A],
}

/// One pass over the edges of some groups.
pub(super) struct EdgeSweep<'a, A> {
    pub(super) near: PointSide<'a, A>,
    pub(super) far: PointSide<'a, A>,
    pub(super) rows: &'a PointRows<'a>,
    /// Whether the near points are the queries.
    pub(super) by_query: bool,
    /// Groups of a batch entry, heads of a group.
    pub(super) heads: [usize; 2],
    pub(super) strength: &'a [A],
    pub(super) rate: &'a [A],
    pub(super) scale: A,
    pub(super) eps: A,
    pub(super) key_padding: Option<&'a [bool]>,
    /// Widths of points, of queries and keys, of values, without what pads them.
    pub(super) widths: [usize; 3],
    /// `None` for the forward pass.
    pub(super) saved: Option<Statistics<'a, A>>,
}

impl<A: Accumulator> EdgeSweep<'_, A> {
    /// Runs all tasks.
    pub(super) fn run(&self, run: Run<'_>, tasks: &[EdgeTask<'_, A>]) {
        run.for_each_task(tasks.len(), |level, task| {
            let task = &tasks[task];
            let mut piece = task.piece.lock().unwrap_or_else(PoisonError::into_inner);
            let mut edges = Edges::default();
            for row in 0..task.rows {
                interrupt::check();
                self.list(&mut edges, task.group / self.heads[0], task.first + row);
                dispatch!(level, simd => self.row(simd, task, row, &mut edges, &mut piece));
            }
        });
    }

    /// The far points of a near one that are not hidden.
    #[inline(never)]
    fn list(&self, edges: &mut Edges<A>, batch: usize, near: usize) {
        self.rows.fill(near, &mut edges.far, &mut edges.numbers);
        if let Some(padding) = self.key_padding {
            let keys = if self.by_query { self.far.len() } else { self.near.len() };
            let hidden = &padding[batch * keys..(batch + 1) * keys];
            edges.far.retain(|&far| !hidden[if self.by_query { far as usize } else { near }]);
        }
        edges.clear();
    }

    /// Shifts of the far points and, for gradients, statistics of each edge's query.
    #[inline(never)]
    fn look_up(&self, edges: &mut Edges<A>, group: usize, near: usize, head: usize) {
        let of = |n: usize, i: usize| (group * n + i) * self.heads[1] + head;
        let n = self.far.len();
        for (shift, &far) in edges.shift.iter_mut().zip(&edges.far) {
            *shift = self.far.shifts[of(n, far as usize)];
        }
        let Some(saved) = self.saved else { return };
        let of_near = of(self.near.len(), near);
        for ((lse, delta), &far) in edges.lse.iter_mut().zip(&mut edges.delta).zip(&edges.far) {
            let at = if self.by_query { of_near } else { of(n, far as usize) };
            (*lse, *delta) = (saved.lse[at], saved.delta[at]);
        }
    }

    /// Everything of one near point.
    #[inline(always)]
    fn row<S: Simd>(
        &self,
        simd: S,
        task: &EdgeTask<'_, A>,
        row: usize,
        edges: &mut Edges<A>,
        piece: &mut EdgePiece<'_, A>,
    ) {
        let [groups, heads] = self.heads;
        let (batch, group, near) = (task.group / groups, task.group % groups, task.first + row);
        let point = self.near.points.row(batch, group, near);
        edges.starts(&self.far.points, batch, group);
        edges.measure(simd, point, self.far.points.data, self.eps);
        for of_group in 0..heads {
            let (head, at) = (group * heads + of_group, row * heads + of_group);
            self.look_up(edges, task.group, near, of_group);
            if let (Some(x), Some(y)) = (&self.near.dots, &self.far.dots) {
                edges.starts(y, batch, head);
                edges.multiply(simd, x.row(batch, head, near), y.data, false);
            }
            let shift = self.near.shifts[(task.group * self.near.len() + near) * heads + of_group];
            let sign = if self.by_query { A::ONE } else { A::default() - A::ONE };
            let constants = EdgeHead { strength: self.strength[head], rate: self.rate[head], sign, shift };
            edges.weigh(simd, constants, self.scale);
            edges.starts(&self.far.values, batch, head);
            let (values, width) = (self.far.values.data, self.far.values.shape[3]);
            if self.saved.is_none() {
                let lse = edges.attend(simd, values, width);
                write(piece.out, at, self.widths[2], &edges.sum);
                piece.lse[at] = lse;
                if edges.far.is_empty() {
                    write(piece.out, at, self.widths[2], &[]);
                    piece.lse[at] = A::NEG_INFINITY;
                }
                continue;
            }
            edges.multiply(simd, self.near.values.row(batch, head, near), values, true);
            let sums = edges.differentiate(simd, constants);
            piece.shifts[at] = sums.shift;
            if self.by_query {
                piece.constants[2 * at..2 * at + 2].copy_from_slice(&[sums.strength, sums.rate]);
            } else {
                edges.gather(simd, values, width, None);
                write(piece.values, at, self.widths[2], &edges.sum);
            }
            if let Some(y) = &self.far.dots {
                edges.starts(y, batch, head);
                edges.gather(simd, y.data, y.shape[3], Some(self.scale));
                write(piece.dots, at, self.widths[1], &edges.sum);
            }
        }
        if self.saved.is_some() {
            edges.starts(&self.far.points, batch, group);
            edges.spread(simd, point, self.far.points.data);
            write(piece.points, row, self.widths[0], &edges.sum);
        }
    }
}

/// The first values of a sum as a row of a result; zeros where there is none.
#[inline(never)]
fn write<A: Accumulator>(to: &mut [A], row: usize, width: usize, sum: &[A]) {
    let to = &mut to[row * width..(row + 1) * width];
    match sum.get(..width) {
        Some(sum) => to.copy_from_slice(sum),
        None => to.fill(A::default()),
    }
}
