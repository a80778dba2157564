//! Work for the queue: dispatches and copies, encoded and submitted at once.

use super::block::DeviceBlock;
use super::handle::{Device, SubmissionIndex};
use super::pipeline::Pipeline;
use crate::error::Result;
use std::sync::atomic::Ordering;

/// A stretch of a block.
pub(crate) struct Stretch<'a> {
    pub(crate) block: &'a DeviceBlock,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// One piece of work.
pub(crate) enum Work<'a> {
    /// A kernel over workgroups; its parameters first, then its arrays.
    Dispatch { pipeline: &'a Pipeline, bindings: Vec<Stretch<'a>>, groups: [u32; 3] },
    /// A copy of so many bytes as the target has.
    Copy { from: Stretch<'a>, to: Stretch<'a> },
    /// Zeros.
    Clear(Stretch<'a>),
}

/// Work in order, and the parameters that it reads.
pub(crate) struct Job<'a> {
    pub(crate) params: Option<(&'a DeviceBlock, &'a [u8])>,
    pub(crate) work: &'a [Work<'a>],
}

impl Device {
    /// Submits a job: what comes first is done, and seen, first.
    pub(crate) fn submit(&self, job: &Job<'_>) -> Result<SubmissionIndex> {
        let stamps = self.stamps(passes(job.work))?;
        let index = self.checked("submitting", None, |device| {
            if let Some((block, bytes)) = job.params {
                self.queue.write_buffer(&block.raw, 0, bytes);
            }
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let (mut rest, mut pass) = (job.work, 0);
            while let Some(first) = rest.first() {
                match first {
                    Work::Copy { from, to } => {
                        let (source, target) = (&from.block.raw, &to.block.raw);
                        encoder.copy_buffer_to_buffer(source, from.offset, target, to.offset, to.bytes);
                        rest = &rest[1..];
                    }
                    Work::Clear(stretch) => {
                        encoder.clear_buffer(&stretch.block.raw, stretch.offset, Some(stretch.bytes));
                        rest = &rest[1..];
                    }
                    Work::Dispatch { .. } => {
                        let times = stamps.as_ref().map(|stamps| stamps.of_pass(pass));
                        rest = dispatches(device, &mut encoder, rest, times);
                        pass += 1;
                    }
                }
            }
            if let Some(stamps) = &stamps {
                stamps.resolve(&mut encoder);
            }
            SubmissionIndex(self.queue.submit([encoder.finish()]))
        });
        if let (Some(stamps), Ok(index)) = (stamps, &index) {
            self.keep(stamps, index.clone());
        }
        self.unsubmitted.store(0, Ordering::Relaxed);
        self.counters.submissions.add(1);
        self.counters
            .dispatches
            .add(job.work.iter().filter(|work| matches!(work, Work::Dispatch { .. })).count() as u64);
        index
    }
}

/// How many passes work takes: the dispatches between two copies share one.
fn passes(work: &[Work<'_>]) -> u32 {
    let dispatches = |work: &Work<'_>| matches!(work, Work::Dispatch { .. });
    work.chunk_by(|a, b| dispatches(a) == dispatches(b)).filter(|run| dispatches(&run[0])).count() as u32
}

/// One pass of all dispatches up to the next copy; returns what follows.
fn dispatches<'a, 'b>(
    device: &wgpu::Device,
    encoder: &mut wgpu::CommandEncoder,
    work: &'a [Work<'b>],
    times: Option<wgpu::ComputePassTimestampWrites<'_>>,
) -> &'a [Work<'b>] {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: times });
    for (done, item) in work.iter().enumerate() {
        let Work::Dispatch { pipeline, bindings, groups: [x, y, z] } = item else { return &work[done..] };
        let entries: Vec<_> = (0..)
            .zip(bindings)
            .map(|(binding, stretch)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &stretch.block.raw,
                    offset: stretch.offset,
                    size: std::num::NonZero::new(stretch.bytes),
                }),
            })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        });
        pass.set_pipeline(&pipeline.raw);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(*x, *y, *z);
    }
    &[]
}
