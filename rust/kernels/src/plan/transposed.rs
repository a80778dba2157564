//! Row edges by key: what the second backward sweep walks.

use super::arrays::TransposedArrays;
use super::listed::Listed;
use super::shifted::Shifted;
use super::tile::TILE;
use crate::error::Result;
use crate::interrupt;
use crate::memory::{self, OrLeave};

/// The query and the number of each row edge, by key.
#[derive(Debug)]
pub(crate) enum Transposed {
    /// By key: `edges[key_ptr[j]..key_ptr[j + 1]]` as `[query, edge]`.
    Listed { key_ptr: Vec<usize>, edges: Vec<[u32; 2]> },
    /// By residue r of (key − `q_offset`) modulo the tile: `offsets[residue_ptr[r]..residue_ptr[r + 1]]`, increasing,
    /// with the slot of each.
    Shifted {
        residue_ptr: [usize; TILE + 1],
        offsets: Vec<i64>,
        slots: Vec<u32>,
        row_edges_per_tile: usize,
        q_offset: i64,
        n_queries: usize,
        /// The lowest and the highest offset.
        span: (i64, i64),
    },
}

impl Transposed {
    pub(crate) fn listed(plan: &Listed, n_keys: usize, order: Option<&[u32]>) -> Result<Self> {
        let (row_ptr, row_keys) = plan.rows();
        let mut key_ptr = memory::zeros::<usize>("index_set", n_keys + 1)?;
        for (at, &key) in row_keys.iter().enumerate() {
            interrupt::check_each(at, 1 << 16);
            key_ptr[key as usize + 1] += 1;
        }
        for j in 0..n_keys {
            key_ptr[j + 1] += key_ptr[j];
        }
        let mut next = memory::copied("index_set", &key_ptr)?;
        let mut edges = memory::zeros::<[u32; 2]>("index_set", row_keys.len())?;
        for position in 0..row_ptr.len() - 1 {
            interrupt::check_each(position, 256);
            let query = order.map_or(position as u32, |o| o[position]);
            for edge in row_ptr[position]..row_ptr[position + 1] {
                let slot = &mut next[row_keys[edge] as usize];
                edges[*slot] = [query, edge as u32];
                *slot += 1;
            }
        }
        Ok(Self::Listed { key_ptr, edges })
    }

    pub(crate) fn shifted(plan: &Shifted, n_queries: usize) -> Result<Self> {
        let mut residues = vec![Vec::new(); TILE];
        for (lane, slot, offset) in plan.row_edges_of_tile() {
            // key - q_offset = query - offset, and query = lane modulo the tile
            let residue = (lane as i64 - offset).rem_euclid(TILE as i64) as usize;
            memory::push("index_set", &mut residues[residue], (offset, slot as u32))?;
        }
        let (row_edges_per_tile, q_offset, span) = (plan.row_edges_per_tile(), plan.q_offset(), plan.row_span());
        let mut residue_ptr = [0; TILE + 1];
        let mut offsets = memory::with_capacity("index_set", row_edges_per_tile)?;
        let mut slots = memory::with_capacity("index_set", row_edges_per_tile)?;
        for (r, mut list) in residues.into_iter().enumerate() {
            list.sort_unstable();
            offsets.extend(list.iter().map(|entry| entry.0));
            slots.extend(list.iter().map(|entry| entry.1));
            residue_ptr[r + 1] = offsets.len();
        }
        Ok(Self::Shifted { residue_ptr, offsets, slots, row_edges_per_tile, q_offset, n_queries, span })
    }

    /// The arrays, as they lie in memory.
    pub(super) fn arrays(&self) -> TransposedArrays<'_> {
        match self {
            Self::Listed { key_ptr, edges } => TransposedArrays::Listed { key_ptr, edges },
            Self::Shifted { residue_ptr, offsets, slots, .. } => {
                TransposedArrays::Shifted { residue_ptr, offsets, slots }
            }
        }
    }

    /// By how much the edge numbers of the 16 keys from `first` on exceed those of the 16 keys before, where their
    /// queries are the same but for 16 added to each; else `None`.
    pub(crate) fn step(&self, first: usize) -> Option<usize> {
        let Self::Shifted { row_edges_per_tile, q_offset, n_queries, span, .. } = self else { return None };
        let at = first as i64 - q_offset;
        let (lowest, highest) = (at - TILE as i64 + span.0, at + TILE as i64 - 1 + span.1);
        (lowest >= 0 && highest < *n_queries as i64).then_some(*row_edges_per_tile)
    }

    /// Appends the query and the edge number of every row edge of a key, queries increasing.
    pub(crate) fn of_key(&self, key: usize, queries: &mut Vec<u32>, numbers: &mut Vec<usize>) {
        match self {
            Self::Listed { key_ptr, edges } => {
                let edges = &edges[key_ptr[key]..key_ptr[key + 1]];
                reserve_keys(edges.len(), queries, numbers);
                queries.extend(edges.iter().map(|edge| edge[0]));
                numbers.extend(edges.iter().map(|edge| edge[1] as usize));
            }
            Self::Shifted { residue_ptr, offsets, slots, row_edges_per_tile, q_offset, n_queries, .. } => {
                let at = key as i64 - q_offset;
                let residue = at.rem_euclid(TILE as i64) as usize;
                let all = residue_ptr[residue]..residue_ptr[residue + 1];
                let list = &offsets[all.clone()];
                // 0 <= at + offset < n_queries
                let first = list.partition_point(|o| at + o < 0);
                let last = list.partition_point(|o| at + o < *n_queries as i64).max(first);
                let (list, slots) = (&list[first..last], &slots[all][first..last]);
                reserve_keys(list.len(), queries, numbers);
                queries.extend(list.iter().map(|o| (at + o) as u32));
                let number = |(o, &slot): (&i64, &u32)| (at + o) as usize / TILE * row_edges_per_tile + slot as usize;
                numbers.extend(list.iter().zip(slots).map(number));
            }
        }
    }
}

/// Makes room for `more` edges.
#[inline]
fn reserve_keys(more: usize, queries: &mut Vec<u32>, numbers: &mut Vec<usize>) {
    memory::reserve("index_set", queries, more).or_leave();
    memory::reserve("index_set", numbers, more).or_leave();
}
