//! The device of this process, opened when first asked for.

use crate::buffer::Buffer;
use crate::device::{Abilities, AdapterInfo, Device, Limits, Pipelines, Usage, adapters};
use crate::error::{GpuError, Result};
use crate::mapped::Mapped;
use crate::options::Options;
use crate::pool::{Pool, class};
use crate::recorder::Recorder;
use bytemuck::{AnyBitPattern, NoUninit};
use fractal_kernels::KernelError;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A device with everything that is kept for it.
pub struct Context {
    pid: u32,
    generation: u64,
    // Neither dropped nor used in a forked child: the driver's threads are the parent's.
    inner: ManuallyDrop<Inner>,
}

struct Inner {
    pipelines: Pipelines,
    pool: Mutex<Pool>,
    device: Device,
}

/// The context of one process.
struct Slot {
    pid: u32,
    current: Mutex<Option<Arc<Context>>>,
}

/// Never freed, so that the driver is not taken down while the process ends, and that a forked child can leave its
/// parent's alone: a thread that is gone may hold its lock.
static SLOT: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());

static GENERATIONS: AtomicU64 = AtomicU64::new(0);

fn slot() -> &'static Slot {
    let pid = std::process::id();
    loop {
        let found = SLOT.load(Ordering::Acquire);
        // SAFETY: whatever is put there is never freed.
        if let Some(slot) = unsafe { found.as_ref() }
            && slot.pid == pid
        {
            return slot;
        }
        let fresh: *mut Slot = Box::leak(Box::new(Slot { pid, current: Mutex::new(None) }));
        if SLOT.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

impl Context {
    /// The context of this process, opened if there is none yet or if its device is gone.
    pub fn get(options: &Options) -> Result<Arc<Self>> {
        let mut current = slot().current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = current.as_ref().filter(|context| context.inner.device.alive().is_ok()) {
            return Ok(context.clone());
        }
        let context = Self::open(options)?;
        *current = Some(context.clone());
        Ok(context)
    }

    /// A context of its own.
    pub fn open(options: &Options) -> Result<Arc<Self>> {
        let device = Device::open(options)?;
        let most = options.pool_bytes.unwrap_or_else(|| (512 << 20).min(device.limits.buffer_bytes / 4));
        let inner = Inner { device, pool: Mutex::new(Pool::new(most)), pipelines: Pipelines::default() };
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self { pid: std::process::id(), generation, inner: ManuallyDrop::new(inner) }))
    }

    /// Every adapter of this machine, best first, and why it is not used.
    pub fn adapters(options: &Options) -> Result<Vec<AdapterInfo>> {
        adapters(options)
    }

    /// The adapter that is used.
    pub fn adapter(&self) -> &AdapterInfo {
        &self.inner.device.info
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

    pub(crate) fn pipelines(&self) -> &Pipelines {
        &self.inner.pipelines
    }

    pub(crate) fn pool(&self) -> &Mutex<Pool> {
        &self.inner.pool
    }

    /// Memory for a use.
    pub(crate) fn lease(self: &Arc<Self>, usage: Usage, bytes: u64) -> Result<Buffer> {
        let device = self.device()?;
        let most = device.limits.buffer_bytes;
        if bytes > most {
            let allowed = format!("at most {most} bytes on {}", device.info.name);
            return Err(KernelError::value("size", format!("{bytes} bytes"), allowed).into());
        }
        let size = class(bytes).min(most);
        let unused = self.pool().lock().unwrap_or_else(PoisonError::into_inner).take(usage, size);
        let block = unused.map_or_else(|| device.block(usage, size), Ok)?;
        Ok(Buffer::new(self.clone(), block, bytes))
    }

    /// An array of so many bytes, with no values in particular.
    pub fn alloc(self: &Arc<Self>, bytes: u64) -> Result<Buffer> {
        self.lease(Usage::Storage, bytes)
    }

    /// An array of zeros.
    pub fn zeros(self: &Arc<Self>, bytes: u64) -> Result<Buffer> {
        let buffer = self.alloc(bytes)?;
        let mut commands = self.record();
        commands.clear(&buffer)?;
        commands.submit()?;
        Ok(buffer)
    }

    /// A copy of a slice.
    pub fn upload<T: NoUninit>(self: &Arc<Self>, values: &[T]) -> Result<Buffer> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let buffer = self.alloc(bytes.len() as u64)?;
        self.device()?.write(buffer.block(), 0, bytes)?;
        Ok(buffer)
    }

    /// Begins a list of work.
    pub fn record(self: &Arc<Self>) -> Recorder {
        Recorder::new(self.clone())
    }

    /// The values of an array, by a copy on the device; the array stays.
    pub fn download<T: AnyBitPattern>(self: &Arc<Self>, buffer: &Buffer) -> Result<Mapped<T>> {
        let [mapped] = self.record().submit_reading([buffer.clone()])?;
        mapped.cast()
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
