//! The weights of chosen rows.

use crate::attention::bias::{add_key_bias, hide_rest};
use crate::attention::buffers::{Aligned, padded};
use crate::attention::deal::cut;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::micro::dots;
use crate::attention::panel::Panel;
use crate::attention::problem::Problem;
use crate::attention::row_softmax::softmax_row;
use crate::attention::widths::{AtWidths, at_widths};
use crate::interrupt;
use crate::memory::{self, OrLeave};
use crate::simd::{Run, dispatch};
use fearless_simd::{Simd, prelude::*};
use std::sync::{Mutex, PoisonError};

/// One chosen row.
#[derive(Debug)]
pub(crate) struct ChosenRow {
    pub(crate) query: usize,
    pub(crate) keys: Vec<u32>,
    /// Number of its first edge in row order; 0 where edges have no bias.
    pub(crate) first_edge: usize,
}

/// Fills `out (B, H, edges of the rows)`. The problem was checked.
pub(crate) fn weigh_rows<T: Storage>(problem: &Problem<'_, T>, rows: &[ChosenRow], run: Run<'_>, out: &mut [T::Acc]) {
    let (batch, heads, _) = problem.heads();
    let lengths = (0..batch * heads).flat_map(|_| rows.iter().map(|row| row.keys.len()));
    let parts = memory::collected("rows", cut(out, lengths).map(Mutex::new)).or_leave();
    run.for_each_task(parts.len(), |level, i| {
        interrupt::check();
        let mut out = parts[i].lock().unwrap_or_else(PoisonError::into_inner);
        let (head, row) = (i / rows.len(), &rows[i % rows.len()]);
        let args = ChosenArgs { problem, batch: head / heads, head: head % heads, row, out: &mut out };
        dispatch!(level, simd => at_widths::<_, T::Acc>(simd, args));
    });
}

/// A chosen row of one head.
struct ChosenArgs<'a, T: Storage> {
    problem: &'a Problem<'a, T>,
    batch: usize,
    head: usize,
    row: &'a ChosenRow,
    out: &'a mut [T::Acc],
}

impl<S: Simd, T: Storage> AtWidths<S> for ChosenArgs<'_, T> {
    #[inline(always)]
    fn run<const NQ: usize, const FK: usize, const BK: usize, const ND: usize, const NC: usize, const DC: usize>(
        self,
        simd: S,
    ) {
        simd.vectorize(
            #[inline(always)]
            || self.weigh::<S, ND>(simd),
        );
    }
}

impl<T: Storage> ChosenArgs<'_, T> {
    #[inline(always)]
    fn weigh<S: Simd, const ND: usize>(self, simd: S) {
        let Self { problem, batch, head, row, out } = self;
        let mut query = Aligned::zeros(padded(problem.widths().0));
        let values = problem.q.row(batch, head, row.query);
        T::widen(values, &mut query[..values.len()]);
        let mut keys = Panel::new(problem.k);
        keys.select(batch, head / problem.group_size());
        let scale = <T::Acc as Accumulator>::N::<S>::splat(simd, problem.scale());
        let mut scores = Aligned::zeros(row.keys.len().next_multiple_of(ND));
        let mut starts = [0; ND];
        for (step, (list, out)) in row.keys.chunks(ND).zip(scores.chunks_exact_mut(ND)).enumerate() {
            let data = keys.fetch(list, &mut starts);
            (dots::<S, T::Acc, ND>(simd, &query, data, &starts) * scale).store_slice(out);
            if let Some(bias) = problem.edge_bias {
                let edges = bias.values.len() / bias.heads;
                let first = head.min(bias.heads - 1) * edges + row.first_edge + step * ND;
                for (s, &bias) in out.iter_mut().zip(&bias.values[first..][..list.len()]) {
                    *s += bias;
                }
            }
            add_key_bias(problem, batch, head, list, out);
            hide_rest(list.len(), out);
        }
        softmax_row(simd, &mut scores);
        out.copy_from_slice(&scores[..row.keys.len()]);
    }
}
