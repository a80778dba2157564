//! An output split into the rows that each task writes.

use crate::memory::{self, OrLeave};
use crate::plan::{Plan, TILE};
use std::ops::Range;

/// The output rows of one task, in the order of the plan.
pub(crate) enum TaskRows<'a, T> {
    /// Contiguous rows of this width.
    Contiguous(&'a mut [T], usize),
    /// Rows at any places.
    Scattered(Vec<&'a mut [T]>),
}

impl<T> TaskRows<'_, T> {
    #[inline(always)]
    pub(crate) fn row(&mut self, i: usize) -> &mut [T] {
        match self {
            Self::Contiguous(data, width) => &mut data[i * *width..][..*width],
            Self::Scattered(rows) => rows[i],
        }
    }

    /// Sets all of them to 0.
    pub(crate) fn clear(&mut self)
    where
        T: Copy + Default,
    {
        match self {
            Self::Contiguous(data, _) => data.fill(T::default()),
            Self::Scattered(rows) => rows.iter_mut().for_each(|row| row.fill(T::default())),
        }
    }
}

/// Splits each head's output into the rows of tasks of `tiles` tiles: all tasks of the first head, then of the next.
pub(crate) fn deal<'a, T>(plan: &Plan, out: &'a mut [T], width: usize, tiles: usize) -> Vec<TaskRows<'a, T>> {
    let (n, rows) = (plan.n_queries(), tiles * TILE);
    let parts = (0..n).step_by(rows).map(|first| first..(first + rows).min(n));
    let parts = memory::collected("q, k, v", parts).or_leave();
    deal_parts(plan.order(), &parts, out.len() / (n * width), out, width)
}

/// Splits each head's output into the rows of tasks, one for each part of an order, `None` for increasing rows: all
/// tasks of the first head, then of the next.
pub(crate) fn deal_parts<'a, T>(
    order: Option<&[u32]>,
    parts: &[Range<usize>],
    heads: usize,
    mut out: &'a mut [T],
    width: usize,
) -> Vec<TaskRows<'a, T>> {
    let n = parts.last().map_or(0, |part| part.end);
    let mut tasks = memory::with_capacity("q, k, v", heads * parts.len()).or_leave();
    for _ in 0..heads {
        let head = out.split_off_mut(..n * width).unwrap_or_default();
        match order.filter(|_| width > 0) {
            None => tasks.extend(
                cut(head, parts.iter().map(|part| part.len() * width)).map(|rows| TaskRows::Contiguous(rows, width)),
            ),
            Some(order) => {
                let rows = head.chunks_exact_mut(width).map(Some);
                let mut rows: Vec<Option<&mut [T]>> = memory::collected("q, k, v", rows).or_leave();
                let mut taken = |part: &Range<usize>| {
                    let mut own = memory::with_capacity("q, k, v", part.len()).or_leave();
                    own.extend(order[part.clone()].iter().filter_map(|&row| rows[row as usize].take()));
                    own
                };
                tasks.extend(parts.iter().map(|part| TaskRows::Scattered(taken(part))));
            }
        }
    }
    tasks
}

/// Consecutive pieces of these lengths.
pub(crate) fn cut<T>(mut rest: &mut [T], lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = &mut [T]> {
    lengths.map(move |length| rest.split_off_mut(..length).unwrap_or_default())
}
