//! What one task of the backward pass writes.

use crate::attention::deal::{TaskRows, deal_parts};
use crate::attention::element::{Accumulator, Storage};
use crate::memory::{self, OrLeave};
use crate::plan::{Chunks, TILE};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Where a key's gradient goes: a row of the chunk's own gradients or of its halo.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) halo: bool,
    pub(super) row: usize,
}

/// Gradients of some keys: rows of dk and dv, and by head those of the key bias, one value for each row (no heads
/// where there is no bias).
pub(super) struct KeyGradients<'a, A> {
    pub(super) k: TaskRows<'a, A>,
    pub(super) v: TaskRows<'a, A>,
    pub(super) bias: Vec<TaskRows<'a, A>>,
}

impl<'a, A: Accumulator> KeyGradients<'a, A> {
    /// One for each (group, chunk) from its rows of k and v, and from the bias rows of each (head, chunk), of which
    /// those of some heads of each group are taken.
    pub(super) fn of_tasks(
        k: Vec<TaskRows<'a, A>>,
        v: Vec<TaskRows<'a, A>>,
        bias: Vec<TaskRows<'a, A>>,
        chunks: usize,
        heads: &Range<usize>,
    ) -> Vec<Self> {
        let size = bias.len() / k.len().max(1);
        let mut bias = memory::collected("bias", bias.into_iter().map(Some)).or_leave();
        let rows = k.into_iter().zip(v).enumerate();
        let tasks = rows.map(|(i, (k, v))| {
            let (first, chunk) = (i / chunks * size, i % chunks);
            let heads = first + heads.start.min(size)..first + heads.end.min(size);
            let bias = heads.filter_map(|head| bias[head * chunks + chunk].take()).collect();
            Self { k, v, bias }
        });
        memory::collected("q, k, v", tasks).or_leave()
    }

    /// Sets dk and dv to 0.
    pub(super) fn clear(&mut self) {
        self.k.clear();
        self.v.clear();
    }
}

/// Gradients of the foreign keys that each task's tiles touch, in a few large buffers: the system has huge pages for
/// them.
pub(super) struct Halos<A> {
    k: Vec<A>,
    v: Vec<A>,
    bias: Vec<A>,
    /// Padded widths of a key and a value.
    widths: (usize, usize),
    /// The slots of each chunk among those of one group.
    parts: Vec<Range<usize>>,
    /// Groups, and the query heads of each whose key bias asks for its gradient.
    groups: usize,
    biased: usize,
}

impl<A: Accumulator> Halos<A> {
    pub(super) fn new(chunks: &Chunks, groups: usize, widths: (usize, usize), biased: usize) -> Self {
        let mut slots = 0;
        let parts = chunks.halo.iter().map(|halo| {
            slots += halo.len();
            slots - halo.len()..slots
        });
        let parts = memory::collected("q, k, v", parts).or_leave();
        let zeros = |width: usize| memory::zeros::<A>("q, k, v", groups * slots * width).or_leave();
        Self { k: zeros(widths.0), v: zeros(widths.1), bias: zeros(biased), widths, parts, groups, biased }
    }

    /// What each task may write for some heads of each group: all chunks of the first group, then of the next.
    pub(super) fn split(&mut self, heads: &Range<usize>) -> Vec<KeyGradients<'_, A>> {
        let (parts, groups) = (&self.parts, self.groups);
        KeyGradients::of_tasks(
            deal_parts(None, parts, groups, &mut self.k, self.widths.0),
            deal_parts(None, parts, groups, &mut self.v, self.widths.1),
            deal_parts(None, parts, groups * self.biased, &mut self.bias, 1),
            parts.len(),
            heads,
        )
    }

    /// Adds the slots of `chunk` that `owner` owns to the owner's gradients; `own` has the biases of the heads of the
    /// group from `head` on.
    pub(super) fn add_to(
        &self,
        own: &mut KeyGradients<'_, A>,
        chunks: &Chunks,
        group: usize,
        head: usize,
        chunk: usize,
        owner: usize,
    ) {
        let ((d, dv), all) = (self.widths, self.parts.last().map_or(0, |part| part.end));
        let first = group * all + self.parts[chunk].start;
        for slot in chunks.slots_of(chunk, owner) {
            let row = chunks.halo[chunk][slot] as usize - chunks.own[owner].start;
            add(own.k.row(row), &self.k[(first + slot) * d..][..d]);
            add(own.v.row(row), &self.v[(first + slot) * dv..][..dv]);
            for (g, own) in own.bias.iter_mut().enumerate() {
                own.row(row)[0] += self.bias[(group * self.biased + head + g) * all + self.parts[chunk].start + slot];
            }
        }
    }
}

