//! What a sweep knows of one tile, and of the keys that some tiles read together.

use super::task::Place;
use crate::attention::buffers::Aligned;
use crate::attention::element::Accumulator;
use crate::plan::{TILE, TileKeys};
use std::ops::Range;

/// Tiles that read a block of keys together where they share most of them.
pub(super) const TOGETHER: usize = 4;

/// What a sweep knows of one tile and head.
pub(super) struct SweptTile<A> {
    /// The tile's queries, scaled, and output gradients: as columns and as rows.
    pub(super) qt: Aligned<A>,
    pub(super) dot: Aligned<A>,
    pub(super) q_rows: Aligned<A>,
    pub(super) dout_rows: Aligned<A>,
    pub(super) dq: Aligned<A>,
    /// Whether `dq` is still undefined.
    pub(super) fresh: bool,
    /// Weights of a block of the tile's keys, and ds.
    pub(super) p: Aligned<A>,
    pub(super) ds: Aligned<A>,
    /// lse, +∞ where a lane has none, and its rounding error; delta − dlse.
    pub(super) lse: [A; TILE],
    pub(super) rest: [A; TILE],
    pub(super) delta: [A; TILE],
    pub(super) block: TileKeys,
    /// The number of the first edge of the next block, where edges have a bias.
    pub(super) edge: usize,
}

impl<A: Accumulator> SweptTile<A> {
    pub(super) fn new(d: usize, dv: usize, keys: usize) -> Self {
        let zero = A::default();
        Self {
            qt: Aligned::zeros(TILE * d),
            dot: Aligned::zeros(TILE * dv),
            q_rows: Aligned::zeros(TILE * d),
            dout_rows: Aligned::zeros(TILE * dv),
            dq: Aligned::zeros(TILE * d),
            fresh: true,
            p: Aligned::zeros(TILE * keys),
            ds: Aligned::zeros(TILE * keys),
            lse: [zero; TILE],
            rest: [zero; TILE],
            delta: [zero; TILE],
            block: TileKeys::default(),
            edge: 0,
        }
    }
}

/// Four keys of a block that some tiles read.
#[derive(Default)]
pub(super) struct Four {
    /// The first one's number in the block.
    pub(super) at: usize,
    /// How many of them there are.
    pub(super) count: usize,
    pub(super) places: [Place; 4],
    /// The lanes of each tile that use one of them.
    pub(super) lanes: [Range<usize>; TOGETHER],
}
