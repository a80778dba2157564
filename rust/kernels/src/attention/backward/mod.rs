//! The backward pass: gradients of queries, keys, values and biases.
//!
//! Two sweeps over each wave of groups. The first goes by chunks of queries: tiles add to the keys that the chunk owns
//! and to its halo of foreign keys, and each row edge leaves its weight p and the gradient ds of its score. The second
//! goes by chunks of keys: halos are added in order, and row edges are gathered through the transposed plan. No two
//! tasks add to the same value, so sums have one order whatever the executor.
//!
//! Where tiles read long runs of keys, a halo would be as large as the gradients, once for each chunk. Those plans run in
//! rounds instead: in round r chunk i of the queries meets chunk i + r of the keys alone, and four tiles read a block of
//! keys together.

mod key_sweep;
mod pass;
mod query_sweep;
mod row_part;
mod saved;
mod statistics_products;
mod statistics_sweep;
mod swept_tile;
mod target;
mod task;
mod tile_part;

use super::buffers::padded;
use super::deal::{TaskRows, cut, deal, deal_parts};
use super::distances::Distances;
use super::element::{Accumulator, Storage};
use super::head::HeadContext;
use super::problem::Problem;
use crate::error::Result;
use crate::memory::{self, OrLeave};
use crate::plan::{Chunks, EdgeMap, EdgeRows, Planned, TILE};
use crate::simd::Run;
use key_sweep::KeySweep;
use pass::{Pass, QueryPart};
pub use saved::{Gradients, Saved, StatisticsGradients};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use target::Target;
use task::{Halos, KeyGradients, QueryTask, next_round};

/// Tasks that one wave aims for; it bounds what is held between the sweeps.
const WAVE_TASKS: usize = 32;

/// Bytes of (p, ds) of row edges that one wave aims for.
const WAVE_BYTES: usize = 4 << 20;

/// Values of a key chunk's K in rounds.
const ROUND_VALUES: usize = 1 << 15;

/// Fewest keys of a chunk in rounds.
const FEWEST_KEYS: usize = 128;

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
    run_groups(problem, plan, problem.groups(), run, saved, gradients);
    Ok(())
}

