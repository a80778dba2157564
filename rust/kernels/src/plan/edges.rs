//! From a plan's edges to row order, for biases of edges.

use super::made::Plan;
use super::tile::{Cursor, TILE, TileKeys};
use crate::error::{KernelError, Result};
use crate::index_set::{Form, IndexSet};
use crate::interrupt;
use crate::memory;

/// The place in row order of each edge of a plan.
#[derive(Debug)]
pub struct EdgeMap {
    /// Number of the first tile edge of each tile, and of all tile edges.
    pub(crate) tile_starts: Vec<usize>,
    /// Places of the tile edges (by tile, key, lane), then of the row edges.
    pub(crate) edges: Vec<u32>,
}

/// The edges of rows that are one run of keys each: their biases are read where they lie, and no row is listed.
#[derive(Debug)]
pub struct EdgeRows {
    /// For each query the number in row order of its first edge, less its first key.
    starts: Vec<i64>,
    /// The number of the first edge of each query, and of all edges.
    edges: Vec<i64>,
}

impl EdgeRows {
    /// Of a set without an order of its own whose rows are one run each; `None` of other sets.
    pub(super) fn new(set: &IndexSet) -> Result<Option<Self>> {
        let one_run = match set.form() {
            Form::Offsets { offsets, .. } => offsets.windows(2).all(|pair| pair[1] == pair[0] + 1),
            Form::Runs { indptr, .. } => set.order().is_none() && indptr.windows(2).all(|pair| pair[1] - pair[0] <= 1),
            Form::Csr { .. } => false,
        };
        if !one_run {
            return Ok(None);
        }
        let n_queries = set.n_queries();
        let mut starts = memory::with_capacity("edge_bias", n_queries)?;
        let mut edges = memory::with_capacity("edge_bias", n_queries + 1)?;
        let mut edge = 0;
        for query in 0..n_queries {
            let [first, end] = match set.form() {
                Form::Offsets { offsets, q_offset } => {
                    let place = query as i64 + q_offset;
                    let bound = |key: i64| key.clamp(0, set.n_keys() as i64);
                    let ends = offsets.first().zip(offsets.last());
                    ends.map_or([0, 0], |(low, high)| [bound(place - high), bound(place - low + 1)])
                }
                Form::Runs { indptr, runs } => {
                    let run = runs[indptr[query] as usize..indptr[query + 1] as usize].first();
                    run.map_or([0, 0], |run| run.map(i64::from))
                }
                Form::Csr { .. } => unreachable!("refused above"),
            };
            starts.push(edge - first);
            edges.push(edge);
            edge += (end - first).max(0);
        }
        edges.push(edge);
        Ok(Some(Self { starts, edges }))
    }

    /// Number of edges.
    pub fn nnz(&self) -> usize {
        self.edges.last().map_or(0, |&edge| edge as usize)
    }

    /// The number of a query's edges, less its keys.
    #[inline(always)]
    pub(crate) fn start(&self, query: usize) -> i64 {
        self.starts[query]
    }

    /// The number of a query's first edge; of the number of queries, that of all edges.
    pub(crate) fn first_edge(&self, query: usize) -> usize {
        self.edges[query] as usize
    }
}

impl EdgeMap {
    /// The map of a listed index set's plan.
    pub fn new(set: &IndexSet, plan: &Plan) -> Result<Self> {
        let Form::Csr { indptr, .. } = set.form() else {
            return Err(KernelError::value("edge_bias", "an index set that is not listed", "a listed index set"));
        };
        if set.nnz() > u32::MAX as usize {
            return Err(KernelError::value("edge_bias", format!("{} edges", set.nnz()), "at most 2^32"));
        }
        let Form::Csr { indices, .. } = set.form() else { unreachable!("matched above") };
        let edge = |query: usize, key: u32| {
            let (first, last) = (indptr[query] as usize, indptr[query + 1] as usize);
            (first + indices[first..last].partition_point(|&j| (j as u32) < key)) as u32
        };
        let mut edges = memory::with_capacity("edge_bias", set.nnz())?;
        let mut block = TileKeys::default();
        for tile in 0..plan.tiles() {
            interrupt::check();
            let mut cursor = Cursor::default();
            while plan.tile_block(tile, &mut cursor, 256, &mut block) {
                for (&key, &mask) in block.keys.iter().zip(&block.masks) {
                    for lane in (0..TILE).filter(|lane| mask >> lane & 1 == 1) {
                        edges.push(edge(plan.query(tile, lane), key));
                    }
                }
            }
        }
        let mut buffer = Vec::new();
        for tile in 0..plan.tiles() {
            interrupt::check();
            for lane in 0..plan.lanes(tile) {
                let query = plan.query(tile, lane);
                edges.extend(plan.row_keys(tile, lane, &mut buffer).0.iter().map(|&key| edge(query, key)));
            }
        }
        Ok(Self { tile_starts: plan.tile_edge_starts()?, edges })
    }

    /// The number in row order of every edge as the plan has them: tile edges (by tile, key, lane), then row edges.
    pub fn edges(&self) -> &[u32] {
        &self.edges
    }

    /// Number of edges.
    pub fn nnz(&self) -> usize {
        self.edges.len()
    }

    /// Number of edges in tiles; the row edges follow them.
    pub(crate) fn tile_edges(&self) -> usize {
        self.tile_starts.last().copied().unwrap_or(0)
    }
}
