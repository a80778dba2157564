//! Second backward sweep, by chunks of keys: row pairs are gathered through the transposed plan.

use super::saved::Saved;
use super::task::KeyGradients;
use crate::attention::element::{Real, Storage};
use crate::attention::head::HeadContext;
use crate::attention::lane_keys::LaneKeys;
use crate::attention::micro::add_rows;
use crate::attention::panel::Panel;
use crate::attention::problem::Problem;
use crate::interrupt;
use crate::plan::{Chunks, TILE, Transposed};
use fearless_simd::{Simd, prelude::*};

/// Pairs of each key that are added together.
const STEP: usize = 16;

/// Adds the row pairs of the keys that a chunk owns to their gradients, head after head, 16 keys at a time: neighbouring
/// keys often have neighbouring queries, whose rows are then still in L1.
#[inline(always)]
pub(super) fn sweep_keys<S: Simd, T: Storage>(
    simd: S,
    problem: &Problem<'_, T>,
    saved: &Saved<'_, T>,
    transposed: &Transposed,
    heads: &[HeadContext<T::Acc>],
    row_pairs: &[[T::Acc; 2]],
    chunks: &Chunks,
    owner: usize,
    own: &mut KeyGradients<'_, T::Acc>,
) {
    let pairs = row_pairs.len() / heads.len();
    let (mut queries, mut douts) = (Panel::new(problem.q), Panel::new(saved.dout));
    let mut lanes = LaneKeys::default();
    let places = &chunks.own[owner];
    for first in places.clone().step_by(TILE) {
        interrupt::check();
        lanes.fill_transposed(transposed, (first..(first + TILE).min(places.end)).map(|place| chunks.key(place)));
        for (g, head) in heads.iter().enumerate() {
            queries.select(head.batch, head.query_head);
            douts.select(head.batch, head.query_head);
            let row_pairs = &row_pairs[g * pairs..(g + 1) * pairs];
            simd.vectorize(
                #[inline(always)]
                || {
                    let scale = problem.scale();
                    add_pairs(simd, scale, [&mut queries, &mut douts], &lanes, row_pairs, own, g, first - places.start);
                },
            );
        }
    }
}

/// Adds the row pairs of up to 16 keys and one head; `first` is the row of the first one's gradients.
#[inline(always)]
fn add_pairs<S: Simd, T: Storage>(
    simd: S,
    scale: T::Acc,
    [queries, douts]: [&mut Panel<'_, T>; 2],
    lanes: &LaneKeys,
    row_pairs: &[[T::Acc; 2]],
    own: &mut KeyGradients<'_, T::Acc>,
    g: usize,
    first: usize,
) {
    let mut starts = [0; STEP];
    let (mut p, mut ds) = ([T::Acc::default(); STEP], [T::Acc::default(); STEP]);
    for at in (0..lanes.longest()).step_by(STEP) {
        for lane in 0..lanes.count() {
            let Some(list) = lanes.part::<STEP>(lane, at) else { continue };
            let row = first + lane;
            let pairs = lanes.pairs(lane, at, list.len());
            if let Ok(pairs) = <&[usize; STEP]>::try_from(pairs) {
                for i in 0..STEP {
                    let [x, y] = row_pairs[pairs[i]];
                    (p[i], ds[i]) = (x, y * scale);
                }
            } else {
                for (i, &pair) in pairs.iter().enumerate() {
                    let [x, y] = row_pairs[pair];
                    (p[i], ds[i]) = (x, y * scale);
                }
            }
            if let Some(bias) = own.bias.get_mut(g) {
                let bias = bias.row(row);
                for &pair in pairs {
                    bias[0] += row_pairs[pair][1];
                }
            }
            let dout = douts.fetch(list, &mut starts);
            add::<S, T::Acc>(simd, own.v.row(row), &p[..list.len()], dout, &starts[..list.len()]);
            let q = queries.fetch(list, &mut starts);
            add::<S, T::Acc>(simd, own.k.row(row), &ds[..list.len()], q, &starts[..list.len()]);
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