/// [`backward`] of some groups: the gradients of q, k and v are those of the groups alone, those of the biases are
/// whole; that of v is empty where values have none. The problem was checked.
pub(super) fn run_groups<'p, T: Storage, P: Pass<'p, T>>(
    problem: &Problem<'p, T>,
    plan: Planned<'_>,
    groups: Range<usize>,
    run: Run<'_>,
    pass: P,
    gradients: Gradients<'_, T>,
) {
    let (d, dv) = (problem.widths().0, pass.douts().map_or(0, |douts| douts.shape[3]));
    let (n, n_keys) = (plan.n_queries(), plan.n_keys());
    let Gradients { q, k, mut v, mut key_bias, mut edge_bias, mut distances } = gradients;
    let tables = if distances.is_some() { problem.modifiers.distances } else { None };
    let group_size = problem.group_size();
    let total = groups.len();
    // What rows leave between the sweeps should stay in cache.
    let head_bytes = (plan.row_edges() * size_of::<[T::Acc; 2]>()).max(1);
    let together = (WAVE_BYTES / head_bytes).clamp(1, group_size);
    let groups_together = (WAVE_BYTES / (head_bytes * group_size)).clamp(1, total);
    let rounds = P::ROUNDS && T::as_acc(&[]).is_some() && plan.edges.is_none() && plan.has_long_runs();
    // In rounds the rows of K, V and their gradients that one task reads should stay in the second level cache.
    let in_rounds = (ROUND_VALUES / d.max(dv).max(1)).clamp(256, 512);
    let rounds = rounds && n_keys >= n.div_ceil(in_rounds) * FEWEST_KEYS;
    let rows = if rounds { in_rounds } else { (n * groups_together / WAVE_TASKS).clamp(512, 4096) };
    let chunks = plan.chunks(rows.div_ceil(TILE), rounds);
    let wave_groups = WAVE_TASKS.div_ceil(chunks.own.len());
    let waves = q.chunks_mut(wave_groups * group_size * n * d).zip(k.chunks_mut(wave_groups * n_keys * d)).enumerate();
    let mut p_ds = T::Acc::kept_p_ds().take(plan.row_edges() * wave_groups.min(total) * together);
    for (wave, (q, k)) in waves {
        let v = v.split_off_mut(..k.len() / d * dv).unwrap_or_default();
        let first = groups.start + wave * wave_groups;
        let contexts = HeadContext::all(problem, plan, first..(first + wave_groups).min(groups.end)).or_leave();
        let table = tables.map_or(0, |bias| Distances::<T::Acc>::padded(bias.length()));
        let run = Wave { problem, plan, chunks: &chunks, pass, dv, heads: &contexts, group_size, together, table, run };
        let nnz = plan.edge_rows.map_or(0, EdgeRows::nnz);
        // A bias that one head of one batch entry has for itself needs no sum.
        let heads = contexts[0].query_head..contexts[0].query_head + contexts.len();
        let alone = problem.q.shape[0] == 1 && problem.edge_bias.is_some_and(|bias| bias.heads == problem.heads().1);
        let mut summed = memory::zeros::<T::Acc>("edge_bias", if alone { 0 } else { nnz * heads.len() }).or_leave();
        let in_place = match edge_bias.as_deref_mut() {
            Some(out) if alone && nnz > 0 => &mut out[heads.start * nnz..heads.end * nnz],
            _ => &mut summed[..],
        };
        let biases = run.run(q, k, v, &mut p_ds, in_place);
        for (head, of_head) in contexts.iter().zip(summed.chunks_exact(nnz.max(1))) {
            if let (Some(out), Some(bias)) = (edge_bias.as_deref_mut(), &problem.edge_bias) {
                let row = head.query_head.min(bias.heads - 1) * nnz;
                out[row..row + nnz].iter_mut().zip(of_head).for_each(|(x, &y)| *x += y);
            }
        }
        for (head, BiasGradients { keys: by_key, edges: by_edge, distances: by_distance }) in
            contexts.iter().zip(biases)
        {
            if let (Some(out), Some(bias)) = (distances.as_deref_mut(), tables) {
                let (row, length) = (head.query_head.min(bias.heads - 1), bias.length());
                Distances::fold(&by_distance, &mut out[row * length..(row + 1) * length]);
            }
            if let (Some(out), Some(bias)) = (key_bias.as_deref_mut(), &problem.key_bias) {
                let row = head.batch.min(bias.batch - 1) * bias.heads + head.query_head.min(bias.heads - 1);
                out[row * n_keys..(row + 1) * n_keys].iter_mut().zip(by_key).for_each(|(x, y)| *x += y);
            }
            if let (Some(out), Some(bias), Some(map)) = (edge_bias.as_deref_mut(), &problem.edge_bias, plan.edges) {
                let row = head.query_head.min(bias.heads - 1) * map.nnz();
                for (&edge, y) in map.edges.iter().zip(by_edge) {
                    out[row + edge as usize] += y;
                }
            }
        }
    }
    T::Acc::kept_p_ds().give(p_ds);
}

/// Some groups, run together.
struct Wave<'a, 'p, T: Storage, P> {
    problem: &'a Problem<'p, T>,
    plan: Planned<'a>,
    chunks: &'a Chunks,
    pass: P,
    /// Width of the gradient of a value; 0 where there is none.
    dv: usize,
    heads: &'a [HeadContext<T::Acc>],
    group_size: usize,
    /// Query heads of a group whose row edges are held at once.
    together: usize,
    /// Entries of a padded table of distances; 0 where its gradient is not asked for.
    table: usize,
    run: Run<'a>,
}

/// Gradients of the biases of a head: by key, by edge in the plan's order, and of its padded table of distances.
struct BiasGradients<A> {
    keys: Vec<A>,
    edges: Vec<A>,
    distances: Vec<A>,
}

