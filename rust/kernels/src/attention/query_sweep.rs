//! First backward sweep, by chunks of queries: tiles and the first half of the rows.

use super::backward::Saved;
use super::element::{Real, Storage};
use super::forward::{accumulate, biased, row_scores};
use super::head::HeadContext;
use super::micro::{Rows, dots, load, product, scores, store, transpose};
use super::problem::Problem;
use super::scratch::{KEY_BLOCK, LaneKeys, Panel, ROW_BLOCK, group_ranges, hide, padded};
use crate::plan::{Chunks, Cursor, Plan, TILE, TileKeys};
use fearless_simd::{Simd, prelude::*};
use std::ops::Range;

/// Gradients of a range of keys: rows of dk and dv, and by head those of the key bias (no heads: not asked for).
pub(super) struct KeyGradients<'a, A> {
    pub(super) k: &'a mut [A],
    pub(super) v: &'a mut [A],
    pub(super) bias: Vec<&'a mut [A]>,
    /// Padded widths of a key and a value.
    pub(super) widths: (usize, usize),
    /// The first key.
    pub(super) first: usize,
}

/// Gradients of the foreign keys that a chunk's tiles touch.
#[derive(Default)]
pub(super) struct Halo<A> {
    k: Vec<A>,
    v: Vec<A>,
    bias: Vec<Vec<A>>,
}

impl<A: Real> Halo<A> {
    pub(super) fn new<T: Storage<Acc = A>>(slots: usize, problem: &Problem<'_, T>, group: usize) -> Self {
        let (d, dv) = problem.widths();
        let zeros = |n: usize| vec![A::default(); n];
        let bias = if problem.key_bias.is_some() { group } else { 0 };
        Self { k: zeros(slots * padded(d)), v: zeros(slots * padded(dv)), bias: vec![zeros(slots); bias] }
    }

    /// Adds the slots of `chunk` that `owner` owns to the owner's gradients.
    pub(super) fn add_to(&self, own: &mut KeyGradients<'_, A>, chunks: &Chunks, chunk: usize, owner: usize) {
        let (d, dv) = own.widths;
        for slot in chunks.slots_of(chunk, owner) {
            let row = chunks.halo[chunk][slot] as usize - own.first;
            add(&mut own.k[row * d..][..d], &self.k[slot * d..][..d]);
            add(&mut own.v[row * dv..][..dv], &self.v[slot * dv..][..dv]);
            for (own, halo) in own.bias.iter_mut().zip(&self.bias) {
                own[row] += halo[slot];
            }
        }
    }
}

fn add<A: Real>(into: &mut [A], from: &[A]) {
    into.iter_mut().zip(from).for_each(|(x, &y)| *x += y);
}

/// One chunk of queries of one (batch, key head) pair, with everything it writes.
pub(super) struct QueryTask<'a, T: Storage> {
    pub(super) chunk: usize,
    pub(super) tiles: Range<usize>,
    /// Rows of dq by head and position.
    pub(super) dq: Vec<&'a mut [T]>,
    pub(super) own: KeyGradients<'a, T::Acc>,
    pub(super) halo: Halo<T::Acc>,
    /// (p, ds) of the chunk's row pairs by head.
    pub(super) row_pairs: Vec<&'a mut [[T::Acc; 2]]>,
    pub(super) first_pair: usize,
    /// ds of the chunk's tile pairs by head; empty when not asked for.
    pub(super) tile_pairs: Vec<&'a mut [T::Acc]>,
    pub(super) first_tile_pair: usize,
}

impl<T: Storage> QueryTask<'_, T> {
    #[inline(always)]
    pub(super) fn run<S: Simd>(
        &mut self,
        simd: S,
        problem: &Problem<'_, T>,
        plan: &Plan,
        saved: &Saved<'_, T>,
        chunks: &Chunks,
        heads: &[HeadContext<T::Acc>],
    ) {
        let wide = <S::f32s as SimdBase<S>>::LEN == TILE;
        match (<<T::Acc as Real>::V<S> as SimdBase<S>>::LEN == TILE, wide) {
            (true, true) => Sweep::<T, 1, 8, 16>::new(problem, plan, saved, chunks, self.chunk).run(simd, self, heads),
            (true, false) => Sweep::<T, 1, 4, 16>::new(problem, plan, saved, chunks, self.chunk).run(simd, self, heads),
            (false, _) => Sweep::<T, 2, 4, 8>::new(problem, plan, saved, chunks, self.chunk).run(simd, self, heads),
        }
    }
}

