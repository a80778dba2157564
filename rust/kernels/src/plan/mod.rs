//! How an [`IndexSet`] runs: tiles of 16 queries with the keys they share, and rows with the rest.
//!
//! A key that [`THRESHOLD`] or more of a tile's queries use goes into the tile's key list with a 16-bit mask of those
//! queries; the others stay in the rows of the queries that use them. Both parts share one softmax, forward and
//! backward, so every pattern is one kernel. Offsets have one tile, shifted: index memory O(K).

mod chunks;
mod listed;
mod runs;
mod shifted;
mod transposed;

use crate::error::Result;
use crate::executor::Executor;
use crate::index_set::{Form, IndexSet};
use crate::interrupt;
use crate::memory::{self, OrLeave};
pub(crate) use chunks::Chunks;
use listed::Listed;
use shifted::Shifted;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
pub(crate) use transposed::Transposed;

/// Queries per tile: the lanes of one vector.
pub const TILE: usize = 16;

/// A key enters a tile's list when this many of its queries use it.
pub const THRESHOLD: u32 = 5;

/// Where no more keys than this are left for a tile's rows, they join its list too: rows have a cost of their own.
const FEW: usize = 8;

/// Consecutive keys of one mask become one entry from this length on.
const RUN: usize = 16;

/// Mask value that marks a run: its key is the first one, and the next entry has its length and its mask.
const RUN_MARK: u16 = 0;

/// How an index set runs.
#[derive(Debug)]
pub struct Plan {
    n_queries: usize,
    n_keys: usize,
    order: Option<Arc<Vec<u32>>>,
    form: PlanForm,
    transposed: OnceLock<Transposed>,
    chunks: Mutex<Option<Arc<Chunks>>>,
}

#[derive(Debug)]
enum PlanForm {
    Listed(Listed),
    Shifted(Shifted),
}

/// What a plan will do, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanReport {
    /// Number of query tiles.
    pub tiles: usize,
    /// (query, key) pairs that run in tiles.
    pub tile_edges: usize,
    /// Lanes computed for them, masked ones included.
    pub tile_lanes: usize,
    /// (query, key) pairs that run in rows.
    pub row_edges: usize,
    /// Bytes of the plan.
    pub index_bytes: usize,
}

/// The keys of one tile, expanded block by block.
#[derive(Debug, Default)]
pub(crate) struct TileKeys {
    /// Key indices, increasing.
    pub(crate) keys: Vec<u32>,
    /// Which of the tile's queries use each key.
    pub(crate) masks: Vec<u16>,
}

/// The pair numbers of a lane's row keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowPairs<'a> {
    /// One after the other.
    From(usize),
    /// A base plus what is listed.
    Slots(usize, &'a [u32]),
}

/// Where in a tile's entries the next block begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    entry: usize,
    inside: u32,
}

impl TileKeys {
    /// Repeats the last key, used by nobody, until the number of keys is a multiple of `step`.
    #[inline]
    pub(crate) fn pad(&mut self, step: usize) {
        let (key, keys) = (self.keys.last().copied().unwrap_or(0), self.keys.len().next_multiple_of(step));
        self.keys.resize(keys, key);
        self.masks.resize(keys, 0);
    }

    /// Empties both lists and fills them with up to `max` keys; `false` when the tile is exhausted.
    #[inline]
    fn fill(
        &mut self,
        entries: usize,
        entry: impl Fn(usize) -> (i64, u16),
        limits: Range<i64>,
        lanes: u16,
        cursor: &mut Cursor,
        max: usize,
    ) -> bool {
        self.keys.clear();
        self.masks.clear();
        while cursor.entry < entries && self.keys.len() < max {
            let (key, mask) = entry(cursor.entry);
            if mask == RUN_MARK {
                let (length, mask) = entry(cursor.entry + 1);
                if mask & lanes == 0 {
                    *cursor = Cursor { entry: cursor.entry + 2, inside: 0 };
                    continue;
                }
                let first = (key + i64::from(cursor.inside)).max(limits.start);
                let last = (key + length).min(limits.end);
                let take = (last - first).clamp(0, (max - self.keys.len()) as i64);
                self.keys.extend((first..first + take).map(|j| j as u32));
                self.masks.resize(self.keys.len(), mask & lanes);
                if first + take < last {
                    cursor.inside = (first + take - key) as u32;
                    return true;
                }
                *cursor = Cursor { entry: cursor.entry + 2, inside: 0 };
            } else {
                cursor.entry += 1;
                if limits.contains(&key) && mask & lanes != 0 {
                    self.keys.push(key as u32);
                    self.masks.push(mask & lanes);
                }
            }
        }
        !self.keys.is_empty()
    }
}

/// Appends `(key, mask)` pairs to entry lists, runs of one mask as one entry.
fn push_entries<K: Copy>(
    pairs: &[(i64, u16)],
    convert: impl Fn(i64) -> K,
    keys: &mut Vec<K>,
    masks: &mut Vec<u16>,
) -> Result<()> {
    // There are no more entries than keys.
    memory::reserve("index_set", keys, pairs.len())?;
    memory::reserve("index_set", masks, pairs.len())?;
    let mut at = 0;
    while at < pairs.len() {
        let (first, mask) = pairs[at];
        let same = pairs[at..].iter().zip(first..).take_while(|(pair, key)| **pair == (*key, mask)).count();
        if same >= RUN {
            push_run(convert(first), convert(same as i64), mask, keys, masks);
            at += same;
        } else {
            keys.extend(pairs[at..at + same].iter().map(|pair| convert(pair.0)));
            masks.resize(keys.len(), mask);
            at += same;
        }
    }
    Ok(())
}

