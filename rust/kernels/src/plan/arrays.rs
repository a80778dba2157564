//! The arrays of a plan as they lie in memory, for other kernels, such as shaders, and for inspection.
//!
//! # Listed plans
//!
//! Position p of the plan is query `order[p]`, or p without an order; tile t has positions 16 t to 16 t + 15.
//!
//! ```text
//! tile_ptr   0        2     3           entries of tile t: tile_ptr[t] .. tile_ptr[t + 1]
//!            |        |     |
//! tile_keys  [ 4   7 ][ 32  40 ]        a key that some queries of the tile share
//! tile_masks [ 5   3 ][  0  ff ]        bit l: position 16 t + l uses it
//!                       ^   ^
//!                       |   the next entry: how many keys the run has, and their mask
//!                       mask 0: a run of consecutive keys begins at this key
//!
//! row_ptr    0     2  2        5        row keys of position p: row_ptr[p] .. row_ptr[p + 1]
//! row_keys   [ 1 9 ]  [ 2 3 8 ]         increasing; they are in no list of their tile
//! ```
//!
//! A query has the keys of its tile whose mask has its bit, and its row keys: none twice, together its row of the set.
//! The number of a row edge is its index in `row_keys`. Transposed: `edges[key_ptr[j]..key_ptr[j + 1]]` are the
//! `[query, edge number]` of key j, in the order of positions.
//!
//! # Shifted plans, of offsets
//!
//! One tile serves all. `tile_keys` (a run's length aside) are relative to the position `16 t + q_offset` of the tile's
//! first query among the keys; lane l has the row offsets `row_offsets[row_ptr[l]..row_ptr[l + 1]]`, decreasing, and so
//! the keys `16 t + l + q_offset − offset`. What leaves `0..n_keys` does not count, in tiles and in rows. The number of
//! a row edge is t times the number of row offsets, plus its slot. Transposed: key j has the offsets
//! `offsets[residue_ptr[r]..residue_ptr[r + 1]]` of its residue r = (j − `q_offset`) modulo 16, of the queries
//! `j − q_offset + offset` as far as they exist, with their slots.

use super::tile::TILE;

/// Tiles and rows; see the [module](self) for the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableArrays<'a> {
    /// Of an index set that lists its rows, or runs of them.
    Listed {
        /// Tiles + 1 entries.
        tile_ptr: &'a [usize],
        /// Keys of tiles.
        tile_keys: &'a [u32],
        /// Their masks.
        tile_masks: &'a [u16],
        /// Queries + 1 entries.
        row_ptr: &'a [usize],
        /// Keys of rows.
        row_keys: &'a [u32],
    },
    /// Of offsets: one tile for all.
    Shifted {
        /// Position of query 0 among the keys.
        q_offset: i64,
        /// Keys of the tile, relative.
        tile_keys: &'a [i32],
        /// Their masks.
        tile_masks: &'a [u16],
        /// By lane.
        row_ptr: &'a [usize; TILE + 1],
        /// Row offsets of each lane.
        row_offsets: &'a [i64],
        /// The slot of each among the row edges of the tile.
        row_slots: &'a [u32],
    },
}

/// Row edges by key; see the [module](self) for the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransposedArrays<'a> {
    /// Of a listed plan.
    Listed {
        /// Keys + 1 entries.
        key_ptr: &'a [usize],
        /// Query and edge number.
        edges: &'a [[u32; 2]],
    },
    /// Of a shifted plan.
    Shifted {
        /// By residue.
        residue_ptr: &'a [usize; TILE + 1],
        /// Offsets of each residue, increasing.
        offsets: &'a [i64],
        /// The slot of each.
        slots: &'a [u32],
    },
}
