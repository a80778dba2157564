//! Work whose inputs and results lie in the CPU's memory.

use crate::error::{GpuError, Result};
use crate::mapped::Mapped;
use crate::pieces::in_pieces;
use bytemuck::{AnyBitPattern, Zeroable};
use fractal_kernels::memory;
use std::ops::{Deref, Range};

/// Values that the CPU reads.
pub enum Hosted<T> {
    /// Where the device left them.
    Mapped(Mapped<T>),
    /// In the CPU's own memory.
    Copied(Vec<T>),
}

impl<T: AnyBitPattern> Deref for Hosted<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Mapped(values) => values,
            Self::Copied(values) => values,
        }
    }
}

/// The results of `rows` rows of `width` values each, of which a device holds `largest` at once: in one piece where that
/// is enough and there is memory for it, and otherwise in pieces of rows that are halved until they fit.
pub fn by_rows<T: AnyBitPattern + Zeroable>(
    rows: usize,
    width: usize,
    largest: usize,
    mut work: impl FnMut(Range<usize>) -> Result<Mapped<T>>,
) -> Result<Hosted<T>> {
    let mut largest = largest.max(1);
    if rows <= largest {
        match work(0..rows) {
            Err(GpuError::OutOfMemory { .. }) if rows > 1 => largest = rows.div_ceil(2),
            other => return other.map(Hosted::Mapped),
        }
    }
    let mut all = memory::zeros("size", memory::product::<T>("size", &[rows, width])?)?;
    in_pieces(rows as u64, largest as u64, 1, |range| {
        let (start, end) = (range.start as usize, range.end as usize);
        all[start * width..end * width].copy_from_slice(&work(start..end)?);
        Ok(())
    })?;
    Ok(Hosted::Copied(all))
}
