//! The forward pass: output and log-sum-exp.

use super::element::{Real, Storage};
use super::head::HeadContext;
use super::micro::{Rows, dots, load, product, scores, store, transpose};
use super::problem::Problem;
use super::scratch::{KEY_BLOCK, LaneKeys, Panel, ROW_BLOCK, group_ranges, hide, padded};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::plan::{Cursor, Plan, TILE, TileKeys};
use fearless_simd::{Level, Simd, dispatch, prelude::*};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Tiles of one task.
const TASK_TILES: usize = 16;

/// Fills `out (B, H, Nq, Dv)` and `lse (B, H, Nq)`, both contiguous.
pub fn forward<T: Storage>(
    problem: &Problem<'_, T>,
    plan: &Plan,
    level: Level,
    executor: &dyn Executor,
    out: &mut [T],
    lse: &mut [T::Acc],
) -> Result<()> {
    problem.check(plan)?;
    let (batch, heads, _) = problem.heads();
    let (n, dv) = (plan.n_queries(), problem.widths().1);
    if out.len() != batch * heads * n * dv || lse.len() != batch * heads * n {
        return Err(KernelError::shape("out", format!("{} values", out.len()), batch * heads * n * dv));
    }
    let contexts: Vec<HeadContext<T::Acc>> =
        (0..batch * heads).map(|i| HeadContext::new(problem, i / heads, i % heads)).collect();
    let per_head = plan.tiles().div_ceil(TASK_TILES);
    let slots = Slots::new(plan, out, lse, n, dv);
    executor.run(per_head * contexts.len(), &|task| {
        let (head, part) = (&contexts[task / per_head], task % per_head);
        let tiles = part * TASK_TILES..((part + 1) * TASK_TILES).min(plan.tiles());
        let mut rows = slots.take(task);
        dispatch!(level, simd => run_task(simd, problem, plan, head, tiles, &mut rows));
    });
    Ok(())
}

/// Output rows of one task, in the order of its tiles' lanes.
struct TaskRows<'a, T: Storage> {
    out: Vec<&'a mut [T]>,
    lse: Vec<&'a mut T::Acc>,
}

/// Every task's own rows, handed out once.
struct Slots<'a, T: Storage>(Vec<Mutex<Option<TaskRows<'a, T>>>>);

impl<'a, T: Storage> Slots<'a, T> {
    fn new(plan: &Plan, out: &'a mut [T], lse: &'a mut [T::Acc], n: usize, dv: usize) -> Self {
        let mut tasks = Vec::new();
        for (out, lse) in out.chunks_exact_mut(n * dv).zip(lse.chunks_exact_mut(n)) {
            let mut out: Vec<Option<&mut [T]>> = out.chunks_exact_mut(dv).map(Some).collect();
            let mut lse: Vec<Option<&mut T::Acc>> = lse.iter_mut().map(Some).collect();
            for first in (0..n).step_by(TASK_TILES * TILE) {
                let positions = first..(first + TASK_TILES * TILE).min(n);
                let queries = positions.map(|p| plan.query(p / TILE, p % TILE));
                let (o, l) = queries.filter_map(|q| Some((out[q].take()?, lse[q].take()?))).unzip();
                tasks.push(Mutex::new(Some(TaskRows { out: o, lse: l })));
            }
        }
        Self(tasks)
    }

    fn take(&self, task: usize) -> TaskRows<'a, T> {
        let rows = self.0[task].lock().unwrap_or_else(PoisonError::into_inner).take();
        rows.unwrap_or(TaskRows { out: Vec::new(), lse: Vec::new() })
    }
}

#[inline(always)]
fn run_task<S: Simd, T: Storage>(
    simd: S,
    problem: &Problem<'_, T>,
    plan: &Plan,
    head: &HeadContext<T::Acc>,
    tiles: Range<usize>,
    rows: &mut TaskRows<'_, T>,
) {
    // Lanes of a vector, key block: 16 accumulators fill the registers of AVX-512, 4 × 2 those of AVX2.
    let wide = <S::f32s as SimdBase<S>>::LEN == TILE;
    match (<<T::Acc as Real>::V<S> as SimdBase<S>>::LEN == TILE, wide) {
        (true, true) => Task::<T, 1, 16, 16>::new(problem, plan, head).run(simd, tiles, rows),
        (true, false) => Task::<T, 1, 4, 16>::new(problem, plan, head).run(simd, tiles, rows),
        (false, _) => Task::<T, 2, 4, 8>::new(problem, plan, head).run(simd, tiles, rows),
    }
}

