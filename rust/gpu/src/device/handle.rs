//! An open device: its errors, its limits, and waiting for it.

use super::adapter::AdapterInfo;
use super::timing::Timing;
use crate::counters::Counters;
use crate::error::{GpuError, Result};
use crate::faults::Faults;
use fractal_kernels::interrupt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

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
    pub(super) raw: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(crate) info: AdapterInfo,
    pub(crate) limits: Limits,
    pub(crate) abilities: Abilities,
    pub(crate) counters: Counters,
    pub(crate) faults: Faults,
    pub(super) timing: Timing,
    /// Milliseconds that a wait may take.
    pub(super) timeout: AtomicU64,
    /// Bytes that wait in the API's own memory for the next submission.
    pub(super) unsubmitted: AtomicU64,
    /// Why the device is gone, once it is.
    pub(super) lost: Arc<OnceLock<String>>,
    /// The first error that no scope has taken.
    pub(super) stray: Arc<Mutex<Option<wgpu::Error>>>,
}

/// A submission, to be waited for.
#[derive(Clone)]
pub(crate) struct SubmissionIndex(pub(super) wgpu::SubmissionIndex);

/// What wgpu does, with its panics as errors.
pub(super) fn caught<R>(doing: &'static str, work: impl FnOnce() -> R) -> Result<R> {
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

impl Device {
    /// How long a wait may take from now on.
    pub(crate) fn set_timeout(&self, limit: Duration) {
        self.timeout.store(limit.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Gives the device up.
    pub(crate) fn destroy(&self) {
        self.lost.get_or_init(|| "it was given up".into());
        self.raw.destroy();
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
    pub(super) fn checked<R>(
        &self,
        doing: &'static str,
        bytes: Option<u64>,
        work: impl FnOnce(&wgpu::Device) -> R,
    ) -> Result<R> {
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

    /// Waits until everything that was submitted is done.
    pub(crate) fn wait_idle(&self) -> Result<()> {
        self.wait(None, || true)
    }

    /// Waits until a submission, or everything, and what `done` asks for is done. Between slices the caller is asked whether
    /// the call is to stop; the device goes on then.
    pub(crate) fn wait(&self, submission: Option<&SubmissionIndex>, done: impl Fn() -> bool) -> Result<()> {
        const DOING: &str = "waiting for the GPU";
        let limit = Duration::from_millis(self.timeout.load(Ordering::Relaxed));
        let start = Instant::now();
        loop {
            interrupt::check();
            let left = limit.saturating_sub(start.elapsed());
            let submission_index = submission.map(|submission| submission.0.clone());
            let wait = wgpu::PollType::Wait { submission_index, timeout: Some(SLICE.min(left)) };
            match self.checked(DOING, None, |device| device.poll(wait))? {
                Ok(_) if done() => return self.alive(),
                // The callback runs on another thread, which polled at the same time.
                Ok(_) => std::thread::yield_now(),
                Err(wgpu::PollError::Timeout) => {}
                Err(error) => return Err(GpuError::Validation { doing: DOING, message: error.to_string() }),
            }
            if left.is_zero() {
                return Err(GpuError::Timeout { limit });
            }
        }
    }
}
