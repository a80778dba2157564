//! The tables of a plan, in either form.

use super::arrays::TableArrays;
use super::listed::Listed;
use super::runs;
use super::shifted::Shifted;
use super::tile::{Cursor, RUN_MARK, RowEdges, TILE, TileKeys};
use super::transposed::Transposed;
use crate::error::Result;
use crate::executor::Executor;
use crate::index_set::{Form, IndexSet};
use crate::interrupt;
use crate::memory;
use std::ops::Range;
use std::sync::Arc;

/// Entries of a tile, on average, up to which any block of its keys is quickly found.
const FEW_ENTRIES: usize = 64;

/// Keys of a tile, on average, from which on it is long.
const MANY_KEYS: usize = 256;

/// The tables of a plan: what each tile and each row reads.
#[derive(Debug)]
pub struct Tables {
    n_queries: usize,
    n_keys: usize,
    order: Option<Arc<Vec<u32>>>,
    form: PlanForm,
}

#[derive(Debug)]
enum PlanForm {
    Listed(Listed),
    Shifted(Shifted),
}

/// Counts of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// Number of query tiles.
    pub tiles: usize,
    /// Edges that run in tiles.
    pub tile_edges: usize,
    /// Lanes computed for them, masked ones included.
    pub tile_lanes: usize,
    /// Edges that run in rows.
    pub row_edges: usize,
    /// Bytes of the plan.
    pub index_bytes: usize,
}

impl Tables {
    /// Plans an index set in time linear in its edges, in parallel.
    pub fn new(set: &IndexSet, executor: &dyn Executor) -> Result<Self> {
        let form = match set.form() {
            Form::Offsets { offsets, q_offset } => {
                PlanForm::Shifted(Shifted::new(offsets, *q_offset, set.n_queries(), set.n_keys())?)
            }
            Form::Csr { indptr, indices } => PlanForm::Listed(Listed::new(
                indptr,
                indices,
                set.n_keys(),
                set.order().map(|o| o.as_slice()),
                executor,
            )?),
            Form::Runs { indptr, runs } => {
                PlanForm::Listed(runs::plan(indptr, runs, set.order().map(|o| o.as_slice()), executor)?)
            }
        };
        Ok(Self {
            n_queries: set.n_queries(),
            n_keys: set.n_keys(),
            order: match set.form() {
                Form::Offsets { .. } => None,
                Form::Csr { .. } | Form::Runs { .. } => set.order().cloned(),
            },
            form,
        })
    }

    /// Rows alone, of equally long lists in which −1 is a pad.
    pub fn from_lists<I: Copy + Into<i64> + Sync>(
        lists: &[I],
        n_queries: usize,
        n_keys: usize,
        executor: &dyn Executor,
    ) -> Result<Self> {
        let form = PlanForm::Listed(Listed::from_lists(lists, n_queries, n_keys, executor)?);
        Ok(Self { n_queries, n_keys, order: None, form })
    }

    /// Number of queries.
    pub fn n_queries(&self) -> usize {
        self.n_queries
    }

    /// Number of keys.
    pub fn n_keys(&self) -> usize {
        self.n_keys
    }

    /// Number of query tiles.
    pub fn tiles(&self) -> usize {
        self.n_queries.div_ceil(TILE)
    }

    /// The row edges by key, for the second backward sweep.
    pub(super) fn transpose(&self) -> Result<Transposed> {
        match &self.form {
            PlanForm::Listed(p) => Transposed::listed(p, self.n_keys, self.order()),
            PlanForm::Shifted(p) => Transposed::shifted(p, self.n_queries),
        }
    }

