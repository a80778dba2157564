//! The plan of listed rows.

use super::arrays::TableArrays;
use super::tile::{Cursor, FEW, RUN_MARK, RowEdges, THRESHOLD, TILE, TileKeys, push_entries};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::interrupt;
use crate::memory::{self, OrLeave};
use std::ops::Range;
use std::sync::Mutex;

/// Tiles planned by one task.
const CHUNK: usize = 64;

/// Tiles and rows, listed.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Entries of each tile: `keys[tile_ptr[t]..tile_ptr[t + 1]]`.
    pub(super) tile_ptr: Vec<usize>,
    pub(super) keys: Vec<u32>,
    pub(super) masks: Vec<u16>,
    /// Row keys of each position in tile order: `row_keys[row_ptr[p]..row_ptr[p + 1]]`.
    pub(super) row_ptr: Vec<usize>,
    pub(super) row_keys: Vec<u32>,
}

impl Listed {
    pub(crate) fn new(
        indptr: &[i64],
        indices: &[i32],
        n_keys: usize,
        order: Option<&[u32]>,
        executor: &dyn Executor,
    ) -> Result<Self> {
        let planner = || Planner {
            users: memory::zeros("index_set", n_keys).or_leave(),
            touched: Vec::new(),
            masked_keys: Vec::new(),
        };
        Self::in_parallel(indptr.len() - 1, executor, planner, |planner, positions, plan| {
            let rows: Vec<&[i32]> = positions
                .map(|at| order.map_or(at, |o| o[at] as usize))
                .map(|query| &indices[indptr[query] as usize..indptr[query + 1] as usize])
                .collect();
            planner.tile(&rows, plan).or_leave();
        })
    }

    /// Plans the tiles in parallel: `tile(planner, positions, plan)` appends a tile of these positions to `plan`.
    pub(super) fn in_parallel<P>(
        n_queries: usize,
        executor: &dyn Executor,
        planner: impl Fn() -> P + Sync,
        tile: impl Fn(&mut P, Range<usize>, &mut Self) + Sync,
    ) -> Result<Self> {
        let tiles = n_queries.div_ceil(TILE);
        let parts = (0..tiles.div_ceil(CHUNK)).map(|_| Mutex::default());
        let parts: Vec<Mutex<Self>> = memory::collected("index_set", parts)?;
        executor.run(parts.len(), &|part| {
            let mut planner = planner();
            let mut plan = Self {
                tile_ptr: memory::with_capacity("index_set", CHUNK).or_leave(),
                row_ptr: memory::with_capacity("index_set", CHUNK * TILE).or_leave(),
                ..Self::default()
            };
            for at in part * CHUNK..((part + 1) * CHUNK).min(tiles) {
                interrupt::check();
                tile(&mut planner, at * TILE..((at + 1) * TILE).min(n_queries), &mut plan);
            }
            *parts[part].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = plan;
        });
        let parts = parts.into_iter().map(|part| part.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        let parts = memory::collected("index_set", parts)?;
        let mut whole = Self::with_room(&parts, tiles)?;
        whole.tile_ptr.push(0);
        for part in parts {
            interrupt::check();
            let (entries, edges) = (whole.keys.len(), whole.row_keys.len());
            whole.tile_ptr.extend(part.tile_ptr.iter().map(|p| p + entries));
            whole.row_ptr.extend(part.row_ptr.iter().map(|p| p + edges));
            whole.keys.extend(part.keys);
            whole.masks.extend(part.masks);
            whole.row_keys.extend(part.row_keys);
        }
        whole.check_size()?;
        Ok(whole)
    }

    pub(crate) fn from_lists<I: Copy + Into<i64> + Sync>(
        lists: &[I],
        n_queries: usize,
        n_keys: usize,
        executor: &dyn Executor,
    ) -> Result<Self> {
        let width = lists.len() / n_queries;
        let rows = CHUNK * TILE;
        let parts = (0..n_queries.div_ceil(rows)).map(|_| Mutex::new(Ok(Self::default())));
        let parts: Vec<Mutex<Result<Self>>> = memory::collected("index_set", parts)?;
        executor.run(parts.len(), &|part| {
            let lists = &lists[part * rows * width..((part + 1) * rows).min(n_queries) * width];
            let made = Self::compacted(lists, width, n_keys);
            *parts[part].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = made;
        });
        let tiles = n_queries.div_ceil(TILE);
        let mut made = memory::with_capacity("index_set", parts.len())?;
        for part in parts {
            made.push(part.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)?);
        }
        let mut whole = Self::with_room(&made, tiles)?;
        whole.tile_ptr.resize(tiles + 1, 0);
        for part in made {
            let edges = whole.row_keys.len();
            whole.row_ptr.extend(part.row_ptr.iter().map(|p| p + edges));
            whole.row_keys.extend(part.row_keys);
        }
        whole.check_size()?;
        Ok(whole)
    }

