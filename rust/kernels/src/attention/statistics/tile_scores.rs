//! All scores of a tile's keys for one head, held at once: statistics need the sum of a row before its weights.

use crate::attention::bias::{biased, store_biased};
use crate::attention::buffers::{Aligned, padded, whole_steps};
use crate::attention::distances::TilePlaces;
use crate::attention::element::{Accumulator, Storage};
use crate::attention::gather::Gather;
use crate::attention::gathered_rows::GatheredRows;
use crate::attention::head::HeadContext;
use crate::attention::lane_keys::LaneKeys;
use crate::attention::micro::{hide, scores, store_lanes, transpose};
use crate::attention::panel::Panel;
use crate::attention::problem::Problem;
use crate::plan::{Cursor, Planned, TILE, TileKeys};
use fearless_simd::{Simd, prelude::*};

/// The scores of a tile: `NQ` vectors for a tile, `NK` keys at a time, native vectors of `ND` lanes.
pub(crate) struct TileScores<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize> {
    problem: &'p Problem<'p, T>,
    plan: Planned<'p>,
    numbered: bool,
    pub(crate) queries: Panel<'p, T>,
    pub(crate) keys: Panel<'p, T>,
    /// The tile's queries as columns, scaled.
    pub(crate) qt: Aligned<T::Acc>,
    /// The keys that the tile's queries share, padded to a multiple of `NK`.
    pub(crate) shared: TileKeys,
    /// Their scores, which the user of this turns into what it needs: one array of lanes for each key.
    pub(crate) of_shared: Aligned<T::Acc>,
    /// The row keys of the tile's lanes.
    pub(crate) lanes: LaneKeys,
    /// Their scores, lane after lane, `stride` for each lane; −∞ up to a whole vector.
    pub(crate) of_rows: Aligned<T::Acc>,
    pub(crate) stride: usize,
    /// What to subtract from the scores of each lane: the greatest, or 0 where there is none.
    pub(crate) base: [T::Acc; TILE],
}

impl<'p, T: Storage, const NQ: usize, const NK: usize, const ND: usize> TileScores<'p, T, NQ, NK, ND> {
    /// `numbered` asks for the edge numbers of row keys.
    pub(crate) fn new(problem: &'p Problem<'p, T>, plan: Planned<'p>, numbered: bool) -> Self {
        Self {
            problem,
            plan,
            numbered: numbered || problem.edge_bias.is_some(),
            queries: Panel::new(problem.q),
            keys: Panel::new(problem.k),
            qt: Aligned::zeros(TILE * padded(problem.widths().0)),
            shared: TileKeys::default(),
            of_shared: Aligned::zeros(0),
            lanes: LaneKeys::default(),
            of_rows: Aligned::zeros(0),
            stride: 0,
            base: [T::Acc::default(); TILE],
        }
    }

    /// Chooses the head to read.
    pub(crate) fn select(&mut self, head: &HeadContext<T::Acc>) {
        self.queries.select(head.batch, head.query_head);
        self.keys.select(head.batch, head.key_head);
    }

    /// Reads the keys of a tile.
    pub(crate) fn read(&mut self, tile: usize) {
        // A tile lists no key twice: one block takes all of them.
        let most = self.plan.n_keys();
        if !self.plan.tile_block(tile, &mut Cursor::default(), most, &mut self.shared) {
            self.shared.keys.clear();
            self.shared.masks.clear();
        }
        self.shared.pad(NK);
        if self.of_shared.len() < self.shared.keys.len() * TILE {
            self.of_shared = Aligned::zeros(self.shared.keys.len() * TILE);
        }
        if self.plan.has_rows() {
            self.lanes.fill(&self.plan, tile, self.numbered);
            self.stride = self.lanes.longest().next_multiple_of(ND);
            if self.of_rows.len() < self.stride * TILE {
                self.of_rows = Aligned::zeros(self.stride * TILE);
            }
        }
    }

