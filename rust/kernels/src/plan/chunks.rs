//! How the backward pass cuts a plan: chunks of queries, the keys that each owns, and the foreign keys in its tiles.

use super::tables::Tables;
use super::tile::{Cursor, TILE, TileKeys};
use crate::error::Result;
use crate::interrupt;
use crate::memory::{self, OrLeave};
use std::ops::Range;
use std::sync::Arc;

/// Chunks of consecutive tiles. A chunk adds to the gradients of its own keys directly and keeps those of foreign keys
/// in its halo; halos are added in the order of the chunks, so the sums do not depend on the executor.
///
/// Where chunks read most keys, their halos would hold those keys once for each chunk. Such a plan runs *in rounds*: in
/// each round a chunk of queries meets one chunk of keys, another one for each, and adds to it directly.
///
/// Where queries have an order of their own and each query is a key too, keys are owned along the same order, so that a
/// chunk owns the keys around its queries. A key's *place* is its position in that order, or else its index.
#[derive(Debug)]
pub(crate) struct Chunks {
    pub(crate) tiles: usize,
    pub(crate) rounds: bool,
    /// Places that each chunk owns; together all of them.
    pub(crate) own: Vec<Range<usize>>,
    /// Places of the foreign keys in each chunk's tiles, increasing.
    pub(crate) halo: Vec<Vec<u32>>,
    order: Option<Arc<Vec<u32>>>,
    /// The place of each key in the order.
    places: Vec<u32>,
}

impl Chunks {
    pub(crate) fn new(plan: &Tables, tiles: usize) -> Result<Self> {
        const SIZE: &str = "index_set";
        let count = plan.tiles().div_ceil(tiles).max(1);
        let shift = plan.n_keys() as i64 - plan.n_queries() as i64;
        let order = plan.shared_order().filter(|_| shift == 0);
        let mut places = memory::zeros::<u32>(SIZE, if order.is_some() { plan.n_keys() } else { 0 })?;
        for (place, &key) in order.iter().flat_map(|order| order.iter().enumerate()) {
            places[key as usize] = place as u32;
        }
        let bound = |chunk: usize| match chunk {
            0 => 0,
            c if c == count => plan.n_keys(),
            c => ((c * tiles * TILE) as i64 + shift).clamp(0, plan.n_keys() as i64) as usize,
        };
        let own = memory::collected(SIZE, (0..count).map(|c| bound(c)..bound(c + 1)))?;
        let mut chunks = Self { tiles, rounds: false, own, halo: memory::with_capacity(SIZE, count)?, order, places };
        let mut seen = memory::zeros::<bool>(SIZE, plan.n_keys())?;
        let mut block = TileKeys::default();
        for chunk in 0..count {
            let mut foreign = Vec::new();
            for tile in chunk * tiles..((chunk + 1) * tiles).min(plan.tiles()) {
                interrupt::check();
                let mut cursor = Cursor::default();
                while plan.tile_block(tile, &mut cursor, 256, &mut block) {
                    for &key in &block.keys {
                        let place = chunks.place(key as usize);
                        if !chunks.own[chunk].contains(&place) && !std::mem::replace(&mut seen[place], true) {
                            memory::push(SIZE, &mut foreign, place as u32)?;
                        }
                    }
                }
            }
            foreign.sort_unstable();
            for &place in &foreign {
                seen[place as usize] = false;
            }
            chunks.halo.push(foreign);
        }
        Ok(chunks)
    }

    /// Without halos; keys are owned in equal parts.
    pub(crate) fn in_rounds(plan: &Tables, tiles: usize) -> Result<Self> {
        const SIZE: &str = "index_set";
        let count = plan.tiles().div_ceil(tiles).max(1);
        let keys = plan.n_keys().div_ceil(count).next_multiple_of(TILE);
        let bound = |chunk: usize| (chunk * keys).min(plan.n_keys());
        let own = memory::collected(SIZE, (0..count).map(|c| bound(c)..bound(c + 1)))?;
        let halo = memory::filled(SIZE, Vec::new(), count)?;
        Ok(Self { tiles, rounds: true, own, halo, order: None, places: Vec::new() })
    }

    /// The place of a key.
    #[inline(always)]
    pub(crate) fn place(&self, key: usize) -> usize {
        if self.order.is_some() { self.places[key] as usize } else { key }
    }

    /// Slot in a chunk's halo of each foreign place, for a task that is under way; nothing where there are none.
    pub(crate) fn slots(&self, chunk: usize, keys: usize) -> Vec<u32> {
        let halo = &self.halo[chunk];
        let mut slots = memory::zeros::<u32>("index_set", if halo.is_empty() { 0 } else { keys }).or_leave();
        for (slot, &place) in halo.iter().enumerate() {
            slots[place as usize] = slot as u32;
        }
        slots
    }

    /// The keys in the order of their places; `None` is increasing.
    pub(crate) fn order(&self) -> Option<&[u32]> {
        self.order.as_ref().map(|order| order.as_slice())
    }

    /// The key at a place.
    #[inline(always)]
    pub(crate) fn key(&self, place: usize) -> usize {
        self.order.as_ref().map_or(place, |order| order[place] as usize)
    }

    /// The slots of `chunk`'s halo whose keys `owner` owns.
    pub(crate) fn slots_of(&self, chunk: usize, owner: usize) -> Range<usize> {
        let (places, own) = (&self.halo[chunk], &self.own[owner]);
        places.partition_point(|&p| (p as usize) < own.start)..places.partition_point(|&p| (p as usize) < own.end)
    }
}
