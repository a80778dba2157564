//! Device memory, used again.
//!
//! A block serves requests of its size class: powers of two up to 1 MiB, and above it powers of two and the seven steps
//! between each and the next. So a block of more than 1 MiB is at most an eighth larger than what was asked for. What
//! comes back is kept for the next request of its use and class; beyond a cap, what was used longest ago is freed.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The smallest block.
const LEAST: u64 = 256;
/// The largest power of two whose successor is the next power of two.
const FINE: u64 = 1 << 20;

/// The size of the block that serves a request.
pub fn class(bytes: u64) -> u64 {
    if bytes <= FINE {
        return bytes.max(LEAST).next_power_of_two();
    }
    bytes.next_multiple_of((1 << bytes.ilog2()) / 8)
}

/// What the pool counts. Sizes are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatistics {
    /// Blocks that are in use.
    pub allocated: u64,
    /// What was asked for when they were taken.
    pub requested: u64,
    /// Blocks that are kept for later.
    pub cached: u64,
    /// The most that blocks in use and kept ones ever were together.
    pub peak: u64,
    /// Requests that a kept block served.
    pub hits: u64,
    /// Requests that a new block served.
    pub misses: u64,
    /// Blocks that were freed.
    pub freed: u64,
}

impl PoolStatistics {
    /// Share of the blocks in use that nobody asked for.
    pub fn internal_fragmentation(&self) -> f64 {
        share(self.allocated - self.requested, self.allocated)
    }

