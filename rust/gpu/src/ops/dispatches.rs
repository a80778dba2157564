//! How a call is cut into dispatches: by what one binding holds, and by how long a dispatch may run.

use crate::buffer::{Buffer, BufferSlice};
use crate::context::Context;
use crate::error::Result;
use fractal_kernels::{KernelError, memory};
use std::ops::Range;

/// What one dispatch works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DispatchPiece {
    /// Rows of the arrays that are bound.
    pub(crate) bound: Range<u64>,
    /// Its first row, counted from the first that is bound.
    pub(crate) first: u32,
    /// Behind its last row, counted likewise.
    pub(crate) end: u32,
}

impl DispatchPiece {
    /// The rows that are bound, of an array with so many bytes a row.
    pub(crate) fn of(&self, array: &Buffer, row_bytes: u64) -> Result<BufferSlice> {
        array.part(self.bound.start * row_bytes..self.bound.end * row_bytes)
    }

    /// How many rows it works on.
    pub(crate) fn rows(&self) -> u64 {
        u64::from(self.end - self.first)
    }
}

/// Rows of arrays that are worked on together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowWork<'a> {
    argument: &'static str,
    n: u64,
    bytes: &'a [u64],
    steps: u64,
    unit: u64,
    aligned: u64,
}

impl<'a> RowWork<'a> {
    /// `n` rows of so many `bytes` of each array; `argument` names them. A row takes so many `steps`, each about a
    /// multiply-add on a value from memory.
    pub(crate) fn new(argument: &'static str, n: u64, bytes: &'a [u64], steps: u64) -> Self {
        Self { argument, n, bytes, steps, unit: 1, aligned: 1 }
    }

    /// Every dispatch begins at a multiple of so many rows of its binding.
    pub(crate) fn in_units(self, unit: u64) -> Self {
        Self { unit, ..self }
    }

    /// Every binding begins at a multiple of so many rows, a power of two.
    pub(crate) fn bound_at(self, aligned: u64) -> Self {
        Self { aligned, ..self }
    }

    /// The dispatches that cover all rows, in order.
    pub(crate) fn pieces(self, context: &Context) -> Result<Vec<DispatchPiece>> {
        self.cut(context.limits().binding_bytes, context.adapter().sort.steps_per_dispatch())
    }

    fn cut(self, binding_bytes: u64, budget: u64) -> Result<Vec<DispatchPiece>> {
        // Shaders count values of four bytes in 32 bits.
        let binding_bytes = binding_bytes.min(1 << 32);
        let mut window = u64::from(u32::MAX);
        let mut aligned = self.aligned;
        for &bytes in self.bytes.iter().filter(|&&bytes| bytes > 0) {
            window = window.min(binding_bytes / bytes);
            // A binding begins at a multiple of the alignment.
            aligned = aligned
                .max(BufferSlice::ALIGNMENT >> bytes.trailing_zeros().min(BufferSlice::ALIGNMENT.trailing_zeros()));
        }
        if self.n > window {
            window = window / aligned * aligned;
        }
        if window == 0 && self.n > 0 {
            let given = format!("rows of {} bytes", self.bytes.iter().max().unwrap_or(&0));
            let allowed = format!("rows of which {aligned} fit into the {binding_bytes} bytes of a binding");
            return Err(KernelError::shape(self.argument, given, allowed).into());
        }
        let step = (budget / self.steps.max(1)).next_multiple_of(self.unit).max(self.unit).min(u64::from(u32::MAX));
        let mut pieces = Vec::new();
        let mut start = 0;
        while start < self.n {
            let end = self.n.min(start + window);
            let mut first = start;
            while first < end {
                let last = end.min(first + step);
                let piece =
                    DispatchPiece { bound: start..end, first: (first - start) as u32, end: (last - start) as u32 };
                pieces.push(piece);
                first = last;
            }
            start = end;
        }
        Ok(pieces)
    }
}

/// Bytes of an array with so many words along each axis.
pub(crate) fn words(argument: &'static str, shape: &[usize]) -> Result<u64> {
    Ok(memory::product::<u32>(argument, &[shape, &[size_of::<u32>()]].concat())? as u64)
}

/// Refuses an array that has not so many words along each axis.
pub(crate) fn check_words(argument: &'static str, array: &Buffer, shape: &[usize]) -> Result<()> {
    let allowed = words(argument, shape)?;
    if array.bytes() != allowed {
        let (given, allowed) = (format!("{} bytes", array.bytes()), format!("{allowed} bytes, 4 a value of {shape:?}"));
        return Err(KernelError::shape(argument, given, allowed).into());
    }
    Ok(())
}

/// How many entries of so many bytes an array has.
pub(crate) fn entries(argument: &'static str, array: &Buffer, bytes: u64) -> Result<u64> {
    if !array.bytes().is_multiple_of(bytes) {
        let (given, allowed) = (format!("{} bytes", array.bytes()), format!("entries of {bytes} bytes"));
        return Err(KernelError::shape(argument, given, allowed).into());
    }
    Ok(array.bytes() / bytes)
}

/// A size as shaders count.
pub(crate) fn word(argument: &'static str, n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| KernelError::value(argument, n, "less than 2**32").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_cover_every_row_once_and_keep_to_the_limits(
            n in 0_u64..5000,
            bytes in proptest::collection::vec(0_u64..600, 1..4),
            steps in 0_u64..2000,
            unit in 0_u32..7,
            aligned in 0_u32..7,
            binding in 1_u64..1 << 18,
            budget in 1_u64..1 << 16,
        ) {
            let rows = RowWork { argument: "rows", n, bytes: &bytes, steps, unit: 1 << unit, aligned: 1 << aligned };
            let Ok(pieces) = rows.cut(binding, budget) else {
                let most = bytes.iter().max().unwrap();
                prop_assert!(most * BufferSlice::ALIGNMENT.max(rows.aligned) > binding);
                return Ok(());
            };
            let mut next = 0;
            for DispatchPiece { bound, first, end } in pieces {
                prop_assert_eq!(bound.start + u64::from(first), next);
                next = bound.start + u64::from(end);
                prop_assert!(first < end && next <= bound.end);
                prop_assert_eq!((bound.start % rows.aligned, u64::from(first) % rows.unit), (0, 0));
                prop_assert!(u64::from(end - first) * steps <= budget.max(steps * rows.unit) + steps * rows.unit);
                for &bytes in &bytes {
                    prop_assert_eq!(bound.start * bytes % BufferSlice::ALIGNMENT, 0);
                    prop_assert!((bound.end - bound.start) * bytes <= binding);
                }
            }
            prop_assert_eq!(next, n);
        }
    }
}