impl<'p, T: Storage, P: Pass<'p, T>> Wave<'_, 'p, T, P> {
    /// Runs both sweeps; returns the gradients of the biases by head. Those of edges whose biases are read in place go to
    /// `in_place`, head after head.
    fn run(
        &self,
        q: &mut [T],
        k: &mut [T],
        v: &mut [T],
        p_ds: &mut [[T::Acc; 2]],
        in_place: &mut [T::Acc],
    ) -> Vec<BiasGradients<T::Acc>> {
        let (d, dv) = (self.problem.widths().0, self.dv);
        let (n_keys, row_edges) = (self.plan.n_keys(), self.plan.row_edges());
        let wants_keys = self.problem.key_bias.is_some();
        let (mut k, mut v) = (Target::new(k, d), Target::new(v, dv));
        let by_key = if wants_keys { n_keys * self.heads.len() } else { 0 };
        let mut by_key = memory::zeros::<T::Acc>("bias", by_key).or_leave();
        let tile_edges = self.plan.edges.map_or(0, EdgeMap::tile_edges);
        let mut by_tile_edge = memory::zeros::<T::Acc>("edge_bias", tile_edges * self.heads.len()).or_leave();
        let mut by_row_edge = memory::filled("edge_bias", Vec::new(), self.heads.len()).or_leave();
        let parts = self.heads.len() * self.chunks.own.len();
        let mut by_distance = memory::zeros::<T::Acc>("distances", self.table * parts).or_leave();
        let slopes = if self.problem.modifiers.soft_cap.is_some() { p_ds.len() } else { 0 };
        let mut slopes = memory::zeros::<T::Acc>("index_set", slopes).or_leave();

        let widths = (padded(d), padded(dv));
        let biased = if wants_keys { self.group_size } else { 0 };
        let mut halos = Halos::new(self.chunks, self.heads.len() / self.group_size, widths, biased);
        let chunks = (0..self.heads.len()).flat_map(|_| 0..self.chunks.own.len());
        let lengths = chunks.map(|chunk| self.tile_edges(chunk).len());
        let parts_of_rows =
            (0..self.heads.len()).flat_map(|_| 0..self.chunks.own.len()).map(|chunk| self.edges_in_place(chunk).len());
        let mut written = Written {
            dq: memory::collected("q, k, v", deal(&self.plan, q, d, self.chunks.tiles).into_iter().map(Some))
                .or_leave(),
            tile_edges: memory::collected("edge_bias", cut(&mut by_tile_edge, lengths).map(Some)).or_leave(),
            row_edges: match self.plan.edge_rows {
                Some(_) => memory::collected("edge_bias", cut(in_place, parts_of_rows).map(Some)).or_leave(),
                None => Vec::new(),
            },
            distances: memory::collected("distances", by_distance.chunks_exact_mut(self.table.max(1)).map(Some))
                .or_leave(),
        };
        for first in (0..self.group_size).step_by(self.together) {
            let heads = first..(first + self.together).min(self.group_size);
            let own = self.own(k.values(), v.values(), &mut by_key, &heads);
            self.sweep_queries(&heads, own, halos.split(&heads), &mut written, (p_ds, &mut slopes));
            let own = self.own(k.values(), v.values(), &mut by_key, &heads);
            self.sweep_keys(&heads, own, &halos, (p_ds, &slopes));
            if self.plan.edges.is_some() && row_edges > 0 {
                for (head, p_ds) in self.in_all_groups(&heads).zip(p_ds.chunks_exact(row_edges)) {
                    memory::extend("edge_bias", &mut by_row_edge[head], p_ds.iter().map(|[_, ds]| *ds)).or_leave();
                }
            }
        }
        k.finish(d);
        v.finish(dv);
        let chunks = self.chunks.own.len();
        let of_head = |h: usize| {
            let keys = if wants_keys { &by_key[h * n_keys..(h + 1) * n_keys] } else { &[] };
            let tile_edges = &by_tile_edge[h * tile_edges..(h + 1) * tile_edges];
            let mut by_edge = memory::with_capacity("edge_bias", tile_edges.len() + by_row_edge[h].len()).or_leave();
            by_edge.extend_from_slice(tile_edges);
            by_edge.append(&mut by_row_edge[h]);
            let mut tables =
                by_distance[h * self.table * chunks..(h + 1) * self.table * chunks].chunks_exact(self.table.max(1));
            let mut table = memory::copied("distances", tables.next().unwrap_or(&[])).or_leave();
            for part in tables {
                table.iter_mut().zip(part).for_each(|(x, &y)| *x += y);
            }
            BiasGradients { keys: memory::copied("bias", keys).or_leave(), edges: by_edge, distances: table }
        };
        memory::collected("bias", (0..self.heads.len()).map(of_head)).or_leave()
    }