    /// An empty whole with room for the parts, and the first row start.
    fn with_room(parts: &[Self], tiles: usize) -> Result<Self> {
        let sum = |length: fn(&Self) -> usize| parts.iter().map(length).sum::<usize>();
        let (entries, rows) = (sum(|part| part.keys.len()), sum(|part| part.row_ptr.len()));
        let mut whole = Self {
            tile_ptr: memory::with_capacity("index_set", tiles + 1)?,
            keys: memory::with_capacity("index_set", entries)?,
            masks: memory::with_capacity("index_set", entries)?,
            row_ptr: memory::with_capacity("index_set", rows + 1)?,
            row_keys: memory::with_capacity("index_set", sum(|part| part.row_keys.len()))?,
        };
        whole.row_ptr.push(0);
        Ok(whole)
    }

    /// Lists without their pads.
    fn compacted<I: Copy + Into<i64>>(lists: &[I], width: usize, n_keys: usize) -> Result<Self> {
        let mut rows = Self {
            row_ptr: memory::with_capacity("index_set", lists.len() / width)?,
            row_keys: memory::with_capacity("index_set", lists.len())?,
            ..Self::default()
        };
        for list in lists.chunks_exact(width) {
            for &key in list {
                let key: i64 = key.into();
                if !(-1..n_keys as i64).contains(&key) {
                    return Err(KernelError::index("index_set", format!("key {key}"), format!("-1 <= key < {n_keys}")));
                }
                if key >= 0 {
                    rows.row_keys.push(key as u32);
                }
            }
            rows.row_ptr.push(rows.row_keys.len());
        }
        Ok(rows)
    }

    fn check_size(&self) -> Result<()> {
        if self.row_keys.len() > u32::MAX as usize {
            return Err(KernelError::value("index_set", format!("{} row edges", self.row_keys.len()), "at most 2^32"));
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn tile_block(
        &self,
        tile: usize,
        within: Range<i64>,
        cursor: &mut Cursor,
        max: usize,
        out: &mut TileKeys,
    ) -> bool {
        let span = self.tile_ptr[tile]..self.tile_ptr[tile + 1];
        let (keys, masks) = (&self.keys[span.clone()], &self.masks[span]);
        let entry = |at: usize| (i64::from(keys[at]), masks[at]);
        out.fill(keys.len(), entry, within, u16::MAX, cursor, max)
    }

    /// The entries of the tiles.
    pub(super) fn tile_entries(&self) -> (&[u32], &[u16]) {
        (&self.keys, &self.masks)
    }

    pub(crate) fn has_tiles(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(crate) fn first_row_edge(&self, position: usize) -> usize {
        self.row_ptr[position]
    }

    #[inline]
    pub(crate) fn row_keys(&self, position: usize) -> (&[u32], RowEdges<'_>) {
        let (first, end) = (self.row_ptr[position], self.row_ptr[position + 1]);
        (&self.row_keys[first..end], RowEdges::From(first))
    }

    pub(crate) fn row_edges(&self) -> usize {
        self.row_keys.len()
    }

    pub(crate) fn rows(&self) -> (&[usize], &[u32]) {
        (&self.row_ptr, &self.row_keys)
    }

    /// The arrays, as they lie in memory.
    pub(super) fn arrays(&self) -> TableArrays<'_> {
        TableArrays::Listed {
            tile_ptr: &self.tile_ptr,
            tile_keys: &self.keys,
            tile_masks: &self.masks,
            row_ptr: &self.row_ptr,
            row_keys: &self.row_keys,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() * 6 + self.row_keys.len() * 4 + (self.tile_ptr.len() + self.row_ptr.len()) * size_of::<usize>()
    }
}

/// Scratch of one task: which queries of the tile use each key.
struct Planner {
    users: Vec<u16>,
    touched: Vec<u32>,
    masked_keys: Vec<(i64, u16)>,
}

impl Planner {
    fn tile(&mut self, rows: &[&[i32]], plan: &mut Listed) -> Result<()> {
        let most = rows.iter().map(|row| row.len()).sum();
        self.touched.clear();
        memory::reserve("index_set", &mut self.touched, most)?;
        for (lane, row) in rows.iter().enumerate() {
            for &key in *row {
                let users = &mut self.users[key as usize];
                if *users == 0 {
                    self.touched.push(key as u32);
                }
                *users |= 1 << lane;
            }
        }
        self.touched.sort_unstable();
        self.masked_keys.clear();
        memory::reserve("index_set", &mut self.masked_keys, self.touched.len())?;
        let users = &self.users;
        let alone = self.touched.iter().filter(|&&k| users[k as usize].count_ones() < THRESHOLD).count();
        let least = if alone <= FEW { 1 } else { THRESHOLD };
        let shared = |mask: u16| mask.count_ones() >= least;
        self.masked_keys
            .extend(self.touched.iter().map(|&k| (i64::from(k), users[k as usize])).filter(|&(_, m)| shared(m)));
        push_entries(&self.masked_keys, |k| k as u32, &mut plan.keys, &mut plan.masks)?;
        plan.tile_ptr.push(plan.keys.len());
        for row in rows {
            let own = row.iter().map(|&k| k as u32).filter(|&k| !shared(users[k as usize]));
            memory::extend("index_set", &mut plan.row_keys, own)?;
            plan.row_ptr.push(plan.row_keys.len());
        }
        for &key in &self.touched {
            self.users[key as usize] = 0;
        }
        Ok(())
    }
}

const _: () = assert!(RUN_MARK == 0, "an empty mask cannot be a key's own");
