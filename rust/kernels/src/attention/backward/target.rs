//! Where gradients of keys and values are accumulated.

use crate::attention::buffers::padded;
use crate::attention::element::Storage;
use crate::memory::{self, OrLeave};

/// A buffer to accumulate into: the output itself where its rows are whole vectors of the right type.
pub(super) enum Target<'a, T: Storage> {
    InPlace(&'a mut [T::Acc]),
    Converted(Vec<T::Acc>, &'a mut [T]),
}

impl<'a, T: Storage> Target<'a, T> {
    pub(super) fn new(out: &'a mut [T], width: usize) -> Self {
        let full = padded(width);
        if out.is_empty() {
            return Self::Converted(Vec::new(), out);
        }
        if width == full && T::as_acc(out).is_some() {
            match T::as_acc_mut(out) {
                Some(out) => return Self::InPlace(out),
                None => unreachable!("as_acc and as_acc_mut agree"),
            }
        }
        Self::Converted(memory::zeros("q, k, v", out.len() / width * full).or_leave(), out)
    }

    pub(super) fn values(&mut self) -> &mut [T::Acc] {
        match self {
            Self::InPlace(out) => out,
            Self::Converted(acc, _) => acc,
        }
    }

    /// Rounds what was accumulated into the output, row by row.
    pub(super) fn finish(self, width: usize) {
        if let Self::Converted(acc, out) = self
            && width > 0
        {
            for (out, acc) in out.chunks_exact_mut(width).zip(acc.chunks_exact(padded(width))) {
                T::narrow(&acc[..width], out);
            }
        }
    }
}
