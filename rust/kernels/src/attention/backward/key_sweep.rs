//! Second backward sweep, by chunks of keys: row pairs are gathered through the transposed plan.

use super::Saved;
use super::task::KeyGradients;
use crate::attention::element::{Real, Storage};
use crate::attention::head::HeadContext;
use crate::attention::micro::add_rows;
use crate::attention::problem::Problem;
use crate::attention::rows::Panel;
use crate::attention::scratch::ROW_BLOCK;
use crate::plan::Transposed;
use fearless_simd::{Simd, prelude::*};
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
    let (mut queries, mut douts) = (Panel::new(problem.q), Panel::new(saved.dout));
    let mut list: Vec<(usize, usize)> = Vec::new();
    for (g, head) in heads.iter().enumerate() {
        queries.select(head.batch, head.query_head);
        douts.select(head.batch, head.query_head);
        let row_pairs = &row_pairs[g * pairs..(g + 1) * pairs];
        for key in keys.clone() {
            list.clear();
            transposed.of_key(key, |query, pair| list.push((query, pair)));
            for list in list.chunks(ROW_BLOCK) {
                simd.vectorize(
                    #[inline(always)]
                    || {
                        let (mut p, mut ds) = ([T::Acc::default(); ROW_BLOCK], [T::Acc::default(); ROW_BLOCK]);
                        for (i, &(_, pair)) in list.iter().enumerate() {
                            [p[i], ds[i]] = row_pairs[pair];
                        }
                        let row = key - own.first;
                        if let Some(bias) = own.bias.get_mut(g) {
                            ds[..list.len()].iter().for_each(|&x| bias[row] += x);
                        }
                        ds.iter_mut().for_each(|x| *x = *x * scale);
                        let (d, dv) = own.widths;
                        let dout = douts.gather(list.iter().map(|l| l.0));
                        let out = &mut own.v[row * dv..][..dv];
                        add::<S, T::Acc>(simd, out, &p[..list.len()], dout.data, dout.starts);
                        let q = queries.gather(list.iter().map(|l| l.0));
                        let out = &mut own.k[row * d..][..d];
                        add::<S, T::Acc>(simd, out, &ds[..list.len()], q.data, q.starts);
                    },
                );
            }
        }
    }
}

/// [`add_rows`] with as many columns at a time as suit the level.
#[inline(always)]
fn add<S: Simd, A: Real>(simd: S, row: &mut [A], weights: &[A], data: &[A], starts: &[usize]) {
    if A::N::<S>::LEN * size_of::<A>() == 64 {
        add_rows::<S, A, 4>(simd, row, weights, data, starts);
    } else {
        add_rows::<S, A, 2>(simd, row, weights, data, starts);
    }
}
