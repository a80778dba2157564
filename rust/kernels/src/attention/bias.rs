//! Biases of scores, and the hiding of scores.

use super::element::{Accumulator, Storage};
use super::head::HeadContext;
use super::micro::load_lanes;
use super::problem::Problem;
use crate::plan::{TILE, TileKeys};
use fearless_simd::{Simd, prelude::*};

/// Adds the biases of one key of a block.
#[inline(always)]
pub(crate) fn biased<S: Simd, T: Storage, const NQ: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    block: &TileKeys,
    at: usize,
    edge: &mut usize,
    s: &mut [<T::Acc as Accumulator>::V<S>; NQ],
) {
    let mut lanes = [head.key_bias.as_ref().map_or(T::Acc::default(), |b| b[block.keys[at] as usize]); TILE];
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

/// Adds the biases of row keys and of their edges: the two first to each other, as in [`biased`], so that large ones
/// that cancel leave the score.
#[inline(always)]
pub(crate) fn row_biased<T: Storage>(head: &HeadContext<T::Acc>, keys: &[u32], edges: &[usize], s: &mut [T::Acc]) {
    for (i, (s, &key)) in s.iter_mut().zip(keys).enumerate() {
        let mut bias = head.key_bias.as_ref().map_or(T::Acc::default(), |b| b[key as usize]);
        if let Some(of_edges) = &head.edge_bias {
            bias += of_edges[head.tile_edges + edges[i]];
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
    edges: &[usize],
    keys: &[u32],
    s: <T::Acc as Accumulator>::N<S>,
    out: &mut [T::Acc],
) -> <T::Acc as Accumulator>::N<S> {
    s.store_slice(out);
    if !head.biased() && keys.len() == ND {
        return s;
    }
    row_biased::<T>(head, keys, edges, out);
    hide_rest(keys.len(), out);
    <T::Acc as Accumulator>::N::<S>::from_slice(simd, out)
}