fn add<A: Accumulator>(into: &mut [A], from: &[A]) {
    into.iter_mut().zip(from).for_each(|(x, &y)| *x += y);
}

/// One chunk of queries of one group, with everything it writes.
pub(super) struct QueryTask<'a, T: Storage> {
    pub(super) chunk: usize,
    pub(super) tiles: Range<usize>,
    /// The chunk whose keys it owns: another one in each round.
    pub(super) owned: usize,
    /// Whether nothing was added to its own gradients yet.
    pub(super) first: bool,
    /// Whether its rows of dq have sums of an earlier round.
    pub(super) continued: bool,
    /// Rows of dq by head.
    pub(super) dq: Vec<TaskRows<'a, T>>,
    pub(super) own: KeyGradients<'a, T::Acc>,
    pub(super) halo: KeyGradients<'a, T::Acc>,
    /// (p, ds) of the chunk's row edges by head.
    pub(super) p_ds: Vec<&'a mut [[T::Acc; 2]]>,
    /// The slopes of a soft cap at the chunk's row edges, by head; none where there is no cap.
    pub(super) slopes: Vec<&'a mut [T::Acc]>,
    pub(super) first_row_edge: usize,
    /// ds of the chunk's tile edges by head; empty where edges have no bias.
    pub(super) tile_edges: Vec<&'a mut [T::Acc]>,
    pub(super) first_tile_edge: usize,
    /// ds of the chunk's edges in row order, by head; none where biases of edges are not read in place.
    pub(super) row_edges: Vec<&'a mut [T::Acc]>,
    pub(super) first_edge: usize,
    /// Gradients of the padded tables of distances, by head; none where they are not asked for.
    pub(super) distances: Vec<&'a mut [T::Acc]>,
}

impl<T: Storage> QueryTask<'_, T> {
    /// Whether a bias asks for its gradient.
    pub(super) fn wants_biases(&self) -> bool {
        !self.own.bias.is_empty() || self.tile_edges.iter().any(|edges| !edges.is_empty())
    }

    /// Adds the ds of one tile key to the gradients of the biases.
    pub(super) fn add_bias(&mut self, g: usize, place: Place, mask: u16, ds: &[T::Acc; TILE], edge: &mut usize) {
        if !self.own.bias.is_empty() {
            let sum = ds.iter().fold(T::Acc::default(), |a, &x| a + x);
            let to = if place.halo { &mut self.halo.bias[g] } else { &mut self.own.bias[g] };
            to.row(place.row)[0] += sum;
        }
        if let Some(out) = self.tile_edges.get_mut(g).filter(|o| !o.is_empty()) {
            for (_, &ds) in ds.iter().enumerate().filter(|(lane, _)| mask >> lane & 1 == 1) {
                out[*edge - self.first_tile_edge] = ds;
                *edge += 1;
            }
        }
    }
}

/// Hands the keys of each task of a group to the task before.
pub(super) fn next_round<T: Storage>(tasks: &mut [Mutex<QueryTask<'_, T>>]) {
    for i in 1..tasks.len() {
        let (before, after) = tasks.split_at_mut(i);
        let [to, from] =
            [&mut before[i - 1], &mut after[0]].map(|task| task.get_mut().unwrap_or_else(PoisonError::into_inner));
        std::mem::swap(&mut to.own, &mut from.own);
        std::mem::swap(&mut to.owned, &mut from.owned);
    }
    for task in tasks {
        let task = task.get_mut().unwrap_or_else(PoisonError::into_inner);
        (task.first, task.continued) = (false, true);
    }
}
