//! Tiles: sixteen queries, the keys they share, and how lists of keys are stored.

use crate::error::Result;
use crate::memory;
use std::ops::Range;

/// Queries per tile: the lanes of one vector.
pub const TILE: usize = 16;

/// A key enters a tile's list when this many of its queries use it.
pub const THRESHOLD: u32 = 5;

/// Where at most this many keys are left for a tile's rows, they join its list too: rows have a cost of their own.
pub(super) const FEW: usize = 8;

/// Consecutive keys of one mask become one entry from this length on.
pub(super) const RUN: usize = 16;

/// Mask value that marks a run: its key is the first one, and the next entry has its length and its mask.
pub(super) const RUN_MARK: u16 = 0;

/// The keys of one tile, expanded block by block.
#[derive(Debug, Default)]
pub(crate) struct TileKeys {
    /// Key indices, increasing.
    pub(crate) keys: Vec<u32>,
    /// Which of the tile's queries use each key.
    pub(crate) masks: Vec<u16>,
}

/// The edge numbers of a lane's row keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowEdges<'a> {
    /// Consecutive numbers.
    From(usize),
    /// A base plus a slot for each.
    Slots(usize, &'a [u32]),
}

/// Where in a tile's entries the next block begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    pub(super) entry: usize,
    pub(super) inside: u32,
}

impl TileKeys {
    /// Repeats the last key, with an empty mask, until the number of keys is a multiple of `step`.
    #[inline]
    pub(crate) fn pad(&mut self, step: usize) {
        let (key, keys) = (self.keys.last().copied().unwrap_or(0), self.keys.len().next_multiple_of(step));
        self.keys.resize(keys, key);
        self.masks.resize(keys, 0);
    }

    /// Empties both lists and fills them with up to `max` keys; `false` when the tile is exhausted.
    #[inline]
    pub(super) fn fill(
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

/// Appends keys with their masks to entry lists, runs of one mask as one entry.
pub(super) fn push_entries<K: Copy>(
    masked_keys: &[(i64, u16)],
    convert: impl Fn(i64) -> K,
    keys: &mut Vec<K>,
    masks: &mut Vec<u16>,
) -> Result<()> {
    // There are no more entries than keys.
    memory::reserve("index_set", keys, masked_keys.len())?;
    memory::reserve("index_set", masks, masked_keys.len())?;
    let mut at = 0;
    while at < masked_keys.len() {
        let (first, mask) = masked_keys[at];
        let same = masked_keys[at..].iter().zip(first..).take_while(|(entry, key)| **entry == (*key, mask)).count();
        if same >= RUN {
            push_run(convert(first), convert(same as i64), mask, keys, masks);
            at += same;
        } else {
            keys.extend(masked_keys[at..at + same].iter().map(|entry| convert(entry.0)));
            masks.resize(keys.len(), mask);
            at += same;
        }
    }
    Ok(())
}

/// Appends a run: its first key, then its length with its mask.
pub(super) fn push_run<K: Copy>(first: K, length: K, mask: u16, keys: &mut Vec<K>, masks: &mut Vec<u16>) {
    keys.extend([first, length]);
    masks.extend([RUN_MARK, mask]);
}
