//! Work in pieces along its first axis.

use crate::error::{GpuError, Result};
use std::ops::Range;

/// Calls `work` on consecutive ranges of `0..total`, each of at most `largest`, in order. Where there is no memory for a
/// piece, that piece and what follows is cut in half, down to `least`.
pub fn in_pieces(total: u64, largest: u64, least: u64, mut work: impl FnMut(Range<u64>) -> Result<()>) -> Result<()> {
    let (mut start, mut piece) = (0, largest.max(1));
    while start < total {
        let end = total.min(start + piece);
        match work(start..end) {
            Ok(()) => start = end,
            Err(GpuError::OutOfMemory { .. }) if (end - start) / 2 >= least.max(1) => piece = (end - start).div_ceil(2),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short_of(bytes: u64) -> GpuError {
        GpuError::OutOfMemory { doing: "allocating", bytes: Some(bytes) }
    }

    #[test]
    fn pieces_cover_everything_once() {
        for (total, largest) in [(0, 4), (1, 4), (4, 4), (5, 4), (12, 5), (7, 0)] {
            let mut seen = Vec::new();
            in_pieces(total, largest, 1, |range| {
                assert!(range.end - range.start <= largest.max(1));
                seen.extend(range);
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pieces_are_halved_until_they_fit() {
        let mut tried = Vec::new();
        in_pieces(20, 16, 1, |range| {
            tried.push(range.clone());
            if range.end - range.start > 5 { Err(short_of(1)) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(tried, [0..16, 0..8, 0..4, 4..8, 8..12, 12..16, 16..20]);
    }

    #[test]
    fn what_never_fits_is_an_error() {
        let mut tried = 0;
        let error = in_pieces(64, 64, 16, |range| {
            tried += 1;
            Err(short_of(range.end - range.start))
        });
        assert_eq!((error, tried), (Err(short_of(16)), 3));
        let other = in_pieces(64, 64, 16, |_| Err(GpuError::DeviceLost("gone".into())));
        assert_eq!(other, Err(GpuError::DeviceLost("gone".into())));
    }
}