    /// Share of all blocks that nobody uses.
    pub fn external_fragmentation(&self) -> f64 {
        share(self.cached, self.allocated + self.cached)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Blocks that nobody uses, by use and size, and the count of all.
pub struct Pool<U, B> {
    most: u64,
    largest: u64,
    /// In each class the latest last, with the time when it came.
    unused: HashMap<(U, u64), VecDeque<(u64, B)>>,
    clock: u64,
    statistics: PoolStatistics,
}

impl<U: Copy + Eq + Hash, B> Pool<U, B> {
    /// An empty pool that keeps at most `most` bytes, of blocks of at most `largest` bytes.
    pub fn new(most: u64, largest: u64) -> Self {
        Self { most, largest, unused: HashMap::new(), clock: 0, statistics: PoolStatistics::default() }
    }

    /// The size of the block that serves a request, which is no more than the largest block.
    pub fn size(&self, requested: u64) -> u64 {
        class(requested).min(self.largest)
    }

    /// The latest kept block for a request, if there is one.
    pub fn take(&mut self, usage: U, requested: u64) -> Option<B> {
        let size = self.size(requested);
        let (_, block) = self.unused.get_mut(&(usage, size))?.pop_back()?;
        self.statistics.cached -= size;
        self.statistics.hits += 1;
        self.lend(requested);
        Some(block)
    }

    /// Counts a new block, made for a request that [`Pool::take`] had nothing for.
    pub fn made(&mut self, requested: u64) {
        self.statistics.misses += 1;
        self.lend(requested);
    }

    fn lend(&mut self, requested: u64) {
        let size = self.size(requested);
        let counts = &mut self.statistics;
        counts.allocated += size;
        counts.requested += requested;
        counts.peak = counts.peak.max(counts.allocated + counts.cached);
    }

    /// Takes back the block of a request, and returns those that there is no room for, for the caller to free.
    pub fn give(&mut self, usage: U, requested: u64, block: B) -> Vec<B> {
        let size = self.size(requested);
        self.statistics.allocated -= size;
        self.statistics.requested -= requested;
        self.statistics.cached += size;
        self.clock += 1;
        self.unused.entry((usage, size)).or_default().push_back((self.clock, block));
        self.trim(self.most)
    }

    /// Keeps at most so many bytes from now on, and returns the blocks that there is no room for.
    pub fn limit(&mut self, most: u64) -> Vec<B> {
        self.most = most;
        self.trim(most)
    }

    /// Returns blocks, those used longest ago first, until at most so many bytes are kept.
    pub fn trim(&mut self, most: u64) -> Vec<B> {
        let mut surplus = Vec::new();
        while self.statistics.cached > most {
            let oldest = self.unused.iter_mut().filter(|(_, blocks)| !blocks.is_empty());
            let Some((&(_, size), blocks)) = oldest.min_by_key(|(_, blocks)| blocks[0].0) else { break };
            surplus.extend(blocks.pop_front().map(|(_, block)| block));
            self.statistics.cached -= size;
            self.statistics.freed += 1;
        }
        self.unused.retain(|_, blocks| !blocks.is_empty());
        surplus
    }

    /// What was counted.
    pub fn statistics(&self) -> PoolStatistics {
        self.statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn classes_waste_an_eighth_of_what_is_large() {
        assert_eq!([0, 1, 256, 257, FINE].map(class), [256, 256, 256, 512, FINE]);
        assert_eq!([FINE + 1, 2 * FINE, 64 << 20, (64 << 20) + 1].map(class), [9 << 17, 2 * FINE, 64 << 20, 72 << 20]);
    }

    proptest! {
        #[test]
        fn a_class_is_its_own_and_the_waste_is_bounded(bytes in 0_u64..1 << 40, small in 0_u64..1 << 21) {
            for bytes in [bytes, small] {
                let size = class(bytes);
                prop_assert!(size >= bytes && size.is_multiple_of(LEAST) && class(size) == size);
                let bound = if bytes <= LEAST { LEAST } else if bytes <= FINE { bytes - 1 } else { bytes / 8 };
                prop_assert!(size - bytes <= bound, "{bytes} takes {size}");
            }
        }

        /// Against a plain list of what is lent: nothing is lent twice, a block serves its own use and class only, every
        /// count is what the lists say, and what is given up is what was used longest ago.
        #[test]
        fn random_traces(most in 0_u64..1 << 22, trace in vec((0_u8..4, 0_usize..64, 0_u64..1 << 21), 1..300)) {
            let mut pool = Pool::new(most, u64::MAX);
            let mut lent: Vec<(u8, u64, usize)> = Vec::new();
            // The kept blocks of the model, the oldest first.
            let mut kept: Vec<(u8, u64, usize)> = Vec::new();
            let (mut made, mut freed, mut hits) = (0, HashSet::new(), 0);
            for (action, which, bytes) in trace {
                if action < 2 {
                    let usage = action;
                    let at = kept.iter().rposition(|&(u, size, _)| (u, size) == (usage, class(bytes)));
                    let block = if let Some(block) = pool.take(usage, bytes) {
                        hits += 1;
                        prop_assert_eq!(at.map(|at| kept.remove(at).2), Some(block));
                        block
                    } else {
                        prop_assert_eq!(at, None);
                        pool.made(bytes);
                        made += 1;
                        made - 1
                    };
                    prop_assert!(!freed.contains(&block) && lent.iter().all(|&(_, _, other)| other != block));
                    lent.push((usage, bytes, block));
                } else if !lent.is_empty() {
                    let (usage, bytes, block) = lent.swap_remove(which % lent.len());
                    let surplus = pool.give(usage, bytes, block);
                    kept.push((usage, class(bytes), block));
                    let held = |kept: &[(u8, u64, usize)]| kept.iter().map(|(_, size, _)| size).sum::<u64>();
                    for gone in surplus {
                        prop_assert!(held(&kept) > most);
                        prop_assert_eq!(kept.remove(0).2, gone);
                        freed.insert(gone);
                    }
                    prop_assert!(held(&kept) <= most);
                }
                let counts = pool.statistics();
                prop_assert_eq!(counts.allocated, lent.iter().map(|&(_, bytes, _)| class(bytes)).sum::<u64>());
                prop_assert_eq!(counts.requested, lent.iter().map(|&(_, bytes, _)| bytes).sum::<u64>());
                prop_assert_eq!(counts.cached, kept.iter().map(|(_, size, _)| size).sum::<u64>());
                let count = |n: usize| n as u64;
                prop_assert_eq!((counts.hits, counts.misses, counts.freed), (hits, count(made), count(freed.len())));
                prop_assert!((0.0..1.0).contains(&counts.internal_fragmentation()));
            }
            for (usage, bytes, block) in lent.drain(..) {
                freed.extend(pool.give(usage, bytes, block));
            }
            freed.extend(pool.trim(0));
            prop_assert_eq!(freed.len(), made, "every block came back, once");
            let empty = PoolStatistics { peak: 0, hits: 0, misses: 0, freed: 0, ..pool.statistics() };
            prop_assert_eq!(empty, PoolStatistics::default());
        }

        /// Steps that take and return what a training step does, in an order of their own and with lengths that change.
        #[test]
        fn a_training_loop_hits_after_its_first_steps(order in vec(0_usize..1000, 12), lengths in vec(200_u64..=256, 40)) {
            let mut pool = Pool::new(512 << 20, u64::MAX);
            let shapes = |length: u64| {
                let heads = 8 * length * 64 * 4;
                [heads, heads, heads, heads, 8 * length * 4, length * 512 * 4, heads, heads, heads, heads, 4096, 64]
            };
            let mut after_warm_up = PoolStatistics::default();
            for (step, &length) in lengths.iter().enumerate() {
                let mut lent = Vec::new();
                for (bytes, priority) in shapes(length).into_iter().zip(&order) {
                    if pool.take((), bytes).is_none() {
                        pool.made(bytes);
                    }
                    lent.push((priority, bytes));
                }
                // Most of it is large: the waste is that of large classes.
                prop_assert!(pool.statistics().internal_fragmentation() < 0.5);
                lent.sort_unstable();
                for (_, bytes) in lent {
                    prop_assert!(pool.give((), bytes, ()).is_empty());
                }
                if step == 9 {
                    after_warm_up = pool.statistics();
                }
            }
            let (hits, misses) = (pool.statistics().hits - after_warm_up.hits, pool.statistics().misses - after_warm_up.misses);
            prop_assert!(hits >= 9 * misses, "{hits} hits, {misses} misses");
        }
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "these shares are exact")]
    fn fragmentation_is_what_nobody_asked_for_and_what_nobody_uses() {
        let mut pool: Pool<(), ()> = Pool::new(1 << 30, 1 << 20);
        assert_eq!(pool.statistics().internal_fragmentation(), 0.0);
        assert_eq!(pool.statistics().external_fragmentation(), 0.0);
        pool.made(768);
        pool.made(1024);
        pool.give((), 1024, ());
        let counts = pool.statistics();
        assert_eq!((counts.allocated, counts.requested, counts.cached, counts.peak), (1024, 768, 1024, 2048));
        assert_eq!((counts.internal_fragmentation(), counts.external_fragmentation()), (0.25, 0.5));
        assert_eq!(pool.size((1 << 20) - 1), 1 << 20);
        assert_eq!(Pool::<(), ()>::new(0, 1000).size(900), 1000);
        assert_eq!(pool.limit(512).len(), 1);
        assert_eq!(pool.statistics().external_fragmentation(), 0.0);
    }
}
