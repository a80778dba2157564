//! The plan of a translation-invariant pattern: one tile, shifted along the queries and clipped at the ends.

use super::arrays::TableArrays;
use super::tile::{Cursor, FEW, RowEdges, THRESHOLD, TILE, TileKeys, push_entries};
use crate::error::Result;
use crate::memory::{self, OrLeave};
use std::ops::Range;

/// Keys further than this from their tile need more than half of its queries: their gradients would cross chunks.
const NEAR: i64 = 1024;
const FAR_THRESHOLD: u32 = 9;

/// One tile for all queries.
#[derive(Debug)]
pub(crate) struct Shifted {
    q_offset: i64,
    /// Tile entries; keys relative to the position of the tile's first query.
    keys: Vec<i32>,
    masks: Vec<u16>,
    /// Row offsets of each lane, decreasing (keys increasing): `lane_offsets[lane_ptr[l]..lane_ptr[l + 1]]`.
    lane_ptr: [usize; TILE + 1],
    lane_offsets: Vec<i64>,
    /// The number of each lane offset's edge among the row edges of its tile: by offset, then lane. So the edges of one
    /// offset, which neighbouring keys read one after the other, are neighbours in memory.
    slots: Vec<u32>,
    /// The lowest and the highest row offset.
    row_span: (i64, i64),
}

impl Shifted {
    pub(crate) fn new(offsets: &[i64], q_offset: i64, n_queries: usize, n_keys: usize) -> Result<Self> {
        const SIZE: &str = "index_set";
        // Offsets that no query and key can have never run.
        let lowest = q_offset - n_keys as i64;
        let highest = n_queries as i64 + q_offset;
        // Lanes without a query run nothing.
        let lanes = n_queries.min(TILE) as i64;
        let within = offsets.iter().filter(|&&o| o > lowest && o < highest);
        let uses = within.flat_map(|o| (0..lanes).map(move |lane| (lane - o, 1 << lane)));
        let mut uses: Vec<(i64, u16)> = memory::collected(SIZE, uses)?;
        uses.sort_unstable();
        let mut users: Vec<(i64, u16)> = Vec::new();
        for (key, lane) in uses {
            match users.last_mut() {
                Some(last) if last.0 == key => last.1 |= lane,
                _ => memory::push(SIZE, &mut users, (key, lane))?,
            }
        }
        let shared = |key: i64, mask: u16| {
            let threshold = if key.abs() <= NEAR { THRESHOLD } else { FAR_THRESHOLD };
            mask.count_ones() >= threshold && i32::try_from(key).is_ok()
        };
        let rest = memory::collected(SIZE, users.iter().filter(|&&(k, m)| !shared(k, m)).map(|&(k, _)| k))?;
        let few = rest.len() <= FEW && rest.iter().all(|k: &i64| k.abs() <= NEAR);
        let in_tile = |key: i64, mask: u16| few || shared(key, mask);
        let tile = memory::collected(SIZE, users.iter().copied().filter(|&(k, m)| in_tile(k, m)))?;
        let (mut keys, mut masks) = (Vec::new(), Vec::new());
        push_entries(&tile, |k| k as i32, &mut keys, &mut masks)?;
        let mut lanes: [Vec<i64>; TILE] = Default::default();
        for &(key, mask) in users.iter().filter(|&&(k, m)| !in_tile(k, m)) {
            for (lane, list) in lanes.iter_mut().enumerate().filter(|(lane, _)| mask >> lane & 1 == 1) {
                memory::push(SIZE, list, lane as i64 - key)?;
            }
        }
        let mut lane_ptr = [0; TILE + 1];
        for lane in 0..TILE {
            lane_ptr[lane + 1] = lane_ptr[lane] + lanes[lane].len();
        }
        let mut lane_offsets = memory::with_capacity(SIZE, lane_ptr[TILE])?;
        for lane in &lanes {
            lane_offsets.extend_from_slice(lane);
        }
        let mut by_offset = memory::collected(SIZE, 0..lane_offsets.len())?;
        // Lanes stay in order; a stable sort would take memory of its own.
        by_offset.sort_unstable_by_key(|&at| (lane_offsets[at], at));
        let mut slots = memory::zeros::<u32>(SIZE, lane_offsets.len())?;
        for (slot, at) in by_offset.into_iter().enumerate() {
            slots[at] = slot as u32;
        }
        let end = |best: Option<&i64>| best.copied().unwrap_or_default();
        let row_span = (end(lane_offsets.iter().min()), end(lane_offsets.iter().max()));
        Ok(Self { q_offset, keys, masks, lane_ptr, lane_offsets, slots, row_span })
    }