/// One task: `NQ` vectors a tile, `NK` keys at a time, `ND` lanes a vector.
struct Task<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize> {
    problem: &'p Problem<'p, T>,
    plan: &'p Plan,
    head: &'p HeadContext<T::Acc>,
    width: usize,
    queries: Panel<T::Acc>,
    keys: Panel<T::Acc>,
    values: Panel<T::Acc>,
    qt: Vec<T::Acc>,
    scores: Vec<T::Acc>,
    acc: Vec<T::Acc>,
    max: [T::Acc; TILE],
    sum: [T::Acc; TILE],
    block: TileKeys,
    lanes: LaneKeys,
}

impl<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize> Task<'p, T, NQ, NK, ND> {
    fn new(problem: &'p Problem<'p, T>, plan: &'p Plan, head: &'p HeadContext<T::Acc>) -> Self {
        let (d, dv) = problem.widths();
        let zero = T::Acc::default();
        Self {
            problem,
            plan,
            head,
            width: padded(dv),
            queries: Panel::default(),
            keys: Panel::default(),
            values: Panel::default(),
            qt: vec![zero; padded(d) * TILE],
            scores: vec![zero; KEY_BLOCK.max(ROW_BLOCK) * TILE],
            acc: vec![zero; TILE * padded(dv)],
            max: [zero; TILE],
            sum: [zero; TILE],
            block: TileKeys::default(),
            lanes: LaneKeys::default(),
        }
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, tiles: Range<usize>, rows: &mut TaskRows<'_, T>) {
        let first = tiles.start;
        for tile in tiles {
            self.acc.fill(T::Acc::default());
            self.max = [T::Acc::NEG_INFINITY; TILE];
            self.sum = [T::Acc::default(); TILE];
            simd.vectorize(
                #[inline(always)]
                || self.tile_part(simd, tile),
            );
            self.lanes.fill(self.plan, tile);
            if !self.lanes.keys.is_empty() {
                simd.vectorize(
                    #[inline(always)]
                    || self.row_part(simd, tile),
                );
            }
            self.finish(tile, (tile - first) * TILE, rows);
        }
    }

    #[inline(always)]
    fn tile_part<S: Simd>(&mut self, simd: S, tile: usize) {
        let (problem, plan, head) = (self.problem, self.plan, self.head);
        let (b, h, g) = (head.batch, head.query_head, head.key_head);
        let mut cursor = Cursor::default();
        let mut pair = problem.edge_bias.map_or(0, |e| e.map.tile_starts[tile]);
        let mut transposed = false;
        while plan.tile_block(tile, &mut cursor, KEY_BLOCK, &mut self.block) {
            if !transposed {
                let n = plan.lanes(tile);
                let q = self.queries.gather(&problem.q, b, h, (0..n).map(|lane| plan.query(tile, lane)));
                let rows: [&[T::Acc]; TILE] = std::array::from_fn(|lane| q.row(lane.min(n - 1)));
                transpose::<S, T::Acc>(simd, &rows[..n], problem.scale2(), &mut self.qt);
                transposed = true;
            }
            let block = &self.block;
            let keys = self.keys.gather(&problem.k, b, g, block.keys.iter().map(|&j| j as usize));
            let mut max = [T::Acc::NEG_INFINITY; TILE];
            score_block::<S, T, NQ, NK>(simd, head, keys, &self.qt, block, &mut pair, &mut self.scores, &mut max);
            let first = self.max.iter().all(|&m| m == T::Acc::NEG_INFINITY);
            let scale = raise::<S, T::Acc, NQ>(simd, &mut self.max, &max);
            if !first {
                rescale::<S, T::Acc>(simd, &scale, &mut self.acc, self.width);
            }
            let mut sums = load::<S, T::Acc, 1, NQ>(simd, [&self.sum], 0)[0];
            let factor = load::<S, T::Acc, 1, NQ>(simd, [&scale], 0)[0];
            let top = load::<S, T::Acc, 1, NQ>(simd, [&safe(&self.max)], 0)[0];
            for n in 0..NQ {
                sums[n] *= factor[n];
            }
            for p in self.scores[..block.keys.len() * TILE].chunks_exact_mut(TILE) {
                let mut s = load::<S, T::Acc, 1, NQ>(simd, [p], 0)[0];
                for n in 0..NQ {
                    s[n] = T::Acc::exp2(simd, s[n] - top[n]);
                    sums[n] += s[n];
                }
                store::<S, T::Acc, NQ>(p, 0, s);
            }
            store::<S, T::Acc, NQ>(&mut self.sum, 0, sums);
            if let Some(draw) = &head.draw {
                for (p, &key) in self.scores.chunks_exact_mut(TILE).zip(&block.keys) {
                    for (lane, p) in p.iter_mut().enumerate().take(plan.lanes(tile)) {
                        *p *= draw.factor(plan.query(tile, lane), key as usize);
                    }
                }
            }
            let values = self.values.gather(&problem.v, b, g, block.keys.iter().map(|&j| j as usize));
            for (group, range) in group_ranges(block).into_iter().enumerate() {
                let p = &self.scores;
                let coefficient = |i: usize| {
                    let p = &p[i * TILE + 4 * group..][..4];
                    [p[0], p[1], p[2], p[3]]
                };
                accumulate::<S, T::Acc, 4>(simd, &mut self.acc, 4 * group, self.width, range, coefficient, values);
            }
        }
    }

    #[inline(always)]
    fn row_part<S: Simd>(&mut self, simd: S, tile: usize) {
        let (problem, plan, head) = (self.problem, self.plan, self.head);
        let (b, h, g) = (head.batch, head.query_head, head.key_head);
        let n = plan.lanes(tile);
        for from in (0..self.lanes.longest()).step_by(ROW_BLOCK) {
            let mut max = [T::Acc::NEG_INFINITY; TILE];
            for lane in 0..n {
                let query = plan.query(tile, lane);
                let list = self.lanes.lane(lane);
                let list = &list[from.min(list.len())..(from + ROW_BLOCK).min(list.len())];
                if list.is_empty() {
                    continue;
                }
                let q = self.queries.gather(&problem.q, b, h, std::iter::once(query));
                let keys = self.keys.gather(&problem.k, b, g, list.iter().map(|&j| j as usize));
                let out = &mut self.scores[lane * ROW_BLOCK..(lane + 1) * ROW_BLOCK];
                let bias = head.pair_bias.as_ref().map(|p| &p[head.tile_pairs + self.lanes.pairs[lane] + from..]);
                row_scores::<S, T, ND>(simd, head, q.row(0), keys, problem.scale2(), list, bias, out);
                max[lane] = top_of::<S, T::Acc, ND>(simd, out, list.len());
            }
            let scale = raise::<S, T::Acc, NQ>(simd, &mut self.max, &max);
            rescale::<S, T::Acc>(simd, &scale, &mut self.acc, self.width);
            let top = safe(&self.max);
            for lane in 0..n {
                let query = plan.query(tile, lane);
                self.sum[lane] *= scale[lane];
                let list = self.lanes.lane(lane);
                let list = &list[from.min(list.len())..(from + ROW_BLOCK).min(list.len())];
                if list.is_empty() {
                    continue;
                }
                let p = &mut self.scores[lane * ROW_BLOCK..(lane + 1) * ROW_BLOCK];
                let minus = <T::Acc as Real>::V::<S>::splat(simd, top[lane]);
                let mut sum = <T::Acc as Real>::V::<S>::splat(simd, T::Acc::default());
                for p in p[..list.len().next_multiple_of(ND)].chunks_exact_mut(ND) {
                    let e = T::Acc::exp2(simd, <T::Acc as Real>::V::<S>::from_slice(simd, p) - minus);
                    sum += e;
                    e.store_slice(p);
                }
                self.sum[lane] += sum.reduce_sum();
                if let Some(draw) = &head.draw {
                    for (p, &key) in p.iter_mut().zip(list) {
                        *p *= draw.factor(query, key as usize);
                    }
                }
                let values = self.values.gather(&problem.v, b, g, list.iter().map(|&j| j as usize));
                accumulate::<S, T::Acc, 1>(simd, &mut self.acc, lane, self.width, 0..list.len(), |i| [p[i]], values);
            }
        }
    }

    fn finish(&mut self, tile: usize, first: usize, rows: &mut TaskRows<'_, T>) {
        let dv = self.problem.widths().1;
        for lane in 0..self.plan.lanes(tile) {
            let acc = &mut self.acc[lane * self.width..][..dv];
            let sum = self.sum[lane];
            let empty = sum == T::Acc::default();
            let factor = if empty { T::Acc::default() } else { T::Acc::from_f64(1.0 / sum.to_f64()) };
            for x in acc.iter_mut() {
                *x = if empty { factor } else { *x * factor };
            }
            T::narrow(acc, rows.out[first + lane]);
            let log = (self.max[lane].to_f64() + sum.to_f64().log2()) * std::f64::consts::LN_2;
            *rows.lse[first + lane] = if empty { T::Acc::NEG_INFINITY } else { T::Acc::from_f64(log) };
        }
    }
}

