//! The backward pass: gradients of queries, keys, values and biases.
//!
//! Two sweeps over one wave of (batch, key head) pairs. The first goes by chunks of queries: tiles add to the keys that
//! the chunk owns and to its halo of foreign keys, rows leave a (p, ds) pair for each of theirs. The second goes by
//! chunks of keys: halos are added in order, and row pairs are gathered through the transposed plan. Nothing is added
//! by two tasks at once, so sums have one order whatever the executor.

mod key_sweep;
mod query_sweep;
mod row_part;
mod saved;
mod task;
mod tile_part;

use super::buffers::padded;
use super::deal::{TaskRows, cut, deal, deal_parts};
use super::element::{Real, Storage};
use super::head::HeadContext;
use super::problem::Problem;
use crate::error::Result;
use crate::memory::{self, OrLeave};
use crate::plan::{Chunks, EdgeMap, Planned, TILE};
use crate::simd::Run;
use fearless_simd::dispatch;
use key_sweep::sweep_keys;
use query_sweep::sweep_queries;
pub use saved::{Gradients, Saved};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use task::{Halos, KeyGradients, QueryTask};

/// Tasks that one wave aims for; bounds what is held between the sweeps.
const WAVE_TASKS: usize = 32;

/// Bytes of row pairs that one wave aims for.
const WAVE_BYTES: usize = 4 << 20;

/// Fills the gradients.
pub fn backward<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    run: Run<'_>,
    saved: Saved<'_, T>,
    gradients: Gradients<'_, T>,
) -> Result<()> {
    problem.check_gradients(&saved, &gradients)?;
    problem.check(plan)?;
    run_pairs(problem, plan, problem.pairs(), run, saved, gradients);
    Ok(())
}

/// [`backward`] of some (batch, key head) pairs: the gradients of q, k and v are those of the pairs alone, those of the
/// biases are whole. The problem was checked.
pub(super) fn run_pairs<T: Storage>(
    problem: &Problem<'_, T>,
    plan: Planned<'_>,
    pairs: Range<usize>,
    run: Run<'_>,
    saved: Saved<'_, T>,
    gradients: Gradients<'_, T>,
) {
    let (d, dv) = problem.widths();
    let (n, n_keys) = (plan.n_queries(), plan.n_keys());
    let Gradients { q, k, v, mut key_bias, mut edge_bias } = gradients;
    let group = problem.group();
    let total = pairs.len();
    // What rows leave between the sweeps should stay in a cache.
    let head_bytes = (plan.row_pairs() * size_of::<[T::Acc; 2]>()).max(1);
    let together = (WAVE_BYTES / head_bytes).clamp(1, group);
    let pairs_together = (WAVE_BYTES / (head_bytes * group)).clamp(1, total);
    let chunk_tiles = (n * pairs_together / WAVE_TASKS).clamp(512, 4096).div_ceil(TILE);
    let chunks = plan.chunks(chunk_tiles);
    let wave_pairs = WAVE_TASKS.div_ceil(chunks.own.len());
    let waves = q
        .chunks_mut(wave_pairs * group * n * d)
        .zip(k.chunks_mut(wave_pairs * n_keys * d))
        .zip(v.chunks_mut(wave_pairs * n_keys * dv))
        .enumerate();
    let mut row_pairs = T::Acc::kept_pairs().take(plan.row_pairs() * wave_pairs.min(total) * together);
    for (wave, ((q, k), v)) in waves {
        let first = pairs.start + wave * wave_pairs;
        let contexts = HeadContext::all(problem, plan.edges, first..(first + wave_pairs).min(pairs.end)).or_leave();
        let run = Wave { problem, plan, chunks: &chunks, saved: &saved, heads: &contexts, group, together, run };
        let biases = run.run(q, k, v, &mut row_pairs);
        for (head, (by_key, by_pair)) in contexts.iter().zip(biases) {
            if let (Some(out), Some(bias)) = (key_bias.as_deref_mut(), &problem.key_bias) {
                let row = head.batch.min(bias.batch - 1) * bias.heads + head.query_head.min(bias.heads - 1);
                out[row * n_keys..(row + 1) * n_keys].iter_mut().zip(by_key).for_each(|(x, y)| *x += y);
            }
            if let (Some(out), Some(bias), Some(map)) = (edge_bias.as_deref_mut(), &problem.edge_bias, plan.edges) {
                let row = head.query_head.min(bias.heads - 1) * map.pairs();
                for (&edge, y) in map.edges.iter().zip(by_pair) {
                    out[row + edge as usize] += y;
                }
            }
        }
    }
    T::Acc::kept_pairs().give(row_pairs);
}

