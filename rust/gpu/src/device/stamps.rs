//! How long the device works, by its own clock.

use super::block::{DeviceBlock, Usage};
use super::handle::{Device, SubmissionIndex};
use super::timing::Timed;
use crate::error::Result;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes of a time.
const STAMP: u64 = 8;

/// Where the passes of a submission write when they begin and end.
pub(super) struct Stamps {
    pub(super) set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    block: DeviceBlock,
    passes: u32,
}

impl Stamps {
    /// What a pass is told.
    pub(super) fn of_pass(&self, pass: u32) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(2 * pass),
            end_of_pass_write_index: Some(2 * pass + 1),
        }
    }

    fn bytes(&self) -> u64 {
        2 * u64::from(self.passes) * STAMP
    }

    /// Records how the times get to where the CPU reads them.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..2 * self.passes, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.block.raw, 0, self.bytes());
    }
}

impl Device {
    /// Times passes from now on, or no more. False where the device has no clock.
    pub(crate) fn time(&self, on: bool) -> bool {
        let on = on && self.abilities.timestamps;
        self.timing.on.store(on, Ordering::Relaxed);
        on
    }

    /// Where so many passes write their times, if they are to.
    pub(super) fn stamps(&self, passes: u32) -> Result<Option<Stamps>> {
        if passes == 0 || !self.timing.on.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let size = 2 * u64::from(passes) * STAMP;
        let block = self.block(Usage::Staging, size)?;
        let (set, resolved) = self.checked("timing", Some(size), |device| {
            let set = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2 * passes,
            });
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            (set, device.create_buffer(&descriptor))
        })?;
        Ok(Some(Stamps { set, resolved, block, passes }))
    }

    /// Keeps the times of a submission.
    pub(super) fn keep(&self, stamps: Stamps, index: SubmissionIndex) {
        let timed = Timed { bytes: stamps.bytes(), raw: stamps.block.raw, index: index.0 };
        self.timing.done.lock().unwrap_or_else(PoisonError::into_inner).push(timed);
    }

    /// How long the passes of all timed submissions took since this was asked before.
    pub(crate) fn timed(&self) -> Result<Duration> {
        let done = std::mem::take(&mut *self.timing.done.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ticks = 0;
        for Timed { raw, bytes, index } in done {
            let (block, index) = (DeviceBlock { raw, usage: Usage::Staging }, SubmissionIndex(index));
            let request = self.request_map(&block, bytes)?;
            let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(self.mapped(&block, bytes, &request, &index)?.get());
            ticks += stamps.chunks_exact(2).map(|pass| pass[1].saturating_sub(pass[0])).sum::<u64>();
            self.unmap(&block);
        }
        Ok(Duration::from_secs_f64(ticks as f64 * f64::from(self.queue.get_timestamp_period()) * 1e-9))
    }
}