/// Base-2 scores of a block's keys against a tile, biased and masked, with their maximum by lane.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn score_block<S: Simd, T: Storage, const NQ: usize, const NK: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    keys: Rows<'_, T::Acc>,
    qt: &[T::Acc],
    block: &TileKeys,
    pair: &mut usize,
    out: &mut [T::Acc],
    max: &mut [T::Acc; TILE],
) {
    let mut top = load::<S, T::Acc, 1, NQ>(simd, [&max[..]], 0)[0];
    let count = block.keys.len();
    for first in (0..count).step_by(NK) {
        let rows: [&[T::Acc]; NK] = std::array::from_fn(|i| keys.row((first + i).min(count - 1)));
        let s = scores::<S, T::Acc, NK, NQ>(simd, rows, qt);
        for (i, mut s) in s.into_iter().enumerate().take(count - first) {
            let at = first + i;
            biased::<S, T, NQ>(simd, head, block, at, pair, &mut s);
            let s = hide::<S, T::Acc, NQ>(simd, s, block.masks[at]);
            for n in 0..NQ {
                top[n] = top[n].max(s[n]);
            }
            store::<S, T::Acc, NQ>(&mut out[at * TILE..(at + 1) * TILE], 0, s);
        }
    }
    store::<S, T::Acc, NQ>(max, 0, top);
}