/// Scratch of a sweep: `NQ` vectors a tile, `NK` keys at a time, `ND` lanes a vector.
struct Sweep<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize> {
    problem: &'p Problem<'p, T>,
    plan: &'p Plan,
    saved: &'p Saved<'p, T>,
    own: Range<usize>,
    /// Halo slot of each foreign key.
    slots: Vec<u32>,
    queries: Panel<T::Acc>,
    douts: Panel<T::Acc>,
    outs: Panel<T::Acc>,
    keys: Panel<T::Acc>,
    values: Panel<T::Acc>,
    qt: Vec<T::Acc>,
    dot: Vec<T::Acc>,
    p: Vec<T::Acc>,
    ds: Vec<T::Acc>,
    dq: Vec<T::Acc>,
    /// lse in base 2, +∞ where there is none; delta − dlse.
    lse: [T::Acc; TILE],
    delta: [T::Acc; TILE],
    block: TileKeys,
    lanes: LaneKeys,
}

impl<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize> Sweep<'p, T, NQ, NK, ND> {
    fn new(
        problem: &'p Problem<'p, T>,
        plan: &'p Plan,
        saved: &'p Saved<'p, T>,
        chunks: &Chunks,
        chunk: usize,
    ) -> Self {
        let (d, dv) = problem.widths();
        let zeros = |n: usize| vec![T::Acc::default(); n];
        let mut slots = vec![0; if chunks.halo[chunk].is_empty() { 0 } else { plan.n_keys() }];
        for (slot, &key) in chunks.halo[chunk].iter().enumerate() {
            slots[key as usize] = slot as u32;
        }
        Self {
            problem,
            plan,
            saved,
            own: chunks.own[chunk].clone(),
            slots,
            queries: Panel::default(),
            douts: Panel::default(),
            outs: Panel::default(),
            keys: Panel::default(),
            values: Panel::default(),
            qt: zeros(padded(d) * TILE),
            dot: zeros(padded(dv) * TILE),
            p: zeros(KEY_BLOCK.max(ROW_BLOCK) * TILE),
            ds: zeros(KEY_BLOCK.max(ROW_BLOCK) * TILE),
            dq: zeros(TILE * padded(d)),
            lse: [T::Acc::default(); TILE],
            delta: [T::Acc::default(); TILE],
            block: TileKeys::default(),
            lanes: LaneKeys::default(),
        }
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, simd: S, task: &mut QueryTask<'_, T>, heads: &[HeadContext<T::Acc>]) {
        let width = self.problem.widths().0;
        let full = padded(width);
        let mut row = 0;
        for (g, head) in heads.iter().enumerate() {
            for tile in task.tiles.clone() {
                self.dq.fill(T::Acc::default());
                simd.vectorize(
                    #[inline(always)]
                    || self.prepare(simd, head, tile),
                );
                simd.vectorize(
                    #[inline(always)]
                    || self.tile_part(simd, task, g, head, tile),
                );
                self.lanes.fill(self.plan, tile);
                if !self.lanes.keys.is_empty() {
                    simd.vectorize(
                        #[inline(always)]
                        || self.row_part(simd, task, g, head, tile),
                    );
                }
                for lane in 0..self.plan.lanes(tile) {
                    T::narrow(&self.dq[lane * full..][..width], task.dq[row]);
                    row += 1;
                }
            }
        }
    }

    /// Transposes the tile's queries and output gradients, and reads its lse and delta.
    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, head: &HeadContext<T::Acc>, tile: usize) {
        let (plan, saved) = (self.plan, self.saved);
        let (b, h, n) = (head.batch, head.query_head, plan.lanes(tile));
        let rows = || (0..n).map(|lane| plan.query(tile, lane));
        let q = self.queries.gather(&self.problem.q, b, h, rows());
        let dout = self.douts.gather(&saved.dout, b, h, rows());
        let out = self.outs.gather(&saved.out, b, h, rows());
        let all =
            |rows: Rows<'_, T::Acc>| -> [usize; TILE] { std::array::from_fn(|lane| rows.starts[lane.min(n - 1)]) };
        let (qs, ds) = (all(q), all(dout));
        let q_rows: [&[T::Acc]; TILE] = qs.map(|s| &q.data[s..s + q.width]);
        let d_rows: [&[T::Acc]; TILE] = ds.map(|s| &dout.data[s..s + dout.width]);
        transpose::<S, T::Acc>(simd, &q_rows[..n], self.problem.scale2(), &mut self.qt);
        transpose::<S, T::Acc>(simd, &d_rows[..n], T::Acc::ONE, &mut self.dot);
        let queries = plan.n_queries();
        self.lse = [T::Acc::default() - T::Acc::NEG_INFINITY; TILE];
        self.delta = [T::Acc::default(); TILE];
        let heads = self.problem.heads().1;
        for lane in 0..n {
            let at = (b * heads + h) * queries + plan.query(tile, lane);
            let lse = saved.lse[at];
            if lse != T::Acc::NEG_INFINITY {
                self.lse[lane] = T::Acc::from_f64(lse.to_f64() * std::f64::consts::LOG2_E);
            }
            let delta = dot::<S, T::Acc>(simd, dout.row(lane), out.row(lane));
            self.delta[lane] = delta - saved.dlse.map_or(T::Acc::default(), |d| d[at]);
        }
    }

    #[inline(always)]
    fn tile_part<S: Simd>(
        &mut self,
        simd: S,
        task: &mut QueryTask<'_, T>,
        g: usize,
        head: &HeadContext<T::Acc>,
        tile: usize,
    ) {
        let (problem, plan) = (self.problem, self.plan);
        let (b, h, kv) = (head.batch, head.query_head, head.key_head);
        let (dk_width, dv_width) = task.own.widths;
        let lse = load::<S, T::Acc, 1, NQ>(simd, [&self.lse], 0)[0];
        let delta = load::<S, T::Acc, 1, NQ>(simd, [&self.delta], 0)[0];
        let scale = <T::Acc as Real>::V::<S>::splat(simd, T::Acc::from_f64(problem.scale));
        let mut pair = problem.edge_bias.map_or(0, |e| e.map.tile_starts[tile]);
        let mut cursor = Cursor::default();
        while plan.tile_block(tile, &mut cursor, KEY_BLOCK, &mut self.block) {
            let block = &self.block;
            let count = block.keys.len();
            let keys = self.keys.gather(&problem.k, b, kv, block.keys.iter().map(|&j| j as usize));
            let values = self.values.gather(&problem.v, b, kv, block.keys.iter().map(|&j| j as usize));
            // Rows of a tile are few: gathered again, from cache.
            let rows = || (0..plan.lanes(tile)).map(|lane| plan.query(tile, lane));
            let q = self.queries.gather(&problem.q, b, h, rows());
            let dout = self.douts.gather(&self.saved.dout, b, h, rows());
            for first in (0..count).step_by(NK) {
                let last = (first + NK).min(count);
                let k_rows: [&[T::Acc]; NK] = std::array::from_fn(|i| keys.row((first + i).min(count - 1)));
                let s = scores::<S, T::Acc, NK, NQ>(simd, k_rows, &self.qt);
                let mut weights = [[lse[0]; NQ]; NK];
                let pair_before = pair;
                for i in 0..last - first {
                    let mut s = s[i];
                    biased::<S, T, NQ>(simd, head, block, first + i, &mut pair, &mut s);
                    let s = hide::<S, T::Acc, NQ>(simd, s, block.masks[first + i]);
                    for n in 0..NQ {
                        weights[i][n] = T::Acc::exp2(simd, s[n] - lse[n]);
                    }
                }
                let v_rows: [&[T::Acc]; NK] = std::array::from_fn(|i| values.row((first + i).min(count - 1)));
                let dp = scores::<S, T::Acc, NK, NQ>(simd, v_rows, &self.dot);
                pair = pair_before;
                for i in 0..last - first {
                    let at = first + i;
                    let mut factor = [<T::Acc as Real>::V::<S>::splat(simd, T::Acc::ONE); NQ];
                    if let Some(draw) = &head.draw {
                        let mut lanes = [T::Acc::ONE; TILE];
                        for (lane, x) in lanes.iter_mut().enumerate().take(plan.lanes(tile)) {
                            *x = draw.factor(plan.query(tile, lane), block.keys[at] as usize);
                        }
                        factor = load::<S, T::Acc, 1, NQ>(simd, [&lanes], 0)[0];
                    }
                    let mut p = weights[i];
                    let mut ds = weights[i];
                    for n in 0..NQ {
                        ds[n] = p[n] * (dp[i][n] * factor[n] - delta[n]);
                        p[n] *= factor[n];
                    }
                    if !task.own.bias.is_empty() || problem.edge_bias.is_some() {
                        let mut lanes = [T::Acc::default(); TILE];
                        store::<S, T::Acc, NQ>(&mut lanes, 0, ds);
                        task.bias_gradients(g, block, at, &lanes, &mut pair, &self.own, &self.slots);
                    }
                    for n in 0..NQ {
                        ds[n] *= scale;
                    }
                    store::<S, T::Acc, NQ>(&mut self.p[at * TILE..(at + 1) * TILE], 0, p);
                    store::<S, T::Acc, NQ>(&mut self.ds[at * TILE..(at + 1) * TILE], 0, ds);
                }
            }
            let own = self.own.clone();
            for first in (0..count).step_by(4) {
                let last = (first + 4).min(count);
                let places: [(bool, usize); 4] = std::array::from_fn(|i| {
                    let key = block.keys[(first + i).min(count - 1)] as usize;
                    if own.contains(&key) { (true, key - own.start) } else { (false, self.slots[key] as usize) }
                });
                let union = block.masks[first..last].iter().fold(0, |a, m| a | m);
                let lanes = union.trailing_zeros() as usize..TILE - union.leading_zeros() as usize;
                let add = (last - first, first, lanes);
                let (own_v, halo_v) = (&mut *task.own.v, &mut task.halo.v);
                add_to_keys::<S, T::Acc>(simd, own_v, halo_v, dv_width, &places, &add, &self.p, dout);
                let (own_k, halo_k) = (&mut *task.own.k, &mut task.halo.k);
                add_to_keys::<S, T::Acc>(simd, own_k, halo_k, dk_width, &places, &add, &self.ds, q);
            }
            for (group, range) in group_ranges(block).into_iter().enumerate() {
                let ds = &self.ds;
                let coefficient = |i: usize| {
                    let ds = &ds[i * TILE + 4 * group..][..4];
                    [ds[0], ds[1], ds[2], ds[3]]
                };
                accumulate::<S, T::Acc, 4>(simd, &mut self.dq, 4 * group, keys.width, range, coefficient, keys);
            }
        }
    }

    /// Leaves (p, ds) of every row pair and adds to dq.
    #[inline(always)]
    fn row_part<S: Simd>(
        &mut self,
        simd: S,
        task: &mut QueryTask<'_, T>,
        g: usize,
        head: &HeadContext<T::Acc>,
        tile: usize,
    ) {
        let (problem, plan) = (self.problem, self.plan);
        let (b, h, kv) = (head.batch, head.query_head, head.key_head);
        let scale = T::Acc::from_f64(problem.scale);
        for from in (0..self.lanes.longest()).step_by(ROW_BLOCK) {
            for lane in 0..plan.lanes(tile) {
                let query = plan.query(tile, lane);
                let list = self.lanes.lane(lane);
                let list = &list[from.min(list.len())..(from + ROW_BLOCK).min(list.len())];
                if list.is_empty() {
                    continue;
                }
                let first = self.lanes.pairs[lane] + from;
                let bias = head.pair_bias.as_ref().map(|p| &p[head.tile_pairs + first..]);
                let q = self.queries.gather(&problem.q, b, h, std::iter::once(query));
                let keys = self.keys.gather(&problem.k, b, kv, list.iter().map(|&j| j as usize));
                row_scores::<S, T, ND>(simd, head, q.row(0), keys, problem.scale2(), list, bias, &mut self.p);
                let dout = self.douts.gather(&self.saved.dout, b, h, std::iter::once(query));
                let values = self.values.gather(&problem.v, b, kv, list.iter().map(|&j| j as usize));
                let lse = <T::Acc as Real>::V::<S>::splat(simd, self.lse[lane]);
                let delta = <T::Acc as Real>::V::<S>::splat(simd, self.delta[lane]);
                let out = &mut task.row_pairs[g][first - task.first_pair..][..list.len()];
                for at in (0..list.len()).step_by(ND) {
                    let rows: [&[T::Acc]; ND] = std::array::from_fn(|i| values.row((at + i).min(list.len() - 1)));
                    let mut dp = dots::<S, T::Acc, ND>(simd, dout.row(0), rows);
                    let s = <T::Acc as Real>::V::<S>::from_slice(simd, &self.p[at..at + ND]);
                    let weight = T::Acc::exp2(simd, s - lse);
                    let mut p = weight;
                    if let Some(draw) = &head.draw {
                        let factor = <T::Acc as Real>::V::<S>::from_fn(simd, |i| {
                            list.get(at + i).map_or(T::Acc::ONE, |&key| draw.factor(query, key as usize))
                        });
                        p *= factor;
                        dp *= factor;
                    }
                    let ds = weight * (dp - delta);
                    for i in 0..(list.len() - at).min(ND) {
                        out[at + i] = [p[i], ds[i]];
                    }
                    (ds * scale).store_slice(&mut self.ds[at..at + ND]);
                }
                let ds = &self.ds;
                accumulate::<S, T::Acc, 1>(simd, &mut self.dq, lane, keys.width, 0..list.len(), |i| [ds[i]], keys);
            }
        }
    }
}

