//! What is added to scores, and what hides them.

use super::element::{Real, Storage};
use super::head::HeadContext;
use super::micro::load_lanes;
use crate::plan::{TILE, TileKeys};
use fearless_simd::Simd;

/// Adds the biases of one key of a block.
#[inline(always)]
pub(crate) fn biased<S: Simd, T: Storage, const NQ: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    block: &TileKeys,
    at: usize,
    pair: &mut usize,
    s: &mut [<T::Acc as Real>::V<S>; NQ],
) {
    let mut lanes = [head.key_bias.as_ref().map_or(T::Acc::default(), |b| b[block.keys[at] as usize]); TILE];
    if let Some(bias) = &head.pair_bias {
        for (lane, x) in lanes.iter_mut().enumerate() {
            if block.masks[at] >> lane & 1 == 1 {
                *x += bias[*pair];
                *pair += 1;
            }
        }
    }
    let bias = load_lanes::<S, T::Acc, NQ>(simd, &lanes);
    for n in 0..NQ {
        s[n] += bias[n];
    }
}

/// Adds the biases of row keys and of their pairs; the two first to each other, as in [`biased`], so that large ones that
/// cancel leave the score.
#[inline(always)]
pub(crate) fn row_biased<T: Storage>(head: &HeadContext<T::Acc>, keys: &[u32], pairs: &[usize], s: &mut [T::Acc]) {
    for (i, (s, &key)) in s.iter_mut().zip(keys).enumerate() {
        let mut bias = head.key_bias.as_ref().map_or(T::Acc::default(), |b| b[key as usize]);
        if let Some(of_pairs) = &head.pair_bias {
            bias += of_pairs[head.tile_pairs + pairs[i]];
        }
        *s += bias;
    }
}

/// What lies past a list becomes −∞.
#[inline(always)]
pub(crate) fn hide_rest<A: Real>(keys: usize, s: &mut [A]) {
    if keys < s.len() {
        s[keys..].fill(A::NEG_INFINITY);
    }
}
