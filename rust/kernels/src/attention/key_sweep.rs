//! Second backward sweep, by chunks of keys: row pairs are gathered through the transposed plan.

use super::backward::Saved;
use super::element::{Real, Storage};
use super::forward::accumulate;
use super::head::HeadContext;
use super::problem::Problem;
use super::query_sweep::KeyGradients;
use super::scratch::{Panel, ROW_BLOCK};
use crate::plan::Transposed;
use fearless_simd::Simd;
use std::ops::Range;

/// Adds the row pairs of a range of keys to its gradients, head after head.
#[inline(always)]
pub(super) fn sweep_keys<S: Simd, T: Storage>(
    simd: S,
    problem: &Problem<'_, T>,
    saved: &Saved<'_, T>,
    transposed: &Transposed,
    heads: &[HeadContext<T::Acc>],
    row_pairs: &[[T::Acc; 2]],
    keys: Range<usize>,
    own: &mut KeyGradients<'_, T::Acc>,
) {
    let pairs = row_pairs.len() / heads.len();
    let scale = T::Acc::from_f64(problem.scale);
    let (mut queries, mut douts) = (Panel::<T::Acc>::default(), Panel::<T::Acc>::default());
    let mut list: Vec<(usize, usize)> = Vec::new();
    let mut weights: Vec<[T::Acc; 2]> = Vec::new();
    for (g, head) in heads.iter().enumerate() {
        let row_pairs = &row_pairs[g * pairs..(g + 1) * pairs];
        for key in keys.clone() {
            list.clear();
            transposed.of_key(key, |query, pair| list.push((query, pair)));
            if list.is_empty() {
                continue;
            }
            let row = key - own.first;
            weights.clear();
            weights.extend(list.iter().map(|&(_, pair)| row_pairs[pair]));
            if let Some(bias) = own.bias.get_mut(g) {
                for w in &weights {
                    bias[row] += w[1];
                }
            }
            for (list, weights) in list.chunks(ROW_BLOCK).zip(weights.chunks(ROW_BLOCK)) {
                simd.vectorize(
                    #[inline(always)]
                    || {
                        let dout = douts.gather(&saved.dout, head.batch, head.query_head, list.iter().map(|l| l.0));
                        let (d, dv) = own.widths;
                        let p = |i: usize| [weights[i][0]];
                        accumulate::<S, T::Acc, 1>(simd, own.v, row, dv, 0..list.len(), p, dout);
                        let q = queries.gather(&problem.q, head.batch, head.query_head, list.iter().map(|l| l.0));
                        let ds = |i: usize| [weights[i][1] * scale];
                        accumulate::<S, T::Acc, 1>(simd, own.k, row, d, 0..list.len(), ds, q);
                    },
                );
            }
        }
    }
}
