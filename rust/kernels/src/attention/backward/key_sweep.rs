//! Second backward sweep, by chunks of keys: row edges are gathered through the transposed plan.

use super::task::KeyGradients;
use crate::attention::element::Storage;
use crate::attention::head::HeadContext;
use crate::attention::lane_keys::LaneKeys;
use crate::attention::micro::add_rows;
use crate::attention::panel::Panel;
use crate::attention::problem::{Problem, View};
use crate::attention::widths::{AtWidths, at_widths};
use crate::interrupt;
use crate::plan::{Chunks, TILE, Transposed};
use crate::simd::dispatch;
use fearless_simd::{Level, Simd};

/// Row edges of a key that are added at a time.
const STEP: usize = 16;

/// Adds the row edges of the keys that a chunk owns to their gradients, head after head, 16 keys at a time:
/// neighbouring keys often have neighbouring queries, whose rows are then still in L1.
pub(super) struct KeySweep<'a, 'o, T: Storage> {
    pub(super) problem: &'a Problem<'a, T>,
    /// What values gather; `None` where they have no gradient.
    pub(super) douts: Option<View<'a, T>>,
    pub(super) transposed: &'a Transposed,
    pub(super) heads: &'a [HeadContext<T::Acc>],
    pub(super) p_ds: &'a [[T::Acc; 2]],
    /// The slopes of a soft cap at the same edges; empty where there is none.
    pub(super) slopes: &'a [T::Acc],
    pub(super) chunks: &'a Chunks,
    pub(super) owner: usize,
    pub(super) own: &'a mut KeyGradients<'o, T::Acc>,
}

impl<T: Storage> KeySweep<'_, '_, T> {
    pub(super) fn run_at(self, level: Level) {
        dispatch!(level, simd => at_widths::<_, T::Acc>(simd, self));
    }
}

impl<S: Simd, T: Storage> AtWidths<S> for KeySweep<'_, '_, T> {
    #[inline(always)]
    fn run<const NQ: usize, const FK: usize, const BK: usize, const ND: usize, const NC: usize, const DC: usize>(
        self,
        simd: S,
    ) {
        let Self { problem, douts, transposed, heads, p_ds, slopes, chunks, owner, own } = self;
        let edges = p_ds.len() / heads.len();
        let (mut queries, mut douts) = (Panel::new(problem.q), douts.map(Panel::new));
        let mut lanes = LaneKeys::default();
        let places = &chunks.own[owner];
        for first in places.clone().step_by(TILE) {
            interrupt::check();
            lanes.fill_transposed(transposed, (first..(first + TILE).min(places.end)).map(|place| chunks.key(place)));
            for (g, head) in heads.iter().enumerate() {
                queries.select(head.batch, head.query_head);
                if let Some(douts) = &mut douts {
                    douts.select(head.batch, head.query_head);
                }
                let slopes = slopes.get(g * edges..(g + 1) * edges).unwrap_or(&[]);
                let p_ds = (&p_ds[g * edges..(g + 1) * edges], slopes);
                simd.vectorize(
                    #[inline(always)]
                    || {
                        let scale = problem.scale();
                        let row = first - places.start;
                        add_edges::<S, T, NC>(simd, scale, (&mut queries, douts.as_mut()), &lanes, p_ds, own, g, row);
                    },
                );
            }
        }
    }
}

/// Adds the row edges of up to 16 keys and one head; `first` is the row of the first one's gradients.
#[inline(always)]
fn add_edges<S: Simd, T: Storage, const NC: usize>(
    simd: S,
    scale: T::Acc,
    (queries, mut douts): (&mut Panel<'_, T>, Option<&mut Panel<'_, T>>),
    lanes: &LaneKeys,
    (p_ds, slopes): (&[[T::Acc; 2]], &[T::Acc]),
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
            let edges = lanes.edges(lane, at, list.len());
            if let Ok(edges) = <&[usize; STEP]>::try_from(edges) {
                for i in 0..STEP {
                    let [x, y] = p_ds[edges[i]];
                    (p[i], ds[i]) = (x, y * scale);
                }
            } else {
                for (i, &edge) in edges.iter().enumerate() {
                    let [x, y] = p_ds[edge];
                    (p[i], ds[i]) = (x, y * scale);
                }
            }
            if !slopes.is_empty() {
                for (ds, &edge) in ds.iter_mut().zip(edges) {
                    *ds *= slopes[edge];
                }
            }
            if let Some(bias) = own.bias.get_mut(g) {
                let bias = bias.row(row);
                for &edge in edges {
                    bias[0] += p_ds[edge][1];
                }
            }
            if let Some(douts) = &mut douts {
                let dout = douts.fetch(list, &mut starts);
                add_rows::<S, T::Acc, NC>(simd, own.v.row(row), &p[..list.len()], dout, &starts[..list.len()]);
            }
            let q = queries.fetch(list, &mut starts);
            add_rows::<S, T::Acc, NC>(simd, own.k.row(row), &ds[..list.len()], q, &starts[..list.len()]);
        }
    }
}
