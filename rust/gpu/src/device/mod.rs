//! The graphics API: wgpu is named in this folder and nowhere else.
//!
//! Everything here returns a typed error. wgpu panics at an error that nobody takes, so every call is made between error
//! scopes of its own thread ([`Device::checked`]), and what comes at another time is kept for the next call.

mod adapter;
mod block;
mod commands;
mod mapping;
mod pipeline;

pub use adapter::{AdapterInfo, Sort};
pub(crate) use block::{Block, Usage};
pub(crate) use commands::{Job, Stretch, SubmissionIndex, Work};
pub(crate) use mapping::{Bytes, Request};
pub(crate) use pipeline::{Pipeline, Pipelines};

use crate::error::{GpuError, Result};
use crate::options::Options;
use adapter::{Candidate, best, candidates};
use fractal_kernels::interrupt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The APIs that are tried; OpenGL has neither the limits nor the drivers for compute.
const APIS: wgpu::Backends = wgpu::Backends::from_bits_truncate(
    wgpu::Backends::VULKAN.bits() | wgpu::Backends::METAL.bits() | wgpu::Backends::DX12.bits(),
);

/// How long one wait lasts before the caller is asked whether to stop.
const SLICE: Duration = Duration::from_millis(50);

/// What a device allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one buffer.
    pub buffer_bytes: u64,
    /// Bytes of one array that a kernel sees.
    pub binding_bytes: u64,
    /// Workgroups along each dimension of a dispatch.
    pub groups: u32,
}

/// What a device offers beyond the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Fewest and most invocations that run in lockstep, where there are operations across them.
    pub subgroups: Option<(u32, u32)>,
    /// Half precision in storage and arithmetic.
    pub f16: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// The CPU reads and writes what kernels do, in place.
    pub unified: bool,
}

/// An open device and its queue.
pub(crate) struct Device {
    raw: wgpu::Device,
    queue: wgpu::Queue,
    pub(crate) info: AdapterInfo,
    pub(crate) limits: Limits,
    pub(crate) abilities: Abilities,
    timeout: Duration,
    /// Why the device is gone, once it is.
    lost: Arc<OnceLock<String>>,
    /// The first error that no scope has taken.
    stray: Arc<Mutex<Option<wgpu::Error>>>,
}

fn instance() -> wgpu::Instance {
    let descriptor = wgpu::InstanceDescriptor {
        backends: APIS,
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    wgpu::Instance::new(descriptor)
}

/// What wgpu does, with its panics as errors.
fn caught<R>(doing: &'static str, work: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| panic.downcast_ref().copied()).unwrap_or("the driver layer panicked").to_string();
        if message.contains("is lost") {
            GpuError::DeviceLost(message)
        } else {
            GpuError::Validation { doing, message }
        }
    })
}

/// Every adapter of this machine, best first.
pub(crate) fn adapters(options: &Options) -> Result<Vec<AdapterInfo>> {
    caught("listing the adapters", || {
        candidates(&instance(), options).into_iter().map(|candidate| candidate.info).collect()
    })
}

impl Device {
    /// Opens the best adapter that may be used.
    pub(crate) fn open(options: &Options) -> Result<Self> {
        caught("opening a device", || Self::open_best(best(candidates(&instance(), options))?, options))?
    }

    fn open_best(Candidate { info, adapter }: Candidate, options: &Options) -> Result<Self> {
        let about = adapter.get_info();
        let mut wanted = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | wgpu::Features::TIMESTAMP_QUERY;
        // On a GPU with memory of its own this would move every buffer to the CPU's.
        if matches!(info.sort, Sort::Software | Sort::Integrated) {
            wanted |= wgpu::Features::MAPPABLE_PRIMARY_BUFFERS;
        }
        let features = adapter.features() & wanted;
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("fractal_core"),
            required_features: features,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (raw, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| GpuError::Unavailable(format!("{}: {error}", info.name)))?;
        let lost: Arc<OnceLock<String>> = Arc::default();
        let gone = lost.clone();
        raw.set_device_lost_callback(move |reason, message| {
            gone.get_or_init(|| format!("{reason:?}: {message}"));
        });
        let stray: Arc<Mutex<Option<wgpu::Error>>> = Arc::default();
        let kept = stray.clone();
        raw.on_uncaptured_error(Arc::new(move |error| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }));
        let has = |feature| features.contains(feature);
        Ok(Self {
            raw,
            queue,
            limits: Limits {
                // A buffer has whole words.
                buffer_bytes: limits.max_buffer_size & !3,
                binding_bytes: limits.max_storage_buffer_binding_size & !3,
                groups: limits.max_compute_workgroups_per_dimension,
            },
            abilities: Abilities {
                subgroups: has(wgpu::Features::SUBGROUP).then_some((about.subgroup_min_size, about.subgroup_max_size)),
                f16: has(wgpu::Features::SHADER_F16),
                timestamps: has(wgpu::Features::TIMESTAMP_QUERY),
                unified: has(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS),
            },
            info,
            timeout: options.timeout,
            lost,
            stray,
        })
    }

    /// Fails if the device is gone.
    pub(crate) fn alive(&self) -> Result<()> {
        self.lost.get().map_or(Ok(()), |reason| Err(GpuError::DeviceLost(reason.clone())))
    }

    fn error(&self, doing: &'static str, bytes: Option<u64>, error: wgpu::Error) -> GpuError {
        if let Err(lost) = self.alive() {
            return lost;
        }
        match error {
            wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { doing, bytes },
            other => {
                let message = other.to_string();
                // wgpu has no error of its own for it.
                if message.contains("device is lost") {
                    return GpuError::DeviceLost(message);
                }
                GpuError::Validation { doing, message }
            }
        }
    }

    /// Does `work` and returns what it returns, or the error that it, or something before it, caused.
    fn checked<R>(&self, doing: &'static str, bytes: Option<u64>, work: impl FnOnce(&wgpu::Device) -> R) -> Result<R> {
        self.alive()?;
        let filters = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
        let scopes = filters.map(|filter| self.raw.push_error_scope(filter));
        let result = caught(doing, || work(&self.raw));
        let errors: Vec<_> = scopes.into_iter().rev().filter_map(|scope| pollster::block_on(scope.pop())).collect();
        let stray = self.stray.lock().unwrap_or_else(PoisonError::into_inner).take();
        let result = result?;
        match errors.into_iter().chain(stray).next() {
            Some(error) => Err(self.error(doing, bytes, error)),
            None => Ok(result),
        }
    }

    /// Waits until a submission is done, asking between slices whether the call is to stop.
    pub(crate) fn wait(&self, submission: &SubmissionIndex, done: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            interrupt::check();
            let poll = || {
                let submission_index = Some(submission.0.clone());
                self.raw.poll(wgpu::PollType::Wait { submission_index, timeout: Some(SLICE) })
            };
            match self.checked("waiting for the GPU", None, |_| poll())? {
                Ok(_) if done() => return self.alive(),
                // Its callback runs on the thread that polled at the same time.
                Ok(_) => std::thread::yield_now(),
                Err(wgpu::PollError::Timeout) => {}
                Err(error) => {
                    return Err(GpuError::Validation { doing: "waiting for the GPU", message: error.to_string() });
                }
            }
            if start.elapsed() > self.timeout {
                return Err(GpuError::Timeout { limit: self.timeout });
            }
        }
    }
}
