//! Arrays in the device's memory.

use crate::context::Context;
use crate::device::{DeviceBlock, Stretch, Usage};
use crate::error::{GpuError, Result};
use bytemuck::NoUninit;
use fractal_kernels::KernelError;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;

/// A block of the pool, to which it goes back.
struct Lease {
    context: Arc<Context>,
    requested: u64,
    block: ManuallyDrop<DeviceBlock>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A forked child leaves the parent's memory alone.
        if !self.context.foreign() {
            // SAFETY: taken here and nowhere else.
            let block = unsafe { ManuallyDrop::take(&mut self.block) };
            // What the pool has no room for is freed once the lock is.
            let surplus = self.context.pool().give(block.usage, self.requested, block);
            drop(surplus);
        }
    }
}

/// An array on the device; clones are the same array. Its memory is used again when the last one is gone and the work
/// that was recorded with it is submitted.
#[derive(Clone)]
pub struct Buffer(Arc<Lease>);

impl Buffer {
    pub(crate) fn new(context: Arc<Context>, block: DeviceBlock, bytes: u64) -> Self {
        Self(Arc::new(Lease { context, requested: bytes, block: ManuallyDrop::new(block) }))
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.0.requested
    }

    /// The context that it belongs to.
    pub fn context(&self) -> &Arc<Context> {
        &self.0.context
    }

    pub(crate) fn block(&self) -> &DeviceBlock {
        &self.0.block
    }

    /// Whether it is the same array.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How many clones there are.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Refuses an array of another context.
    pub(crate) fn check(&self, context: &Arc<Context>) -> Result<()> {
        if self.context().foreign() {
            return Err(GpuError::Fork("this GPU array"));
        }
        if !Arc::ptr_eq(self.context(), context) {
            self.context().device()?;
            return Err(GpuError::DeviceLost("this array lies on a device that is not used any more".into()));
        }
        Ok(())
    }

    /// All of it.
    pub fn whole(&self) -> BufferSlice {
        BufferSlice { buffer: self.clone(), offset: 0, bytes: self.bytes() }
    }

    /// A part of it, as a kernel's array: bytes from a multiple of [`BufferSlice::ALIGNMENT`].
    pub fn part(&self, range: Range<u64>) -> Result<BufferSlice> {
        let (start, end) = (range.start, range.end);
        if start > end || end > self.bytes() || !start.is_multiple_of(BufferSlice::ALIGNMENT) {
            let allowed = format!("within {} bytes, from a multiple of {}", self.bytes(), BufferSlice::ALIGNMENT);
            return Err(KernelError::value("range", format!("{start}..{end}"), allowed).into());
        }
        Ok(BufferSlice { buffer: self.clone(), offset: start, bytes: end - start })
    }
}

/// A stretch of an array.
#[derive(Clone)]
pub struct BufferSlice {
    pub(crate) buffer: Buffer,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl BufferSlice {
    /// What every adapter can begin a binding at.
    pub const ALIGNMENT: u64 = 256;

    /// What is bound: whole words, and something even where there is nothing, so kernels go by the sizes that they are
    /// told.
    pub(crate) fn stretch(&self) -> Stretch<'_> {
        let bytes = if self.bytes == 0 { Self::ALIGNMENT } else { self.bytes.next_multiple_of(4) };
        Stretch { block: self.buffer.block(), offset: self.offset, bytes }
    }
}

impl From<&Buffer> for BufferSlice {
    fn from(buffer: &Buffer) -> Self {
        buffer.whole()
    }
}

impl Context {
    /// Memory for a use. Where the device has none, what the pool keeps is freed, and the device asked once more.
    pub(crate) fn lease(self: &Arc<Self>, usage: Usage, bytes: u64) -> Result<Buffer> {
        let device = self.device()?;
        let most = device.limits.buffer_bytes;
        if bytes > most {
            let allowed = format!("at most {most} bytes on {}", device.info.name);
            return Err(KernelError::value("size", format!("{bytes} bytes"), allowed).into());
        }
        let (kept, size) = {
            let mut pool = self.pool();
            (pool.take(usage, bytes), pool.size(bytes))
        };
        if let Some(block) = kept {
            return Ok(Buffer::new(self.clone(), block, bytes));
        }
        let block = match device.block(usage, size) {
            Err(GpuError::OutOfMemory { .. }) => {
                self.trim(0)?;
                // Blocks are freed when the work that uses them is done.
                device.wait_idle()?;
                device.block(usage, size)
            }
            other => other,
        }?;
        self.pool().made(bytes);
        Ok(Buffer::new(self.clone(), block, bytes))
    }

    /// An array of so many bytes, with no values in particular.
    pub fn alloc(self: &Arc<Self>, bytes: u64) -> Result<Buffer> {
        self.lease(Usage::Storage, bytes)
    }

    /// A copy of a slice.
    pub fn upload<T: NoUninit>(self: &Arc<Self>, values: &[T]) -> Result<Buffer> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let buffer = self.alloc(bytes.len() as u64)?;
        self.device()?.write(buffer.block(), bytes)?;
        Ok(buffer)
    }
}
