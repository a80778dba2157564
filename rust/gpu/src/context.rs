//! A device with everything that is kept for it.

use crate::counters::{Counters, Counts};
use crate::device::{Abilities, AdapterInfo, Device, DeviceBlock, Limits, Pipelines, Usage, adapters};
use crate::error::{GpuError, Result};
use crate::faults::{Fault, Faults};
use crate::options::{Choice, Options};
use crate::pool::{Pool, PoolStatistics};
use crate::verdicts::Verdicts;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A device with everything that is kept for it.
pub struct Context {
    pid: u32,
    generation: u64,
    choice: Choice,
    // Neither dropped nor used in a forked child: the driver's threads are the parent's.
    inner: ManuallyDrop<Inner>,
}

struct Inner {
    verdicts: Verdicts,
    pipelines: Pipelines,
    pool: Mutex<Pool<Usage, DeviceBlock>>,
    device: Device,
}

static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// Bytes that are kept where nobody says how many.
const POOL: u64 = 512 << 20;

impl Context {
    /// A context of its own. [`crate::process`] has the one that calls share.
    pub fn open(options: &Options) -> Result<Arc<Self>> {
        Ok(Self::with(Device::open(options)?, options))
    }

    /// A context of its own whose kernels see at most so many bytes of an array, for tests: larger arrays take several
    /// dispatches.
    pub fn open_narrow(options: &Options, binding_bytes: u64) -> Result<Arc<Self>> {
        let mut device = Device::open(options)?;
        device.limits.binding_bytes = device.limits.binding_bytes.min(binding_bytes);
        Ok(Self::with(device, options))
    }

    /// A context of its own that does not know what runs in lockstep, for tests: the other form of every kernel.
    pub fn open_plain(options: &Options) -> Result<Arc<Self>> {
        let mut device = Device::open(options)?;
        device.abilities.subgroups = None;
        Ok(Self::with(device, options))
    }

    fn with(device: Device, options: &Options) -> Arc<Self> {
        let pool = Mutex::new(Pool::new(0, device.limits.buffer_bytes));
        let inner = Inner { device, pool, pipelines: Pipelines::default(), verdicts: Verdicts::default() };
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        let (pid, choice, inner) = (std::process::id(), options.choice.clone(), ManuallyDrop::new(inner));
        let context = Arc::new(Self { pid, generation, choice, inner });
        context.apply(options);
        context
    }

    /// Every adapter of this machine, best first, and why it is not used.
    pub fn adapters(choice: &Choice) -> Result<Vec<AdapterInfo>> {
        adapters(choice)
    }

    /// The adapter that is used.
    pub fn adapter(&self) -> &AdapterInfo {
        &self.inner.device.info
    }

    /// What it was chosen by.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// What the device allows.
    pub fn limits(&self) -> Limits {
        self.inner.device.limits
    }

    /// What it offers beyond the defaults.
    pub fn abilities(&self) -> Abilities {
        self.inner.device.abilities
    }

    /// How many contexts this process had before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes over what can change while a device is open.
    pub fn apply(&self, options: &Options) {
        self.inner.device.set_timeout(options.timeout);
        let most = options.pool_bytes.unwrap_or_else(|| POOL.min(self.limits().buffer_bytes / 4));
        drop(self.pool().limit(most));
    }

    /// Whether this is a forked child of the process that opened the device.
    pub(crate) fn foreign(&self) -> bool {
        self.pid != std::process::id()
    }

    pub(crate) fn device(&self) -> Result<&Device> {
        if self.foreign() {
            return Err(GpuError::Fork("the GPU context"));
        }
        self.inner.device.alive()?;
        Ok(&self.inner.device)
    }

    /// Fails if the device is gone, or is another process's.
    pub fn alive(&self) -> Result<()> {
        self.device().map(drop)
    }

    pub(crate) fn pipelines(&self) -> &Pipelines {
        &self.inner.pipelines
    }

    pub(crate) fn verdicts(&self) -> &Verdicts {
        &self.inner.verdicts
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.inner.device.faults
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.device.counters
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool<Usage, DeviceBlock>> {
        self.inner.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the context has done so far.
    pub fn counts(&self) -> Counts {
        self.counters().read()
    }

    /// What its memory pool has counted.
    pub fn memory(&self) -> PoolStatistics {
        self.pool().statistics()
    }

    /// Frees memory that is kept for later, what was used longest ago first, until at most so many bytes are left.
    pub fn trim(&self, most: u64) -> Result<()> {
        self.device()?;
        let surplus = self.pool().trim(most);
        drop(surplus);
        Ok(())
    }

    /// Waits until everything that was submitted is done.
    pub fn wait_idle(&self) -> Result<()> {
        self.device()?.wait_idle()
    }

    /// Gives the device up. Its memory is freed, and whatever still lies there says that the device is lost.
    pub fn destroy(&self) -> Result<()> {
        self.device()?.destroy();
        Ok(())
    }

    /// Times what is submitted from now on by the device's own clock, or no more; false where it has none.
    pub fn time(&self, on: bool) -> Result<bool> {
        Ok(self.device()?.time(on))
    }

    /// How long the device worked on what was timed since this was asked before.
    pub fn timed(&self) -> Result<Duration> {
        self.device()?.timed()
    }

    /// Makes something go wrong, for tests.
    pub fn inject(&self, fault: Fault) {
        self.faults().inject(fault);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if !self.foreign() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.inner) };
        }
    }
}
