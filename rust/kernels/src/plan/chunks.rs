//! How the backward pass cuts a plan: chunks of queries, the keys each owns, and the foreign keys it also touches.

use super::{Cursor, Plan, TILE, TileKeys};
use std::ops::Range;

/// Chunks of consecutive tiles. A chunk adds to the gradients of its own keys directly and keeps those of foreign keys
/// in its halo; halos are added in the order of the chunks, so the sums do not depend on who ran what.
#[derive(Debug)]
pub(crate) struct Chunks {
    pub(crate) tiles: usize,
    /// Keys that each chunk owns; together all keys.
    pub(crate) own: Vec<Range<usize>>,
    /// Foreign keys in each chunk's tiles, increasing.
    pub(crate) halo: Vec<Vec<u32>>,
}

impl Chunks {
    pub(crate) fn new(plan: &Plan, tiles: usize) -> Self {
        let count = plan.tiles().div_ceil(tiles).max(1);
        let shift = plan.n_keys() as i64 - plan.n_queries() as i64;
        let bound = |chunk: usize| match chunk {
            0 => 0,
            c if c == count => plan.n_keys(),
            c => ((c * tiles * TILE) as i64 + shift).clamp(0, plan.n_keys() as i64) as usize,
        };
        let own: Vec<_> = (0..count).map(|c| bound(c)..bound(c + 1)).collect();
        let mut seen = vec![false; plan.n_keys()];
        let mut block = TileKeys::default();
        let halo = own
            .iter()
            .enumerate()
            .map(|(chunk, own)| {
                let mut foreign = Vec::new();
                for tile in chunk * tiles..((chunk + 1) * tiles).min(plan.tiles()) {
                    let mut cursor = Cursor::default();
                    while plan.tile_block(tile, &mut cursor, 256, &mut block) {
                        for &key in &block.keys {
                            if !own.contains(&(key as usize)) && !std::mem::replace(&mut seen[key as usize], true) {
                                foreign.push(key);
                            }
                        }
                    }
                }
                foreign.sort_unstable();
                for &key in &foreign {
                    seen[key as usize] = false;
                }
                foreign
            })
            .collect();
        Self { tiles, own, halo }
    }

    /// The slots of `chunk`'s halo whose keys `owner` owns.
    pub(crate) fn slots_of(&self, chunk: usize, owner: usize) -> Range<usize> {
        let (keys, own) = (&self.halo[chunk], &self.own[owner]);
        keys.partition_point(|&k| (k as usize) < own.start)..keys.partition_point(|&k| (k as usize) < own.end)
    }
}