/// Adds the biases of one key of a block.
#[inline(always)]
pub(super) fn biased<S: Simd, T: Storage, const NQ: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    block: &TileKeys,
    at: usize,
    pair: &mut usize,
    s: &mut [<T::Acc as Real>::V<S>; NQ],
) {
    if let Some(bias) = &head.key_bias {
        let bias = <T::Acc as Real>::V::<S>::splat(simd, bias[block.keys[at] as usize]);
        for s in s.iter_mut() {
            *s += bias;
        }
    }
    if let Some(bias) = &head.pair_bias {
        let mut lanes = [T::Acc::default(); TILE];
        for (lane, x) in lanes.iter_mut().enumerate() {
            if block.masks[at] >> lane & 1 == 1 {
                *x = bias[*pair];
                *pair += 1;
            }
        }
        let bias = load::<S, T::Acc, 1, NQ>(simd, [&lanes], 0)[0];
        for n in 0..NQ {
            s[n] += bias[n];
        }
    }
}

/// Base-2 scores of one query's row keys; what lies past the list up to a whole vector becomes −∞.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn row_scores<S: Simd, T: Storage, const ND: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    q: &[T::Acc],
    keys: Rows<'_, T::Acc>,
    scale: T::Acc,
    list: &[u32],
    bias: Option<&[T::Acc]>,
    out: &mut [T::Acc],
) {
    let scale = <T::Acc as Real>::V::<S>::splat(simd, scale);
    for first in (0..list.len()).step_by(ND) {
        let rows: [&[T::Acc]; ND] = std::array::from_fn(|i| keys.row((first + i).min(list.len() - 1)));
        let s = dots::<S, T::Acc, ND>(simd, q, rows) * scale;
        s.store_slice(&mut out[first..first + ND]);
    }
    if let Some(key_bias) = &head.key_bias {
        for (s, &key) in out.iter_mut().zip(list) {
            *s += key_bias[key as usize];
        }
    }
    if let Some(bias) = bias {
        for (s, &bias) in out[..list.len()].iter_mut().zip(bias) {
            *s += bias;
        }
    }
    out[list.len()..list.len().next_multiple_of(ND)].fill(T::Acc::NEG_INFINITY);
}

