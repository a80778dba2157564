//! Device memory, used again.

use crate::device::{Block, Usage};
use std::collections::HashMap;

/// The size of the block that serves a request: a power of two up to 1 MiB, then a power of two and eighths of it.
pub(crate) fn class(bytes: u64) -> u64 {
    const LEAST: u64 = 256;
    const FINE: u64 = 1 << 20;
    if bytes <= FINE {
        return bytes.max(LEAST).next_power_of_two();
    }
    let step = (bytes.next_power_of_two() >> 1).max(FINE) / 8;
    bytes.next_multiple_of(step)
}

/// Blocks that nobody uses.
pub(crate) struct Pool {
    most: u64,
    bytes: u64,
    unused: HashMap<(Usage, u64), Vec<Block>>,
}

impl Pool {
    pub(crate) fn new(most: u64) -> Self {
        Self { most, bytes: 0, unused: HashMap::new() }
    }

    pub(crate) fn take(&mut self, usage: Usage, size: u64) -> Option<Block> {
        let block = self.unused.get_mut(&(usage, size))?.pop()?;
        self.bytes -= size;
        Some(block)
    }

    /// Keeps a block, or returns it if there is no room.
    pub(crate) fn give(&mut self, block: Block) -> Option<Block> {
        if self.bytes + block.bytes > self.most {
            return Some(block);
        }
        self.bytes += block.bytes;
        self.unused.entry((block.usage, block.bytes)).or_default().push(block);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::class;

    #[test]
    fn classes_waste_an_eighth_of_what_is_large() {
        assert_eq!([0, 1, 256, 257, 1 << 20].map(class), [256, 256, 256, 512, 1 << 20]);
        assert_eq!(class((1 << 20) + 1), (1 << 20) + (1 << 17));
        assert_eq!(class(64 << 20), 64 << 20);
        assert_eq!(class((64 << 20) + 1), 72 << 20);
        for bytes in (1..2000).map(|i| i * 104_729) {
            let size = class(bytes);
            assert!(size >= bytes && size.is_multiple_of(256) && class(size) == size);
            assert!(bytes <= 1 << 20 || size - bytes <= bytes / 8, "{bytes}");
        }
    }
}