    /// The first sweep, of some query heads of every group.
    fn sweep_queries<'o, 'w: 'o>(
        &self,
        heads: &Range<usize>,
        own: Vec<KeyGradients<'o, T::Acc>>,
        halos: Vec<KeyGradients<'o, T::Acc>>,
        written: &mut Written<'w, T>,
        rows: (&'o mut [[T::Acc; 2]], &'o mut [T::Acc]),
    ) {
        let count = self.chunks.own.len();
        let mut tasks = self.query_tasks(heads, own, halos, written, rows);
        for _ in 0..if self.chunks.rounds { count } else { 1 } {
            self.run.for_each_task(tasks.len(), |level, i| {
                let mut task = tasks[i].lock().unwrap_or_else(PoisonError::into_inner);
                let heads = &self.heads[i / count * self.group_size..][heads.clone()];
                let Self { problem, plan, chunks, .. } = *self;
                self.pass.sweep_queries(QueryPart { task: &mut task, problem, plan, chunks, heads }, level);
            });
            tasks.chunks_mut(count).for_each(next_round);
        }
    }

    /// The second sweep.
    fn sweep_keys(
        &self,
        heads: &Range<usize>,
        own: Vec<KeyGradients<'_, T::Acc>>,
        halos: &Halos<T::Acc>,
        (p_ds, slopes): (&[[T::Acc; 2]], &[T::Acc]),
    ) {
        let (count, row_edges) = (self.chunks.own.len(), self.plan.row_edges());
        let own = memory::collected("q, k, v", own.into_iter().map(Mutex::new)).or_leave();
        let transposed = (row_edges > 0).then(|| self.plan.transposed());
        self.run.for_each_task(own.len(), |level, i| {
            let mut own = own[i].lock().unwrap_or_else(PoisonError::into_inner);
            let (group, owner) = (i / count, i % count);
            for chunk in (0..count).filter(|&c| c != owner) {
                halos.add_to(&mut own, self.chunks, group, heads.start, chunk, owner);
            }
            let Some(transposed) = transposed else { return };
            let edges = group * heads.len() * row_edges..(group + 1) * heads.len() * row_edges;
            let (p_ds, slopes) = (&p_ds[edges.clone()], slopes.get(edges).unwrap_or(&[]));
            let heads = &self.heads[group * self.group_size..][heads.clone()];
            let Self { problem, chunks, pass, .. } = *self;
            let (douts, own) = (pass.douts(), &mut *own);
            KeySweep { problem, douts, transposed, heads, p_ds, slopes, chunks, owner, own }.run_at(level);
        });
    }

    /// Some query heads of every group, by their place among all heads.
    fn in_all_groups(&self, heads: &Range<usize>) -> impl Iterator<Item = usize> {
        let heads = heads.clone();
        (0..self.heads.len())
            .step_by(self.group_size)
            .flat_map(move |first| heads.clone().map(move |head| first + head))
    }

    fn tiles(&self, chunk: usize) -> Range<usize> {
        chunk * self.chunks.tiles..((chunk + 1) * self.chunks.tiles).min(self.plan.tiles())
    }

    /// The edges of a chunk's tiles, if edges have a bias.
    fn tile_edges(&self, chunk: usize) -> Range<usize> {
        let tiles = self.tiles(chunk);
        self.plan.edges.map_or(0..0, |map| map.tile_starts[tiles.start]..map.tile_starts[tiles.end])
    }

    /// The edges in row order of a chunk's queries, if their biases are read in place.
    fn edges_in_place(&self, chunk: usize) -> Range<usize> {
        let tiles = self.tiles(chunk);
        let query = |tile: usize| (tile * TILE).min(self.plan.n_queries());
        let edge = |rows: &EdgeRows, tile| rows.first_edge(query(tile));
        self.plan.edge_rows.map_or(0..0, |rows| edge(rows, tiles.start)..edge(rows, tiles.end))
    }

    /// For each (group, chunk) its own rows of dk and dv, and of the gradient of the key bias of each head.
    fn own<'o>(
        &self,
        k: &'o mut [T::Acc],
        v: &'o mut [T::Acc],
        by_key: &'o mut [T::Acc],
        heads: &Range<usize>,
    ) -> Vec<KeyGradients<'o, T::Acc>> {
        let (d, dv) = (self.problem.widths().0, self.dv);
        let (order, own) = (self.chunks.order(), &self.chunks.own);
        let biased = by_key.len() / self.plan.n_keys();
        let groups = self.heads.len() / self.group_size;
        KeyGradients::of_tasks(
            deal_parts(order, own, groups, k, padded(d)),
            deal_parts(order, own, groups, v, padded(dv)),
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
        (p_ds, slopes): (&'o mut [[T::Acc; 2]], &'o mut [T::Acc]),
    ) -> Vec<Mutex<QueryTask<'o, T>>> {
        let (plan, count) = (self.plan, self.chunks.own.len());
        let row_edges = |chunk: usize| {
            let tiles = self.tiles(chunk);
            plan.first_row_edge(tiles.start)..plan.first_row_edge(tiles.end)
        };
        // All chunks of the first head, then of the next.
        let lengths = || self.in_all_groups(heads).flat_map(|_| 0..count).map(|chunk| row_edges(chunk).len());
        let mut p_ds = memory::collected("index_set", cut(p_ds, lengths()).map(Some)).or_leave();
        let lengths = lengths().take(if slopes.is_empty() { 0 } else { usize::MAX });
        let mut slopes = memory::collected("index_set", cut(slopes, lengths).map(Some)).or_leave();
        let tasks = own.into_iter().zip(halos).enumerate().map(|(i, (own, halo))| {
            let (group, chunk) = (i / count, i % count);
            let of_chunk = || heads.clone().map(|head| (group * self.group_size + head) * count + chunk);
            let held = || (group * heads.len()..(group + 1) * heads.len()).map(|head| head * count + chunk);
            Mutex::new(QueryTask {
                chunk,
                tiles: self.tiles(chunk),
                owned: chunk,
                first: heads.start == 0,
                continued: false,
                dq: of_chunk().filter_map(|at| written.dq[at].take()).collect(),
                own,
                halo,
                p_ds: held().filter_map(|at| p_ds[at].take()).collect(),
                slopes: held().filter_map(|at| slopes.get_mut(at)?.take()).collect(),
                first_row_edge: row_edges(chunk).start,
                tile_edges: of_chunk().filter_map(|at| written.tile_edges[at].take()).collect(),
                first_tile_edge: self.tile_edges(chunk).start,
                row_edges: of_chunk().filter_map(|at| written.row_edges.get_mut(at)?.take()).collect(),
                first_edge: self.edges_in_place(chunk).start,
                distances: of_chunk().filter_map(|at| written.distances.get_mut(at)?.take()).collect(),
            })
        });
        memory::collected("q, k, v", tasks).or_leave()
    }
}

/// What the first sweep writes once, by head and chunk.
struct Written<'a, T: Storage> {
    /// Rows of dq.
    dq: Vec<Option<TaskRows<'a, T>>>,
    /// ds of tile edges.
    tile_edges: Vec<Option<&'a mut [T::Acc]>>,
    /// ds of edges in row order; none where biases are not read in place.
    row_edges: Vec<Option<&'a mut [T::Acc]>>,
    /// Gradients of padded tables of distances; none where they are not asked for.
    distances: Vec<Option<&'a mut [T::Acc]>>,
}
