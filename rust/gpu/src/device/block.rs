//! Memory of the device.

use super::Device;
use crate::error::Result;

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
pub(crate) struct Block {
    pub(super) raw: wgpu::Buffer,
    pub(crate) usage: Usage,
    pub(crate) bytes: u64,
}

/// Bytes that are written at once: what wgpu keeps of them until they are submitted is no more than this.
const PIECE: usize = 32 << 20;

impl Device {
    /// A new block.
    pub(crate) fn block(&self, usage: Usage, bytes: u64) -> Result<Block> {
        use wgpu::BufferUsages as Flags;
        let flags = match usage {
            Usage::Storage if self.abilities.unified => {
                Flags::STORAGE | Flags::COPY_SRC | Flags::COPY_DST | Flags::MAP_READ | Flags::MAP_WRITE
            }
            Usage::Storage => Flags::STORAGE | Flags::COPY_SRC | Flags::COPY_DST,
            Usage::Uniform => Flags::UNIFORM | Flags::COPY_DST,
            Usage::Staging => Flags::MAP_READ | Flags::COPY_DST,
        };
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage: flags, mapped_at_creation: false };
        let raw = self.checked("allocating", Some(bytes), |device| device.create_buffer(&descriptor))?;
        Ok(Block { raw, usage, bytes })
    }

    /// Writes at an offset of whole words. What is submitted later sees it.
    pub(crate) fn write(&self, block: &Block, offset: u64, bytes: &[u8]) -> Result<()> {
        let whole = bytes.len() & !3;
        for (piece, part) in bytes[..whole].chunks(PIECE).enumerate() {
            let at = offset + (piece * PIECE) as u64;
            self.checked("uploading", Some(part.len() as u64), |_| {
                self.queue.write_buffer(&block.raw, at, part);
                if part.len() == PIECE {
                    self.queue.submit([]);
                }
            })?;
        }
        if whole < bytes.len() {
            let mut word = [0; 4];
            word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.checked("uploading", Some(4), |_| self.queue.write_buffer(&block.raw, offset + whole as u64, &word))?;
        }
        Ok(())
    }
}
