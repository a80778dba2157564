//! What one task of the backward pass writes.

use crate::attention::deal::{TaskRows, deal_parts};
use crate::attention::element::{Real, Storage};
use crate::memory::{self, OrLeave};
use crate::plan::{Chunks, TILE};
use std::ops::Range;

/// Where a key's gradient goes: a row of the chunk's own gradients or of its halo.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) halo: bool,
    pub(super) row: usize,
}

/// Gradients of some keys: rows of dk and dv, and by head those of the key bias, one value a row (no heads: not asked for).
pub(super) struct KeyGradients<'a, A> {
    pub(super) k: TaskRows<'a, A>,
    pub(super) v: TaskRows<'a, A>,
    pub(super) bias: Vec<TaskRows<'a, A>>,
}

impl<'a, A: Real> KeyGradients<'a, A> {
    /// One for each (pair, chunk) from the rows of each (pair, chunk), and of each (head, chunk) for the bias, of which those
    /// of some heads of a pair are taken.
    pub(super) fn of_tasks(
        k: Vec<TaskRows<'a, A>>,
        v: Vec<TaskRows<'a, A>>,
        bias: Vec<TaskRows<'a, A>>,
        chunks: usize,
        heads: &Range<usize>,
    ) -> Vec<Self> {
        let group = bias.len() / k.len().max(1);
        let mut bias = memory::collected("bias", bias.into_iter().map(Some)).or_leave();
        let rows = k.into_iter().zip(v).enumerate();
        let tasks = rows.map(|(i, (k, v))| {
            let (first, chunk) = (i / chunks * group, i % chunks);
            let heads = first + heads.start.min(group)..first + heads.end.min(group);
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

/// Gradients of the foreign keys that each task's tiles touch, in a few large buffers: the system has huge pages for them.
pub(super) struct Halos<A> {
    k: Vec<A>,
    v: Vec<A>,
    bias: Vec<A>,
    /// Padded widths of a key and a value.
    widths: (usize, usize),
    /// The slots of each chunk among those of one (batch, key head) pair.
    parts: Vec<Range<usize>>,
    /// (batch, key head) pairs, and the query heads of each that have a bias which wants its gradient.
    pairs: usize,
    biased: usize,
}

impl<A: Real> Halos<A> {
    pub(super) fn new(chunks: &Chunks, pairs: usize, widths: (usize, usize), biased: usize) -> Self {
        let mut slots = 0;
        let parts = chunks.halo.iter().map(|halo| {
            slots += halo.len();
            slots - halo.len()..slots
        });
        let parts = memory::collected("q, k, v", parts).or_leave();
        let zeros = |width: usize| memory::zeros::<A>("q, k, v", pairs * slots * width).or_leave();
        Self { k: zeros(widths.0), v: zeros(widths.1), bias: zeros(biased), widths, parts, pairs, biased }
    }

    /// What each task may write for some heads of a pair: all chunks of the first pair, then of the next.
    pub(super) fn split(&mut self, heads: &Range<usize>) -> Vec<KeyGradients<'_, A>> {
        let (parts, pairs) = (&self.parts, self.pairs);
        KeyGradients::of_tasks(
            deal_parts(None, parts, pairs, &mut self.k, self.widths.0),
            deal_parts(None, parts, pairs, &mut self.v, self.widths.1),
            deal_parts(None, parts, pairs * self.biased, &mut self.bias, 1),
            parts.len(),
            heads,
        )
    }

    /// Adds the slots of `chunk` that `owner` owns to the owner's gradients; those of the bias begin at a head of the pair.
    pub(super) fn add_to(
        &self,
        own: &mut KeyGradients<'_, A>,
        chunks: &Chunks,
        pair: usize,
        head: usize,
        chunk: usize,
        owner: usize,
    ) {
        let ((d, dv), all) = (self.widths, self.parts.last().map_or(0, |part| part.end));
        let first = pair * all + self.parts[chunk].start;
        for slot in chunks.slots_of(chunk, owner) {
            let row = chunks.halo[chunk][slot] as usize - chunks.own[owner].start;
            add(own.k.row(row), &self.k[(first + slot) * d..][..d]);
            add(own.v.row(row), &self.v[(first + slot) * dv..][..dv]);
            for (g, own) in own.bias.iter_mut().enumerate() {
                own.row(row)[0] += self.bias[(pair * self.biased + head + g) * all + self.parts[chunk].start + slot];
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
    /// The first one of its (batch, key head) pair and chunk: nothing was added to its own gradients yet.
    pub(super) first: bool,
    /// Rows of dq by head.
    pub(super) dq: Vec<TaskRows<'a, T>>,
    pub(super) own: KeyGradients<'a, T::Acc>,
    pub(super) halo: KeyGradients<'a, T::Acc>,
    /// (p, ds) of the chunk's row pairs by head.
    pub(super) row_pairs: Vec<&'a mut [[T::Acc; 2]]>,
    pub(super) first_pair: usize,
    /// ds of the chunk's tile pairs by head; empty when not asked for.
    pub(super) tile_pairs: Vec<&'a mut [T::Acc]>,
    pub(super) first_tile_pair: usize,
}

impl<T: Storage> QueryTask<'_, T> {
    /// A bias asks for its gradient.
    pub(super) fn wants_biases(&self) -> bool {
        !self.own.bias.is_empty() || self.tile_pairs.iter().any(|pairs| !pairs.is_empty())
    }

    /// Adds the ds of one tile key to the gradients of the biases.
    pub(super) fn add_bias(&mut self, g: usize, place: Place, mask: u16, ds: &[T::Acc; TILE], pair: &mut usize) {
        if !self.own.bias.is_empty() {
            let sum = ds.iter().fold(T::Acc::default(), |a, &x| a + x);
            let to = if place.halo { &mut self.halo.bias[g] } else { &mut self.own.bias[g] };
            to.row(place.row)[0] += sum;
        }
        if let Some(out) = self.tile_pairs.get_mut(g).filter(|o| !o.is_empty()) {
            for (_, &ds) in ds.iter().enumerate().filter(|(lane, _)| mask >> lane & 1 == 1) {
                out[*pair - self.first_tile_pair] = ds;
                *pair += 1;
            }
        }
    }
}
