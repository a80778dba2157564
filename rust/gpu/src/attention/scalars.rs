//! What attention has one number of for a query, a key or an edge, in one array: a kernel may write some parts of it.

use super::tables::NONE;
use crate::buffer::{Buffer, BufferSlice};
use crate::context::Context;
use crate::error::Result;
use crate::recorder::Recorder;
use fractal_kernels::KernelError;
use fractal_kernels::attention::KeyBias;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a scalar.
const BYTES: u64 = 4;

/// What a part holds at first.
pub(super) enum Fill<'a> {
    /// A kernel writes it before it reads it.
    Nothing,
    /// Zeros.
    Zeros,
    /// Values of the host.
    Values(Cow<'a, [f32]>),
    /// An array of the device.
    Array(BufferSlice),
}

/// Parts, one after the other, before there is memory for them.
#[derive(Default)]
pub(super) struct Layout<'a> {
    parts: Vec<(u64, Fill<'a>)>,
    len: u64,
}

impl<'a> Layout<'a> {
    /// Adds a part of so many numbers; returns where it begins.
    pub(super) fn part(&mut self, len: usize, fill: Fill<'a>) -> Result<u32> {
        let start = self.len;
        // Copied, and bound, from multiples of an alignment.
        self.len = (start + len as u64).next_multiple_of(BufferSlice::ALIGNMENT / BYTES);
        if self.len >= u64::from(NONE) {
            return Err(KernelError::value("bias", format!("{} numbers", self.len), "less than 2^32 on a GPU").into());
        }
        self.parts.push((start, fill));
        Ok(start as u32)
    }

    /// Adds a part of values, if there are any.
    pub(super) fn values(&mut self, values: Option<impl Into<Cow<'a, [f32]>>>) -> Result<u32> {
        let Some(values) = values else { return Ok(NONE) };
        let values = values.into();
        self.part(values.len(), Fill::Values(values))
    }

    /// Takes memory, and records what fills it.
    pub(super) fn fill(self, context: &Arc<Context>, commands: &mut Recorder) -> Result<Buffer> {
        let buffer = context.alloc(self.len * BYTES)?;
        let ends: Vec<u64> = self.parts.iter().skip(1).map(|part| part.0).chain([self.len]).collect();
        for ((start, fill), end) in self.parts.into_iter().zip(ends) {
            let bytes = start * BYTES..end * BYTES;
            let from = match fill {
                Fill::Nothing => continue,
                Fill::Zeros => {
                    commands.clear(buffer.part(bytes)?)?;
                    continue;
                }
                Fill::Values(values) => context.upload(&values)?.whole(),
                Fill::Array(view) => view,
            };
            let bytes = bytes.start..bytes.start + from.bytes;
            commands.copy(from, buffer.part(bytes)?)?;
        }
        Ok(buffer)
    }
}

/// The bytes of a part.
pub(super) fn bytes(start: u32, len: usize) -> Range<u64> {
    u64::from(start) * BYTES..(u64::from(start) + len as u64) * BYTES
}

/// The bias of keys with −∞ where padding hides one: `(batch, heads, keys)`, of which the first two may be 1.
pub(super) fn padded_bias<'a>(
    bias: Option<KeyBias<'a, f32>>,
    padding: Option<&[bool]>,
    batch: usize,
    n_keys: usize,
) -> Option<(Cow<'a, [f32]>, [usize; 2])> {
    let Some(padding) = padding else { return bias.map(|b| (Cow::Borrowed(b.values), [b.batch, b.heads])) };
    let heads = bias.map_or(1, |b| b.heads);
    let row = |b: usize, h: usize| bias.map(|bias| &bias.values[(b.min(bias.batch - 1) * heads + h) * n_keys..]);
    let mut values = Vec::with_capacity(batch * heads * n_keys);
    for (b, hidden) in padding.chunks_exact(n_keys).enumerate() {
        for h in 0..heads {
            let row = row(b, h);
            let key = |(key, &hidden): (usize, &bool)| match row {
                _ if hidden => f32::NEG_INFINITY,
                Some(row) => row[key],
                None => 0.0,
            };
            values.extend(hidden.iter().enumerate().map(key));
        }
    }
    Some((values.into(), [batch, heads]))
}
