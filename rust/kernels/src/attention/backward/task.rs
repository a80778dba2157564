//! What one task of the backward pass writes.

use crate::attention::element::{Real, Storage};
use crate::attention::problem::Problem;
use crate::attention::rows::TaskRows;
use crate::attention::scratch::padded;
use crate::plan::{Chunks, TILE};
use std::ops::Range;

/// Where a key's gradient goes: a row of the chunk's own gradients or of its halo.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) halo: bool,
    pub(super) row: usize,
}

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

impl<A: Real> KeyGradients<'_, A> {
    /// Sets dk and dv to 0.
    pub(super) fn clear(&mut self) {
        self.k.fill(A::default());
        self.v.fill(A::default());
    }
}

/// Gradients of the foreign keys that a chunk's tiles touch.
#[derive(Default)]
pub(super) struct Halo<A> {
    pub(super) k: Vec<A>,
    pub(super) v: Vec<A>,
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
    /// Rows of dq by head.
    pub(super) dq: Vec<TaskRows<'a, T>>,
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
    /// A bias asks for its gradient.
    pub(super) fn wants_biases(&self) -> bool {
        !self.own.bias.is_empty() || self.tile_pairs.iter().any(|pairs| !pairs.is_empty())
    }

    /// Adds the ds of one tile key to the gradients of the biases.
    pub(super) fn add_bias(&mut self, g: usize, place: Place, mask: u16, ds: &[T::Acc; TILE], pair: &mut usize) {
        if !self.own.bias.is_empty() {
            let sum = ds.iter().fold(T::Acc::default(), |a, &x| a + x);
            let to = if place.halo { &mut self.halo.bias[g][..] } else { &mut *self.own.bias[g] };
            to[place.row] += sum;
        }
        if let Some(out) = self.tile_pairs.get_mut(g).filter(|o| !o.is_empty()) {
            for (_, &ds) in ds.iter().enumerate().filter(|(lane, _)| mask >> lane & 1 == 1) {
                out[*pair - self.first_tile_pair] = ds;
                *pair += 1;
            }
        }
    }
}