impl<T: Storage> QueryTask<'_, T> {
    /// Gradients of the biases of one tile key, from its ds by lane.
    fn bias_gradients(
        &mut self,
        g: usize,
        block: &TileKeys,
        at: usize,
        ds: &[T::Acc; TILE],
        pair: &mut usize,
        own: &Range<usize>,
        slots: &[u32],
    ) {
        if !self.own.bias.is_empty() {
            let key = block.keys[at] as usize;
            let sum = ds.iter().fold(T::Acc::default(), |a, &x| a + x);
            if own.contains(&key) {
                self.own.bias[g][key - own.start] += sum;
            } else {
                self.halo.bias[g][slots[key] as usize] += sum;
            }
        }
        if let Some(out) = self.tile_pairs.get_mut(g).filter(|o| !o.is_empty()) {
            for (lane, &ds) in ds.iter().enumerate() {
                if block.masks[at] >> lane & 1 == 1 {
                    out[*pair - self.first_tile_pair] = ds;
                    *pair += 1;
                }
            }
        }
    }
}

/// Adds `Σ_lane weights[key][lane] · rows[lane]` to the gradient rows of up to four keys.
#[inline(always)]
fn add_to_keys<S: Simd, A: Real>(
    simd: S,
    own: &mut [A],
    halo: &mut [A],
    width: usize,
    places: &[(bool, usize); 4],
    (count, first, lanes): &(usize, usize, Range<usize>),
    weights: &[A],
    rows: Rows<'_, A>,
) {
    let vector = <A::V<S> as SimdBase<S>>::LEN;
    let weights = &weights[first * TILE..];
    let coefficient = |lane: usize| -> [A; 4] { std::array::from_fn(|r| weights[r * TILE + lane]) };
    let mut column = 0;
    macro_rules! step {
        ($c:literal) => {{
            let start: [&[A]; 4] = std::array::from_fn(|r| {
                let (in_own, row) = places[r];
                let from: &[A] = if in_own { &*own } else { &*halo };
                &from[row * width..(row + 1) * width]
            });
            let sums = load::<S, A, 4, $c>(simd, start, column);
            let sums = product::<S, A, 4, $c>(simd, sums, lanes.clone(), coefficient, |i| rows.row(i), column);
            for (r, sums) in sums.into_iter().enumerate().take(*count) {
                let (in_own, row) = places[r];
                let to = if in_own { &mut *own } else { &mut *halo };
                store::<S, A, $c>(&mut to[row * width..(row + 1) * width], column, sums);
            }
            column += $c * vector;
        }};
    }
    while column < width {
        if column + 4 * vector <= width {
            step!(4);
        } else if column + 2 * vector <= width {
            step!(2);
        } else {
            step!(1);
        }
    }
}

/// Dot product of two equally wide rows.
#[inline(always)]
fn dot<S: Simd, A: Real>(simd: S, a: &[A], b: &[A]) -> A {
    let lanes = <A::V<S> as SimdBase<S>>::LEN;
    let mut sum = A::V::<S>::splat(simd, A::default());
    for (a, b) in a.chunks_exact(lanes).zip(b.chunks_exact(lanes)) {
        sum = A::V::<S>::from_slice(simd, a).mul_add(A::V::<S>::from_slice(simd, b), sum);
    }
    sum.reduce_sum()
}