    /// Scores the keys that were read, for the head that was chosen.
    #[inline(always)]
    pub(crate) fn score<S: Simd>(&mut self, simd: S, head: &HeadContext<T::Acc>, tile: usize) {
        let rows = (0..self.plan.lanes(tile)).map(|lane| self.plan.query(tile, lane));
        let queries = self.queries.gather(rows);
        transpose(simd, queries, self.problem.scale(), self.qt.lanes_mut());
        self.base = [T::Acc::NEG_INFINITY; TILE];
        self.score_shared(simd, head, tile);
        if self.lanes.longest() > 0 {
            let (lanes, scale, places) = (&self.lanes, self.problem.scale(), &TilePlaces::new(self.problem));
            let queries = (self.queries.rows(), self.qt.len() / TILE);
            let out = (&mut self.of_rows[..], self.stride);
            match self.keys.blocks() {
                Some(mut keys) => {
                    score_rows::<S, T, _, ND>(
                        simd,
                        head,
                        places,
                        queries,
                        &mut keys,
                        scale,
                        lanes,
                        out,
                        &mut self.base,
                    );
                }
                None => {
                    score_rows::<S, T, _, ND>(
                        simd,
                        head,
                        places,
                        queries,
                        &mut self.keys,
                        scale,
                        lanes,
                        out,
                        &mut self.base,
                    );
                }
            }
        }
        for base in self.base.iter_mut().filter(|base| **base == T::Acc::NEG_INFINITY) {
            *base = T::Acc::default();
        }
    }

    #[inline(always)]
    fn score_shared<S: Simd>(&mut self, simd: S, head: &HeadContext<T::Acc>, tile: usize) {
        let mut edge = self.plan.edges.map_or(0, |map| map.tile_starts[tile]);
        let mut top = [<T::Acc as Accumulator>::V::<S>::splat(simd, T::Acc::NEG_INFINITY); NQ];
        let (plain, places) = (!head.biased(), TilePlaces::new(self.problem));
        for first in (0..self.shared.keys.len()).step_by(whole_steps(NK)) {
            let last = (first + whole_steps(NK)).min(self.shared.keys.len());
            let keys = self.keys.gather(self.shared.keys[first..last].iter().map(|&j| j as usize));
            for at in (first..last).step_by(NK) {
                let mut s = scores::<S, T::Acc, NK, NQ>(simd, keys, at - first, self.qt.lanes());
                for i in 0..NK {
                    if !plain {
                        biased::<S, T, NQ>(simd, head, &places, &self.shared, at + i, &mut edge, None, &mut s[i]);
                    }
                    hide::<S, T::Acc, NQ>(simd, &mut s[i], self.shared.masks[at + i]);
                    for n in 0..NQ {
                        // NaN compares false and stays out: it reaches the row through its weights.
                        top[n] = s[i][n].simd_gt(top[n]).select(s[i][n], top[n]);
                    }
                    store_lanes::<S, T::Acc, NQ>(&mut self.of_shared.lanes_mut()[at + i], s[i]);
                }
                // Prefetches the next tile's queries while this tile's scores are computed.
                for query in self.plan.next_queries(tile, at / NK) {
                    self.queries.touch(query);
                }
            }
        }
        store_lanes::<S, T::Acc, NQ>(&mut self.base, top);
    }
}

/// Writes the scores of all row keys, and raises the greatest ones.
#[inline(always)]
fn score_rows<S: Simd, T: Storage, K: Gather<T::Acc>, const ND: usize>(
    simd: S,
    head: &HeadContext<T::Acc>,
    places: &TilePlaces<'_>,
    (queries, width): (GatheredRows<'_, T::Acc>, usize),
    keys: &mut K,
    scale: T::Acc,
    lanes: &LaneKeys,
    (out, stride): (&mut [T::Acc], usize),
    top: &mut [T::Acc; TILE],
) {
    let scale = <T::Acc as Accumulator>::N::<S>::splat(simd, scale);
    let mut tops = [<T::Acc as Accumulator>::N::<S>::splat(simd, T::Acc::NEG_INFINITY); TILE];
    for at in (0..lanes.longest()).step_by(ND) {
        for (lane, &start) in queries.starts.iter().enumerate() {
            let Some(list) = lanes.part::<ND>(lane, at) else { continue };
            let out = &mut out[lane * stride + at..][..ND];
            let edges = lanes.edges(lane, at, list.len());
            let s = keys.dots::<S, ND>(simd, &queries.data[start..][..width], list) * scale;
            let s = store_biased::<S, T, ND>(simd, head, (places, None), (lane, edges), list, s, out);
            tops[lane] = s.simd_gt(tops[lane]).select(s, tops[lane]);
        }
    }
    for (top, tops) in top.iter_mut().zip(tops) {
        let greatest = tops.reduce_max();
        if greatest > *top {
            *top = greatest;
        }
    }
}
