//! One query against a key/value cache: each row is read once for all query heads of its group.
//!
//! Such a call is bound by memory latency, as every row lies on cache lines of its own. 16 rows at a time keep as many
//! misses in flight as a core can have; prefetching further ahead gains nothing. Nothing here takes time in the length
//! of the cache: there is no plan and no copy of the bias.

use super::task::HEADS;
use crate::attention::bias::{RowModifiers, add_key_bias, hide_rest};
use crate::attention::buffers::{Aligned, padded};
use crate::attention::dropout::Draw;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::log_sums::{LogSum, LogSums};
use crate::attention::micro::{add_rows, dots, scale_row};
use crate::attention::panel::Panel;
use crate::attention::problem::Problem;
use crate::attention::row_softmax::softmax_row;
use crate::attention::widths::{AtWidths, at_widths};
use crate::memory::{self, OrLeave};
use crate::simd::{Run, dispatch};
use fearless_simd::{Simd, prelude::*};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Fills `out (groups, group size, Dv)` and `logs (groups, group size)` of some groups, for the one query, which
/// attends to `keys`. The problem was checked.
pub(super) fn decode<T: Storage>(
    problem: &Problem<'_, T>,
    keys: &[u32],
    groups: Range<usize>,
    run: Run<'_>,
    out: &mut [T],
    logs: LogSums<'_, T::Acc>,
) {
    let (size, width, kv_heads) = (problem.group_size(), problem.widths().1, problem.heads().2);
    let mut tasks = memory::with_capacity("q, k, v", logs.lse.len()).or_leave();
    for (group, (out, logs)) in groups.zip(out.chunks_exact_mut(size * width).zip(logs.chunks(size))) {
        for (part, (out, logs)) in out.chunks_mut(HEADS * width).zip(logs.chunks(HEADS)).enumerate() {
            let head = group % kv_heads * size + part * HEADS;
            tasks.push(Mutex::new(DecodeTask { problem, keys, batch: group / kv_heads, head, out, logs }));
        }
    }
    run.for_each_task(tasks.len(), |level, task| {
        let mut task = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
        dispatch!(level, simd => at_widths::<_, T::Acc>(simd, &mut *task));
    });
}

/// Some query heads of one key head.
struct DecodeTask<'a, T: Storage> {
    problem: &'a Problem<'a, T>,
    keys: &'a [u32],
    batch: usize,
    /// The first query head.
    head: usize,
    /// One row for each head.
    out: &'a mut [T],
    logs: LogSums<'a, T::Acc>,
}

impl<S: Simd, T: Storage> AtWidths<S> for &mut DecodeTask<'_, T> {
    #[inline(always)]
    fn run<const NQ: usize, const FK: usize, const BK: usize, const ND: usize, const NC: usize, const DC: usize>(
        self,
        simd: S,
    ) {
        simd.vectorize(
            #[inline(always)]
            || self.decode::<S, ND, DC>(simd),
        );
    }
}

