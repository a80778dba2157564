//! Biases of scores, and the hiding of scores.

use super::distances::TilePlaces;
use super::edge_lanes::EdgeLanes;
use super::element::{Accumulator, Storage};
use super::head::HeadContext;
use super::micro::load_lanes;
use super::problem::Problem;
use super::soft_cap::SoftCap;
use crate::plan::{TILE, TileKeys};
use fearless_simd::{Simd, prelude::*};

/// Where a tile's queries stand, and the biases of its edges that are read in place.
pub(crate) type OfTile<'a, 'p, A> = (&'a TilePlaces<'p>, Option<&'a EdgeLanes<'p, A>>);

/// Caps the scores of one key.
#[inline(always)]
pub(crate) fn capped<S: Simd, A: Accumulator, const NQ: usize>(simd: S, head: &HeadContext<A>, s: &mut [A::V<S>; NQ]) {
    if let Some(cap) = &head.soft_cap {
        for n in 0..NQ {
            s[n] = cap.apply(simd, s[n]);
        }
    }
}

/// Adds the biases of one key of a block.
#[inline(always)]
pub(crate) fn biased<S: Simd, T: Storage, const NQ: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    places: &TilePlaces<'_>,
    block: &TileKeys,
    at: usize,
    edge: &mut usize,
    in_place: Option<&[T::Acc; TILE]>,
    s: &mut [<T::Acc as Accumulator>::V<S>; NQ],
) {
    let key = block.keys[at];
    let mut lanes = in_place.copied().unwrap_or([T::Acc::default(); TILE]);
    if let Some(table) = &head.distances {
        let of_distance = places.biases(table, key);
        lanes.iter_mut().zip(of_distance).for_each(|(x, y)| *x += y);
    }
    if let Some(bias) = &head.key_bias {
        for x in &mut lanes {
            *x += bias[key as usize];
        }
    }
    if let Some(bias) = &head.edge_bias {
        for (lane, x) in lanes.iter_mut().enumerate() {
            if block.masks[at] >> lane & 1 == 1 {
                *x += bias[*edge];
                *edge += 1;
            }
        }
    }
    let bias = load_lanes::<S, T::Acc, NQ>(simd, &lanes);
    for n in 0..NQ {
        s[n] += bias[n];
    }
}

/// Adds the biases of row keys of a lane and of their edges: first to each other, as in [`biased`], so that large ones
/// that cancel leave the score. Key by key: it is no part of the vector code of every level and width.
#[inline(never)]
pub(crate) fn row_biased<T: Storage>(
    head: &HeadContext<T::Acc>,
    (places, in_place): OfTile<'_, '_, T::Acc>,
    lane: usize,
    keys: &[u32],
    edges: &[usize],
    s: &mut [T::Acc],
) {
    for (i, (s, &key)) in s.iter_mut().zip(keys).enumerate() {
        let mut bias = match &head.distances {
            Some(table) => table.one(places.distance(lane, key)),
            None => T::Acc::default(),
        };
        if let Some(of_keys) = &head.key_bias {
            bias += of_keys[key as usize];
        }
        if let Some(of_edges) = &head.edge_bias {
            bias += of_edges[head.tile_edges + edges[i]];
        }
        if let (Some(first), Some(lanes)) = (head.edges_in_place, in_place) {
            bias += lanes.one(first, lane, key);
        }
        *s += bias;
    }
}

/// Adds the bias of some keys to the scores of a head; hidden keys become −∞.
#[inline(always)]
pub(crate) fn add_key_bias<T: Storage>(
    problem: &Problem<'_, T>,
    batch: usize,
    head: usize,
    keys: &[u32],
    scores: &mut [T::Acc],
) {
    let n_keys = problem.k.shape[2];
    if let Some(bias) = problem.key_bias {
        let bias = bias.row(batch, head, n_keys);
        for (s, &key) in scores.iter_mut().zip(keys) {
            *s += bias[key as usize];
        }
    }
    if let Some(padding) = problem.key_padding {
        let padding = &padding[batch * n_keys..][..n_keys];
        for (s, &key) in scores.iter_mut().zip(keys) {
            if padding[key as usize] {
                *s = T::Acc::NEG_INFINITY;
            }
        }
    }
}

/// What [`biased`] and [`capped`] do, to the scores of one query and some keys, for those that keep no context of a head.
pub(crate) struct RowModifiers<'p, A> {
    soft_cap: Option<SoftCap<A>>,
    /// The head's table, and its origin.
    distances: Option<(&'p [A], i64)>,
    places: TilePlaces<'p>,
    query: i64,
}

impl<'p, A: Accumulator> RowModifiers<'p, A> {
    pub(crate) fn new<T: Storage<Acc = A>>(problem: &Problem<'p, T>, head: usize, query: usize) -> Self {
        let places = TilePlaces::new(problem);
        let query = places.query(query);
        Self {
            soft_cap: problem.modifiers.soft_cap.map(SoftCap::new),
            distances: problem.modifiers.distances.map(|bias| (bias.row(head), bias.origin)),
            places,
            query,
        }
    }

    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, simd: S, keys: &[u32], scores: &mut [A]) {
        if let Some(cap) = &self.soft_cap {
            for s in scores.chunks_exact_mut(A::N::<S>::LEN) {
                cap.apply_native(simd, A::N::<S>::from_slice(simd, s)).store_slice(s);
            }
        }
        if let Some((table, origin)) = self.distances {
            for (s, &key) in scores.iter_mut().zip(keys) {
                let at = self.query - self.places.key(key) + origin;
                *s += table[at.clamp(0, table.len() as i64 - 1) as usize];
            }
        }
    }
}

/// Scores past the end of a list become −∞.
#[inline(always)]
pub(crate) fn hide_rest<A: Accumulator>(keys: usize, s: &mut [A]) {
    if keys < s.len() {
        s[keys..].fill(A::NEG_INFINITY);
    }
}

/// Writes the scores of some row keys, biased; −∞ past the last one.
#[inline(always)]
pub(crate) fn store_biased<S: Simd, T: Storage, const ND: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    places: OfTile<'_, '_, T::Acc>,
    (lane, edges): (usize, &[usize]),
    keys: &[u32],
    mut s: <T::Acc as Accumulator>::N<S>,
    out: &mut [T::Acc],
) -> <T::Acc as Accumulator>::N<S> {
    if let Some(cap) = &head.soft_cap {
        s = cap.apply_native(simd, s);
    }
    s.store_slice(out);
    if !head.biased() && keys.len() == ND {
        return s;
    }
    row_biased::<T>(head, places, lane, keys, edges, out);
    hide_rest(keys.len(), out);
    <T::Acc as Accumulator>::N::<S>::from_slice(simd, out)
}