#[inline(always)]
fn top_of<S: Simd, A: Real, const ND: usize>(simd: S, scores: &[A], count: usize) -> A {
    let mut top = A::V::<S>::splat(simd, A::NEG_INFINITY);
    for s in scores[..count.next_multiple_of(ND)].chunks_exact(ND) {
        top = top.max(A::V::<S>::from_slice(simd, s));
    }
    top.reduce_max()
}

/// Maxima with −∞ replaced by 0, so that a row of hidden keys gives weights of 0 and not NaN.
fn safe<A: Real>(max: &[A; TILE]) -> [A; TILE] {
    max.map(|m| if m == A::NEG_INFINITY { A::default() } else { m })
}

/// Raises the running maxima and returns the factor on what was accumulated under the old ones.
#[inline(always)]
fn raise<S: Simd, A: Real, const NQ: usize>(simd: S, max: &mut [A; TILE], block: &[A; TILE]) -> [A; TILE] {
    let old = *max;
    for (m, &b) in max.iter_mut().zip(block) {
        // NaN compares false and stays out: it reaches the row through its weights.
        if b > *m {
            *m = b;
        }
    }
    let lanes = TILE / NQ;
    let new = safe(max);
    let mut factor = [A::default(); TILE];
    for n in 0..NQ {
        let span = n * lanes..(n + 1) * lanes;
        let x = A::V::<S>::from_slice(simd, &old[span.clone()]) - A::V::<S>::from_slice(simd, &new[span.clone()]);
        A::exp2(simd, x).store_slice(&mut factor[span]);
    }
    factor
}

/// Multiplies each lane's accumulated output.
#[inline(always)]
fn rescale<S: Simd, A: Real>(simd: S, factor: &[A; TILE], acc: &mut [A], width: usize) {
    let lanes = <A::V<S> as SimdBase<S>>::LEN;
    for (row, &factor) in acc.chunks_exact_mut(width).zip(factor) {
        if factor == A::ONE {
            continue;
        }
        let factor = A::V::<S>::splat(simd, factor);
        for x in row.chunks_exact_mut(lanes) {
            (A::V::<S>::from_slice(simd, x) * factor).store_slice(x);
        }
    }
}

/// Adds a small matrix product to `R` rows of an accumulator, four vectors of columns at a time.
#[inline(always)]
pub(super) fn accumulate<S: Simd, A: Real, const R: usize>(
    simd: S,
    acc: &mut [A],
    first: usize,
    width: usize,
    terms: Range<usize>,
    coefficient: impl Fn(usize) -> [A; R] + Copy,
    rows: Rows<'_, A>,
) {
    let lanes = <A::V<S> as SimdBase<S>>::LEN;
    let mut column = 0;
    while column < width {
        if column + 4 * lanes <= width {
            columns::<S, A, R, 4>(simd, acc, first, width, terms.clone(), coefficient, rows, column);
            column += 4 * lanes;
        } else if column + 2 * lanes <= width {
            columns::<S, A, R, 2>(simd, acc, first, width, terms.clone(), coefficient, rows, column);
            column += 2 * lanes;
        } else {
            columns::<S, A, R, 1>(simd, acc, first, width, terms.clone(), coefficient, rows, column);
            column += lanes;
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn columns<S: Simd, A: Real, const R: usize, const C: usize>(
    simd: S,
    acc: &mut [A],
    first: usize,
    width: usize,
    terms: Range<usize>,
    coefficient: impl Fn(usize) -> [A; R],
    rows: Rows<'_, A>,
    column: usize,
) {
    let acc = &mut acc[first * width..(first + R) * width];
    let start: [&[A]; R] = std::array::from_fn(|r| &acc[r * width..(r + 1) * width]);
    let sums = load::<S, A, R, C>(simd, start, column);
    let sums = product::<S, A, R, C>(simd, sums, terms, coefficient, |i| rows.row(i), column);
    for (row, sums) in acc.chunks_exact_mut(width).zip(sums) {
        store::<S, A, C>(row, column, sums);
    }
}
