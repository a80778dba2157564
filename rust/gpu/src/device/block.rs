//! Memory of the device.

use super::handle::Device;
use crate::error::{GpuError, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Usage {
    /// Arrays of kernels; where memory is unified, mapped in place, too.
    Storage,
    /// Parameters of kernels.
    Uniform,
    /// Copies of arrays that the CPU reads.
    Staging,
}

/// A buffer of the device.
pub(crate) struct DeviceBlock {
    pub(super) raw: wgpu::Buffer,
    pub(crate) usage: Usage,
}

/// Bytes that may wait in the API's own memory for the next submission.
const UNSUBMITTED: u64 = 32 << 20;

impl Device {
    /// A new block.
    pub(crate) fn block(&self, usage: Usage, bytes: u64) -> Result<DeviceBlock> {
        use wgpu::BufferUsages as Flags;
        const DOING: &str = "allocating";
        if self.faults.out_of_memory(bytes) {
            return Err(GpuError::OutOfMemory { doing: DOING, bytes: Some(bytes) });
        }
        let flags = match usage {
            Usage::Storage if self.abilities.unified => {
                Flags::STORAGE | Flags::COPY_SRC | Flags::COPY_DST | Flags::MAP_READ | Flags::MAP_WRITE
            }
            Usage::Storage => Flags::STORAGE | Flags::COPY_SRC | Flags::COPY_DST,
            Usage::Uniform => Flags::UNIFORM | Flags::COPY_DST,
            Usage::Staging => Flags::MAP_READ | Flags::COPY_DST,
        };
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage: flags, mapped_at_creation: false };
        let raw = self.checked(DOING, Some(bytes), |device| device.create_buffer(&descriptor))?;
        Ok(DeviceBlock { raw, usage })
    }

    /// Writes from a block's start. What is submitted later sees it.
    pub(crate) fn write(&self, block: &DeviceBlock, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.counters.uploaded.add(bytes.len() as u64);
        if self.abilities.unified && self.write_in_place(block, bytes)? {
            return Ok(());
        }
        let whole = bytes.len() & !3;
        for (piece, part) in bytes[..whole].chunks(UNSUBMITTED as usize).enumerate() {
            self.enqueue_write(block, piece as u64 * UNSUBMITTED, part)?;
        }
        if whole < bytes.len() {
            let mut word = [0; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.enqueue_write(block, whole as u64, &word)?;
        }
        Ok(())
    }

    fn enqueue_write(&self, block: &DeviceBlock, offset: u64, words: &[u8]) -> Result<()> {
        let waiting = self.unsubmitted.fetch_add(words.len() as u64, Ordering::Relaxed) + words.len() as u64;
        self.checked("uploading", Some(words.len() as u64), |_| {
            self.queue.write_buffer(&block.raw, offset, words);
            if waiting >= UNSUBMITTED {
                self.queue.submit([]);
                self.unsubmitted.store(0, Ordering::Relaxed);
            }
        })
    }

    /// Writes into the block itself, unless the device is still busy with what had it before.
    fn write_in_place(&self, block: &DeviceBlock, bytes: &[u8]) -> Result<bool> {
        let size = bytes.len() as u64;
        let range = 0..size.next_multiple_of(4);
        let ready = Arc::new(AtomicBool::new(false));
        let set = ready.clone();
        self.checked("uploading", Some(size), |device| {
            block.raw.map_async(wgpu::MapMode::Write, range.clone(), move |result| {
                set.store(result.is_ok(), Ordering::Release);
            });
            // Nothing to wait for is no error.
            let _ = device.poll(wgpu::PollType::Poll);
            let mut target = None;
            if ready.load(Ordering::Acquire) {
                target = block.raw.get_mapped_range_mut(range).ok();
            }
            let written = target.map(|mut target| target.slice(..bytes.len()).copy_from_slice(bytes)).is_some();
            // Also ends a request that has not been met.
            block.raw.unmap();
            written
        })
    }
}
