//! Blocks that the CPU reads in place.

use super::block::DeviceBlock;
use super::handle::{Device, SubmissionIndex};
use crate::error::{GpuError, Result};
use std::sync::{Arc, OnceLock};

/// Bytes of a block that is mapped; the block must outlive it, and is unmapped after it.
pub(crate) struct Bytes(wgpu::BufferView);

impl Bytes {
    pub(crate) fn get(&self) -> &[u8] {
        &self.0
    }
}

/// A mapping on its way.
pub(crate) struct Request(Arc<OnceLock<bool>>);

impl Device {
    /// Asks for the first `bytes` of a block, a multiple of 4, to be readable when everything submitted is done.
    pub(crate) fn request_map(&self, block: &DeviceBlock, bytes: u64) -> Result<Request> {
        let ready: Arc<OnceLock<bool>> = Arc::default();
        let set = ready.clone();
        self.checked("mapping", Some(bytes), |_| {
            block.raw.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
                set.get_or_init(|| result.is_ok());
            });
        })?;
        Ok(Request(ready))
    }

    /// Waits until it is, and gives the bytes.
    pub(crate) fn mapped(
        &self,
        block: &DeviceBlock,
        bytes: u64,
        request: &Request,
        after: &SubmissionIndex,
    ) -> Result<Bytes> {
        self.wait(Some(after), || request.0.get().is_some())?;
        let refused = |message| GpuError::Validation { doing: "mapping", message };
        if request.0.get() != Some(&true) {
            return Err(refused("the driver did not map the buffer".into()));
        }
        let view = self.checked("mapping", Some(bytes), |_| block.raw.get_mapped_range(0..bytes))?;
        Ok(Bytes(view.map_err(|error| refused(error.to_string()))?))
    }

    /// Ends a mapping, or the request for one.
    pub(crate) fn unmap(&self, block: &DeviceBlock) {
        // A device that is gone has unmapped everything.
        let _ = self.checked("unmapping", None, |_| block.raw.unmap());
    }
}