    /// The arrays of tiles and rows, as they are in memory.
    pub fn arrays(&self) -> TableArrays<'_> {
        match &self.form {
            PlanForm::Listed(p) => p.arrays(),
            PlanForm::Shifted(p) => p.arrays(),
        }
    }

    /// [`Self::order`], shared.
    pub(super) fn shared_order(&self) -> Option<Arc<Vec<u32>>> {
        self.order.clone()
    }

    /// The order in which queries are cut into tiles; `None` is consecutive.
    pub fn order(&self) -> Option<&[u32]> {
        self.order.as_ref().map(|o| o.as_slice())
    }

    /// The query in a lane of a tile.
    #[inline]
    pub(crate) fn query(&self, tile: usize, lane: usize) -> usize {
        let at = tile * TILE + lane;
        self.order.as_ref().map_or(at, |o| o[at] as usize)
    }

    /// Two queries of the next tile for each of the first eight steps of a tile, to be prefetched.
    #[inline(always)]
    pub(crate) fn next_queries(&self, tile: usize, step: usize) -> impl Iterator<Item = usize> {
        let first = (tile + 1) * TILE + 2 * step;
        let end = if step < TILE / 2 { (first + 2).min(self.n_queries) } else { first };
        (first..end).map(|at| self.query(at / TILE, at % TILE))
    }

    /// Number of queries in a tile: 16 but for the last one.
    #[inline]
    pub(crate) fn lanes(&self, tile: usize) -> usize {
        (self.n_queries - tile * TILE).min(TILE)
    }

    /// The next block of a tile's keys; `false` when there are no more.
    #[inline]
    pub(crate) fn tile_block(&self, tile: usize, cursor: &mut Cursor, max: usize, out: &mut TileKeys) -> bool {
        self.tile_block_within(tile, 0..self.n_keys, cursor, max, out)
    }

    /// [`Self::tile_block`] of the keys in a range.
    #[inline]
    pub(crate) fn tile_block_within(
        &self,
        tile: usize,
        keys: Range<usize>,
        cursor: &mut Cursor,
        max: usize,
        out: &mut TileKeys,
    ) -> bool {
        let keys = keys.start as i64..keys.end as i64;
        match &self.form {
            PlanForm::Listed(p) => p.tile_block(tile, keys, cursor, max, out),
            PlanForm::Shifted(p) => p.tile_block(tile, self.lanes(tile), keys, cursor, max, out),
        }
    }

    /// Whether tiles read long runs of keys and nothing else, so that neighbouring ones share most of them.
    pub(super) fn has_long_runs(&self) -> bool {
        let (masks, tiles, keys) = match &self.form {
            PlanForm::Listed(p) => {
                let (keys, masks) = p.tile_entries();
                (masks, self.tiles(), count_keys(keys.iter().map(|&key| i64::from(key)), masks))
            }
            PlanForm::Shifted(p) => {
                let (keys, masks) = p.tile_entries();
                (masks, 1, count_keys(keys.iter().map(|&key| i64::from(key)), masks))
            }
        };
        !self.has_rows() && masks.len() <= FEW_ENTRIES * tiles && keys >= MANY_KEYS * tiles
    }

    /// The number of a tile's first row edge; numbers are unique in the plan, and those of a tile are consecutive.
    pub(crate) fn first_row_edge(&self, tile: usize) -> usize {
        match &self.form {
            PlanForm::Listed(p) => p.first_row_edge((tile * TILE).min(self.n_queries)),
            PlanForm::Shifted(p) => p.first_row_edge(tile),
        }
    }

    /// The row keys of a lane, increasing, and the numbers of their edges.
    #[inline]
    pub(crate) fn row_keys<'a>(
        &'a self,
        tile: usize,
        lane: usize,
        buffer: &'a mut Vec<u32>,
    ) -> (&'a [u32], RowEdges<'a>) {
        match &self.form {
            PlanForm::Listed(p) => p.row_keys(tile * TILE + lane),
            PlanForm::Shifted(p) => p.row_keys(tile, lane, self.n_keys, buffer),
        }
    }

    /// By how much the edge numbers of a tile exceed those of the tile before, where its row keys are the same but for
    /// 16 added to each; else `None`.
    #[inline]
    pub(crate) fn row_step(&self, tile: usize) -> Option<usize> {
        match &self.form {
            PlanForm::Shifted(p) if tile > 0 && self.lanes(tile) == TILE => {
                p.follows(tile, self.n_keys).then(|| p.row_edges_per_tile())
            }
            PlanForm::Shifted(_) | PlanForm::Listed(_) => None,
        }
    }

    /// All keys of the single query of a tile, in no particular order.
    pub(crate) fn keys(&self, tile: usize) -> Result<Vec<u32>> {
        let (mut cursor, mut block, mut buffer) = (Cursor::default(), TileKeys::default(), Vec::new());
        let mut keys = memory::copied("index_set", self.row_keys(tile, 0, &mut buffer).0)?;
        while self.tile_block(tile, &mut cursor, 4096, &mut block) {
            memory::extend("index_set", &mut keys, block.keys.iter().copied())?;
        }
        Ok(keys)
    }

    /// Whether some tiles have keys.
    pub(crate) fn has_tiles(&self) -> bool {
        match &self.form {
            PlanForm::Listed(p) => p.has_tiles(),
            PlanForm::Shifted(p) => p.has_tiles(),
        }
    }

    /// Whether some queries have row keys.
    #[inline]
    pub(crate) fn has_rows(&self) -> bool {
        self.row_edges() > 0
    }

    /// Upper bound of the numbers of row edges.
    pub(crate) fn row_edges(&self) -> usize {
        match &self.form {
            PlanForm::Listed(p) => p.row_edges(),
            PlanForm::Shifted(p) => p.row_edges(self.tiles()),
        }
    }

    /// Number of edges in the tiles before each tile, and in all tiles.
    pub(crate) fn tile_edge_starts(&self) -> Result<Vec<usize>> {
        let mut starts = memory::with_capacity("index_set", self.tiles() + 1)?;
        starts.push(0);
        let mut block = TileKeys::default();
        for tile in 0..self.tiles() {
            interrupt::check();
            let mut cursor = Cursor::default();
            let mut count = *starts.last().unwrap_or(&0);
            while self.tile_block(tile, &mut cursor, 256, &mut block) {
                count += block.masks.iter().map(|m| m.count_ones() as usize).sum::<usize>();
            }
            starts.push(count);
        }
        Ok(starts)
    }

    /// Counts what the plan will do.
    pub fn report(&self) -> PlanReport {
        let mut report = PlanReport { tiles: self.tiles(), ..PlanReport::default() };
        let (mut block, mut buffer) = (TileKeys::default(), Vec::new());
        for tile in 0..self.tiles() {
            interrupt::check();
            let mut cursor = Cursor::default();
            while self.tile_block(tile, &mut cursor, 256, &mut block) {
                report.tile_edges += block.masks.iter().map(|m| m.count_ones() as usize).sum::<usize>();
                report.tile_lanes += block.keys.len() * TILE;
            }
            for lane in 0..self.lanes(tile) {
                report.row_edges += self.row_keys(tile, lane, &mut buffer).0.len();
            }
        }
        report.index_bytes = match &self.form {
            PlanForm::Listed(p) => p.bytes(),
            PlanForm::Shifted(p) => p.bytes(),
        };
        report
    }
}

/// The keys of some entries, runs in full.
fn count_keys(keys: impl Iterator<Item = i64>, masks: &[u16]) -> usize {
    let (mut count, mut entries) = (0, keys.zip(masks));
    while let Some((_, &mask)) = entries.next() {
        count += if mask == RUN_MARK { entries.next().map_or(0, |(length, _)| length as usize) } else { 1 };
    }
    count
}