/// Appends a run: its first key, then its length with its mask.
fn push_run<K: Copy>(first: K, length: K, mask: u16, keys: &mut Vec<K>, masks: &mut Vec<u16>) {
    keys.extend([first, length]);
    masks.extend([RUN_MARK, mask]);
}

/// Lanes that the entries compute; `length` reads the key of an entry.
fn lanes_of(masks: &[u16], length: impl Fn(usize) -> usize) -> usize {
    let (mut keys, mut at) = (0, 0);
    while at < masks.len() {
        let run = masks[at] == RUN_MARK;
        keys += if run { length(at + 1) } else { 1 };
        at += if run { 2 } else { 1 };
    }
    keys * TILE
}

impl Plan {
    /// Plans an index set in time linear in its pairs, in parallel.
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
            transposed: OnceLock::new(),
            chunks: Mutex::new(None),
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
        Ok(Self { n_queries, n_keys, order: None, form, transposed: OnceLock::new(), chunks: Mutex::new(None) })
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

    /// The order in which queries are cut into tiles; `None` is consecutive.
    pub(crate) fn order(&self) -> Option<&[u32]> {
        self.order.as_ref().map(|o| o.as_slice())
    }

    /// The query in a lane of a tile.
    #[inline]
    pub(crate) fn query(&self, tile: usize, lane: usize) -> usize {
        let at = tile * TILE + lane;
        self.order.as_ref().map_or(at, |o| o[at] as usize)
    }

    /// Two queries of the next tile for each of its first eight steps.
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
        match &self.form {
            PlanForm::Listed(p) => p.tile_block(tile, cursor, max, out),
            PlanForm::Shifted(p) => p.tile_block(tile, self.lanes(tile), self.n_keys, cursor, max, out),
        }
    }

    /// The first row pair of a tile; pair numbers are unique in the plan, and those of a tile are consecutive.
    pub(crate) fn first_pair(&self, tile: usize) -> usize {
        match &self.form {
            PlanForm::Listed(p) => p.first_pair((tile * TILE).min(self.n_queries)),
            PlanForm::Shifted(p) => p.first_pair(tile),
        }
    }

    /// The row keys of a lane, increasing, and their pairs.
    #[inline]
    pub(crate) fn row_keys<'a>(
        &'a self,
        tile: usize,
        lane: usize,
        buffer: &'a mut Vec<u32>,
    ) -> (&'a [u32], RowPairs<'a>) {
        match &self.form {
            PlanForm::Listed(p) => p.row_keys(tile * TILE + lane),
            PlanForm::Shifted(p) => p.row_keys(tile, lane, self.n_keys, buffer),
        }
    }

    /// The row keys of a tile are those of the tile before it, 16 on; their pairs are as many on as this says.
    #[inline]
    pub(crate) fn row_step(&self, tile: usize) -> Option<usize> {
        match &self.form {
            PlanForm::Shifted(p) if tile > 0 && self.lanes(tile) == TILE => {
                p.follows(tile, self.n_keys).then(|| p.pairs_per_tile())
            }
            PlanForm::Shifted(_) | PlanForm::Listed(_) => None,
        }
    }

    /// All keys of a query that has a tile for itself, in no order.
    pub(crate) fn keys(&self, tile: usize) -> Result<Vec<u32>> {
        let (mut cursor, mut block, mut buffer) = (Cursor::default(), TileKeys::default(), Vec::new());
        let mut keys = memory::copied("index_set", self.row_keys(tile, 0, &mut buffer).0)?;
        while self.tile_block(tile, &mut cursor, 4096, &mut block) {
            memory::extend("index_set", &mut keys, block.keys.iter().copied())?;
        }
        Ok(keys)
    }

    /// Some tiles have keys.
    pub(crate) fn has_tiles(&self) -> bool {
        match &self.form {
            PlanForm::Listed(p) => p.has_tiles(),
            PlanForm::Shifted(p) => p.has_tiles(),
        }
    }

    /// Some queries have row keys.
    #[inline]
    pub(crate) fn has_rows(&self) -> bool {
        self.row_pairs() > 0
    }

    /// Upper bound of row pair numbers.
    pub(crate) fn row_pairs(&self) -> usize {
        match &self.form {
            PlanForm::Listed(p) => p.row_pairs(),
            PlanForm::Shifted(p) => p.row_pairs(self.tiles()),
        }
    }

    /// Row pairs by key, for the second backward pass; made on first use.
    pub(crate) fn transposed(&self) -> &Transposed {
        self.transposed.get_or_init(|| match &self.form {
            PlanForm::Listed(p) => Transposed::listed(p, self.n_keys, self.order()).or_leave(),
            PlanForm::Shifted(p) => Transposed::shifted(p, self.n_queries).or_leave(),
        })
    }

    /// The cut of the backward pass into chunks of so many tiles; the last one asked for is kept.
    pub(crate) fn chunks(&self, tiles: usize) -> Arc<Chunks> {
        let mut kept = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(chunks) if chunks.tiles == tiles => chunks.clone(),
            _ => kept.insert(Arc::new(Chunks::new(self, tiles).or_leave())).clone(),
        }
    }

    /// Number of pairs in the tiles before each tile, and in all.
    pub(crate) fn tile_pair_starts(&self) -> Result<Vec<usize>> {
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

    /// What the plan will do, counted.
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

    /// A cheap upper estimate of the lanes and row pairs that one pass computes.
    pub fn work(&self) -> usize {
        match &self.form {
            PlanForm::Listed(p) => p.work(),
            PlanForm::Shifted(p) => p.work() * self.tiles(),
        }
    }
}