impl<T: Storage> DecodeTask<'_, T> {
    #[inline(always)]
    fn decode<S: Simd, const ND: usize, const NC: usize>(&mut self, simd: S) {
        if self.keys.is_empty() {
            self.out.fill(T::default());
            let none = LogSum::new(T::Acc::default(), T::Acc::default());
            for i in 0..self.logs.lse.len() {
                let sink = self.problem.modifiers.sinks.map(|sinks| sinks[self.head + i]);
                self.logs.set(i, sink.map_or(none, |sink| none.with_sink(sink).0));
            }
            return;
        }
        let key_head = self.head / self.problem.group_size();
        let (mut keys, mut values) = (Panel::new(self.problem.k), Panel::new(self.problem.v));
        keys.select(self.batch, key_head);
        values.select(self.batch, key_head);
        let length = self.keys.len().next_multiple_of(ND);
        let mut weights = Aligned::zeros(self.logs.lse.len() * length);
        self.score::<S, ND>(simd, &mut keys, &mut weights);
        for (i, weights) in weights.chunks_exact_mut(length).enumerate() {
            self.weigh(simd, i, weights);
        }
        self.sum::<S, ND, NC>(simd, &mut values, &weights);
    }

    /// Scores of all keys, one row for each head; −∞ past the last key.
    #[inline(always)]
    fn score<S: Simd, const ND: usize>(&self, simd: S, keys: &mut Panel<'_, T>, scores: &mut [T::Acc]) {
        let (d, length) = (padded(self.problem.widths().0), self.keys.len().next_multiple_of(ND));
        let mut queries = Aligned::zeros(self.logs.lse.len() * d);
        for (i, row) in queries.chunks_exact_mut(d).enumerate() {
            let query = self.problem.q.row(self.batch, self.head + i, 0);
            T::widen(query, &mut row[..query.len()]);
        }
        let scale = <T::Acc as Accumulator>::N::<S>::splat(simd, self.problem.scale());
        let modifiers = (0..self.logs.lse.len()).map(|i| RowModifiers::new(self.problem, self.head + i, 0));
        let modifiers: Vec<_> = memory::collected("q, k, v", modifiers).or_leave();
        let mut starts = [0; ND];
        for (step, list) in self.keys.chunks(ND).enumerate() {
            let data = keys.fetch(list, &mut starts);
            for (i, query) in queries.chunks_exact(d).enumerate() {
                let s = dots::<S, T::Acc, ND>(simd, query, data, &starts) * scale;
                let out = &mut scores[i * length + step * ND..][..ND];
                s.store_slice(out);
                modifiers[i].apply(simd, list, out);
                add_key_bias(self.problem, self.batch, self.head + i, list, out);
                hide_rest(list.len(), out);
            }
        }
    }

    /// Turns the scores of a head into weights that sum to 1, and stores their log-sum-exp.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, i: usize, scores: &mut [T::Acc]) {
        let (base, sum) = softmax_row(simd, scores);
        let log = LogSum::new(base, sum);
        self.logs.set(i, log);
        if let Some(sinks) = self.problem.modifiers.sinks {
            // The weights sum to 1 without the sink, and to its complement with it.
            let (all, share) = log.with_sink(sinks[self.head + i]);
            self.logs.set(i, all);
            scale_row(simd, scores, share);
        }
        if let Some(dropout) = self.problem.dropout.filter(|d| d.p > 0.0) {
            let draw: Draw<T::Acc> = Draw::new(dropout, self.batch, self.head + i);
            for (p, &key) in scores.iter_mut().zip(self.keys) {
                *p *= draw.factor(0, key as usize);
            }
        }
    }

    /// Writes the weighted values of every head.
    #[inline(always)]
    fn sum<S: Simd, const ND: usize, const NC: usize>(
        &mut self,
        simd: S,
        values: &mut Panel<'_, T>,
        weights: &[T::Acc],
    ) {
        let width = self.problem.widths().1;
        let (dv, length) = (padded(width), self.keys.len().next_multiple_of(ND));
        let mut sums = Aligned::zeros(self.logs.lse.len() * dv);
        let mut starts = [0; ND];
        for (step, list) in self.keys.chunks(ND).enumerate() {
            let data = values.fetch(list, &mut starts);
            for (i, sums) in sums.chunks_exact_mut(dv).enumerate() {
                let weights = &weights[i * length + step * ND..][..list.len()];
                add_rows::<S, T::Acc, NC>(simd, sums, weights, data, &starts[..list.len()]);
            }
        }
        let rows = sums.chunks_exact(dv).zip(self.out.chunks_exact_mut(width)).zip(weights.chunks_exact(length));
        for ((sums, out), weights) in rows {
            // Hidden values may be NaN: without a key the output is 0 all the same.
            if weights.iter().all(|&p| p == T::Acc::default()) {
                out.fill(T::default());
            } else {
                T::narrow(&sums[..width], out);
            }
        }
    }
}