    #[inline]
    pub(crate) fn tile_block(
        &self,
        tile: usize,
        lanes: usize,
        within: Range<i64>,
        cursor: &mut Cursor,
        max: usize,
        out: &mut TileKeys,
    ) -> bool {
        let base = (tile * TILE) as i64 + self.q_offset;
        let valid = if lanes == TILE { u16::MAX } else { (1 << lanes) - 1 };
        // The second entry of a run is a length, not a key; `fill` never shifts it.
        let entry = |at: usize| {
            let (key, mask) = (i64::from(self.keys[at]), self.masks[at]);
            (key, mask)
        };
        out.fill(self.keys.len(), entry, within.start - base..within.end - base, valid, cursor, max) && {
            for key in &mut out.keys {
                *key = (i64::from(*key as i32) + base) as u32;
            }
            true
        }
    }

    /// The entries of the tile.
    pub(super) fn tile_entries(&self) -> (&[i32], &[u16]) {
        (&self.keys, &self.masks)
    }

    pub(crate) fn has_tiles(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(crate) fn first_row_edge(&self, tile: usize) -> usize {
        tile * self.lane_offsets.len()
    }

    #[inline]
    pub(crate) fn row_keys<'a>(
        &'a self,
        tile: usize,
        lane: usize,
        n_keys: usize,
        buffer: &'a mut Vec<u32>,
    ) -> (&'a [u32], RowEdges<'a>) {
        let position = (tile * TILE + lane) as i64 + self.q_offset;
        let offsets = &self.lane_offsets[self.lane_ptr[lane]..self.lane_ptr[lane + 1]];
        // Decreasing offsets: those in position - n_keys < o <= position are consecutive.
        let first = offsets.partition_point(|&o| o > position);
        let last = offsets.partition_point(|&o| o > position - n_keys as i64);
        buffer.clear();
        let offsets = &offsets[first..last.max(first)];
        memory::extend("index_set", buffer, offsets.iter().map(|&o| (position - o) as u32)).or_leave();
        let slots = &self.slots[self.lane_ptr[lane] + first..self.lane_ptr[lane] + last.max(first)];
        (buffer, RowEdges::Slots(self.first_row_edge(tile), slots))
    }

    /// Whether the row keys of a full tile are those of the tile before it with 16 added: no lane of either is clipped.
    pub(crate) fn follows(&self, tile: usize, n_keys: usize) -> bool {
        let first = (tile * TILE) as i64 + self.q_offset;
        let (lowest, highest) = self.row_span;
        first - TILE as i64 - highest >= 0 && first + TILE as i64 - 1 - lowest < n_keys as i64
    }

    pub(crate) fn row_span(&self) -> (i64, i64) {
        self.row_span
    }

    pub(crate) fn row_edges(&self, tiles: usize) -> usize {
        tiles * self.lane_offsets.len()
    }

    /// `(lane, slot, offset)` of every row edge of one tile.
    pub(crate) fn row_edges_of_tile(&self) -> impl Iterator<Item = (usize, usize, i64)> + '_ {
        (0..TILE).flat_map(move |lane| {
            (self.lane_ptr[lane]..self.lane_ptr[lane + 1])
                .map(move |at| (lane, self.slots[at] as usize, self.lane_offsets[at]))
        })
    }

    pub(crate) fn row_edges_per_tile(&self) -> usize {
        self.lane_offsets.len()
    }

    pub(crate) fn q_offset(&self) -> i64 {
        self.q_offset
    }

    /// The arrays, as they lie in memory.
    pub(super) fn arrays(&self) -> TableArrays<'_> {
        TableArrays::Shifted {
            q_offset: self.q_offset,
            tile_keys: &self.keys,
            tile_masks: &self.masks,
            row_ptr: &self.lane_ptr,
            row_offsets: &self.lane_offsets,
            row_slots: &self.slots,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() * 4 + self.masks.len() * 2 + self.lane_offsets.len() * 12 + size_of::<Self>()
    }
}