/// Some (batch, key head) pairs, run together.
struct Wave<'a, 'p, T: Storage> {
    problem: &'a Problem<'p, T>,
    plan: Planned<'a>,
    chunks: &'a Chunks,
    saved: &'a Saved<'p, T>,
    heads: &'a [HeadContext<T::Acc>],
    group: usize,
    /// Query heads of a pair whose row pairs are held at once.
    together: usize,
    run: Run<'a>,
}

/// A buffer to accumulate into: the output itself where its rows are whole vectors of the right type.
enum Target<'a, T: Storage> {
    InPlace(&'a mut [T::Acc]),
    Converted(Vec<T::Acc>, &'a mut [T]),
}

impl<'a, T: Storage> Target<'a, T> {
    fn new(out: &'a mut [T], width: usize) -> Self {
        let full = padded(width);
        if width == full && T::as_acc(out).is_some() {
            match T::as_acc_mut(out) {
                Some(out) => return Self::InPlace(out),
                None => unreachable!("as_acc and as_acc_mut agree"),
            }
        }
        Self::Converted(memory::zeros("q, k, v", out.len() / width * full).or_leave(), out)
    }

    fn values(&mut self) -> &mut [T::Acc] {
        match self {
            Self::InPlace(out) => out,
            Self::Converted(acc, _) => acc,
        }
    }

    /// Rounds what was accumulated into the output, row by row.
    fn finish(self, width: usize) {
        if let Self::Converted(acc, out) = self {
            for (out, acc) in out.chunks_exact_mut(width).zip(acc.chunks_exact(padded(width))) {
                T::narrow(&acc[..width], out);
            }
        }
    }
}

type BiasGradients<A> = (Vec<A>, Vec<A>);

impl<T: Storage> Wave<'_, '_, T> {
    /// Runs both sweeps; returns the gradients of the biases by head: by key, and by pair in the plan's order.
    fn run(&self, q: &mut [T], k: &mut [T], v: &mut [T], row_pairs: &mut [[T::Acc; 2]]) -> Vec<BiasGradients<T::Acc>> {
        let (d, dv) = self.problem.widths();
        let (n_keys, pairs) = (self.plan.n_keys(), self.plan.row_pairs());
        let wants_keys = self.problem.key_bias.is_some();
        let (mut k, mut v) = (Target::new(k, d), Target::new(v, dv));
        let by_key = if wants_keys { n_keys * self.heads.len() } else { 0 };
        let mut by_key = memory::zeros::<T::Acc>("bias", by_key).or_leave();
        let tile_pairs = self.plan.edges.map_or(0, EdgeMap::tile_pairs);
        let mut by_tile_pair = memory::zeros::<T::Acc>("edge_bias", tile_pairs * self.heads.len()).or_leave();
        let mut by_row_pair = memory::filled("edge_bias", Vec::new(), self.heads.len()).or_leave();

        let widths = (padded(d), padded(dv));
        let biased = if wants_keys { self.group } else { 0 };
        let mut halos = Halos::new(self.chunks, self.heads.len() / self.group, widths, biased);
        let chunks = (0..self.heads.len()).flat_map(|_| 0..self.chunks.own.len());
        let lengths = chunks.map(|chunk| self.tile_pairs(chunk).len());
        let mut written = Written {
            dq: memory::collected("q, k, v", deal(&self.plan, q, d, self.chunks.tiles).into_iter().map(Some))
                .or_leave(),
            tile_pairs: memory::collected("edge_bias", cut(&mut by_tile_pair, lengths).map(Some)).or_leave(),
        };
        for first in (0..self.group).step_by(self.together) {
            let heads = first..(first + self.together).min(self.group);
            let own = self.own(k.values(), v.values(), &mut by_key, &heads);
            self.sweep_queries(&heads, own, halos.split(&heads), &mut written, row_pairs);
            let own = self.own(k.values(), v.values(), &mut by_key, &heads);
            self.sweep_keys(&heads, own, &halos, row_pairs);
            if self.problem.edge_bias.is_some() && pairs > 0 {
                for (head, row_pairs) in self.of_all_pairs(&heads).zip(row_pairs.chunks_exact(pairs)) {
                    memory::extend("edge_bias", &mut by_row_pair[head], row_pairs.iter().map(|p| p[1])).or_leave();
                }
            }
        }
        k.finish(d);
        v.finish(dv);
        let of_head = |h: usize| {
            let keys = if wants_keys { &by_key[h * n_keys..(h + 1) * n_keys] } else { &[] };
            let tile_pairs = &by_tile_pair[h * tile_pairs..(h + 1) * tile_pairs];
            let mut by_pair = memory::with_capacity("edge_bias", tile_pairs.len() + by_row_pair[h].len()).or_leave();
            by_pair.extend_from_slice(tile_pairs);
            by_pair.append(&mut by_row_pair[h]);
            (memory::copied("bias", keys).or_leave(), by_pair)
        };
        memory::collected("bias", (0..self.heads.len()).map(of_head)).or_leave()
    }

    /// The first sweep, of some query heads of every (batch, key head) pair.
    fn sweep_queries<'o, 'w: 'o>(
        &self,
        heads: &Range<usize>,
        own: Vec<KeyGradients<'o, T::Acc>>,
        halos: Vec<KeyGradients<'o, T::Acc>>,
        written: &mut Written<'w, T>,
        row_pairs: &'o mut [[T::Acc; 2]],
    ) {
        let count = self.chunks.own.len();
        let tasks = self.query_tasks(heads, own, halos, written, row_pairs);
        self.run.executor.run(tasks.len(), &|i| {
            let mut task = tasks[i].lock().unwrap_or_else(PoisonError::into_inner);
            let heads = &self.heads[i / count * self.group..][heads.clone()];
            dispatch!(self.run.level, simd => sweep_queries(
                simd, &mut task, self.problem, self.plan, self.saved, self.chunks, heads,
            ));
        });
    }

    /// The second one.
    fn sweep_keys(
        &self,
        heads: &Range<usize>,
        own: Vec<KeyGradients<'_, T::Acc>>,
        halos: &Halos<T::Acc>,
        row_pairs: &[[T::Acc; 2]],
    ) {
        let (count, pairs) = (self.chunks.own.len(), self.plan.row_pairs());
        let own = memory::collected("q, k, v", own.into_iter().map(Mutex::new)).or_leave();
        let transposed = (pairs > 0).then(|| self.plan.transposed());
        self.run.executor.run(own.len(), &|i| {
            let mut own = own[i].lock().unwrap_or_else(PoisonError::into_inner);
            let (pair, owner) = (i / count, i % count);
            for chunk in (0..count).filter(|&c| c != owner) {
                halos.add_to(&mut own, self.chunks, pair, heads.start, chunk, owner);
            }
            let Some(transposed) = transposed else { return };
            let row_pairs = &row_pairs[pair * heads.len() * pairs..][..heads.len() * pairs];
            let heads = &self.heads[pair * self.group..][heads.clone()];
            dispatch!(self.run.level, simd => sweep_keys(
                simd, self.problem, self.saved, transposed, heads, row_pairs, self.chunks, owner, &mut own,
            ));
        });
    }

    /// Those query heads of every (batch, key head) pair, by their place among all.
    fn of_all_pairs(&self, heads: &Range<usize>) -> impl Iterator<Item = usize> {
        let (group, heads) = (self.group, heads.clone());
        (0..self.heads.len()).step_by(group).flat_map(move |first| heads.clone().map(move |head| first + head))
    }

    fn tiles(&self, chunk: usize) -> Range<usize> {
        chunk * self.chunks.tiles..((chunk + 1) * self.chunks.tiles).min(self.plan.tiles())
    }

    /// The pairs of a chunk's tiles, if the bias of pairs asks for its gradient.
    fn tile_pairs(&self, chunk: usize) -> Range<usize> {
        let tiles = self.tiles(chunk);
        self.plan.edges.map_or(0..0, |map| map.tile_starts[tiles.start]..map.tile_starts[tiles.end])
    }

    /// Each (pair, chunk)'s own rows of dk and dv, and its part of the key bias of each of the heads.
    fn own<'o>(
        &self,
        k: &'o mut [T::Acc],
        v: &'o mut [T::Acc],
        by_key: &'o mut [T::Acc],
        heads: &Range<usize>,
    ) -> Vec<KeyGradients<'o, T::Acc>> {
        let (d, dv) = self.problem.widths();
        let (order, own) = (self.chunks.order(), &self.chunks.own);
        let biased = by_key.len() / self.plan.n_keys();
        let pairs = self.heads.len() / self.group;
        KeyGradients::of_tasks(
            deal_parts(order, own, pairs, k, padded(d)),
            deal_parts(order, own, pairs, v, padded(dv)),
            deal_parts(order, own, biased, by_key, 1),
            own.len(),
            heads,
        )
    }

    fn query_tasks<'o, 'w: 'o>(
        &self,
        heads: &Range<usize>,
        own: Vec<KeyGradients<'o, T::Acc>>,
        halos: Vec<KeyGradients<'o, T::Acc>>,
        written: &mut Written<'w, T>,
        row_pairs: &'o mut [[T::Acc; 2]],
    ) -> Vec<Mutex<QueryTask<'o, T>>> {
        let (plan, count) = (self.plan, self.chunks.own.len());
        let pair_range = |chunk: usize| {
            let tiles = self.tiles(chunk);
            plan.first_pair(tiles.start)..plan.first_pair(tiles.end)
        };
        // All chunks of the first head, then of the next.
        let chunks = self.of_all_pairs(heads).flat_map(|_| 0..count);
        let pairs = cut(row_pairs, chunks.map(|c| pair_range(c).len())).map(Some);
        let mut pairs = memory::collected("index_set", pairs).or_leave();
        let tasks = own.into_iter().zip(halos).enumerate().map(|(i, (own, halo))| {
            let (pair, chunk) = (i / count, i % count);
            let of_chunk = || heads.clone().map(|head| (pair * self.group + head) * count + chunk);
            let held = || (pair * heads.len()..(pair + 1) * heads.len()).map(|head| head * count + chunk);
            Mutex::new(QueryTask {
                chunk,
                tiles: self.tiles(chunk),
                first: heads.start == 0,
                dq: of_chunk().filter_map(|at| written.dq[at].take()).collect(),
                own,
                halo,
                row_pairs: held().filter_map(|at| pairs[at].take()).collect(),
                first_pair: pair_range(chunk).start,
                tile_pairs: of_chunk().filter_map(|at| written.tile_pairs[at].take()).collect(),
                first_tile_pair: self.tile_pairs(chunk).start,
            })
        });
        memory::collected("q, k, v", tasks).or_leave()
    }
}

/// What the first sweep writes but once, by head and chunk.
struct Written<'a, T: Storage> {
    /// Rows of dq.
    dq: Vec<Option<TaskRows<'a, T>>>,
    /// ds of the pairs in tiles.
    tile_pairs: Vec<Option<&'a mut [T::Acc]>>,
}
