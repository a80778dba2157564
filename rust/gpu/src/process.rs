//! The context that the calls of this process share, opened when the first one asks for it.

use crate::context::Context;
use crate::error::{GpuError, Result};
use crate::options::{OnFork, Options};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The context of one process.
struct Slot {
    pid: u32,
    /// Whether the process was forked from one that has a slot.
    inherited: bool,
    current: Mutex<Option<Arc<Context>>>,
}

/// Never freed: the driver is not taken down while the process ends, and a forked child leaves its parent's slot alone,
/// whose lock a thread may hold that the child does not have.
static SLOT: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());

fn slot() -> &'static Slot {
    let pid = std::process::id();
    loop {
        let found = SLOT.load(Ordering::Acquire);
        // SAFETY: null, or a slot that is never freed.
        let slot: Option<&'static Slot> = unsafe { found.as_ref() };
        if let Some(slot) = slot.filter(|slot| slot.pid == pid) {
            return slot;
        }
        let fresh = Box::into_raw(Box::new(Slot { pid, inherited: slot.is_some(), current: Mutex::new(None) }));
        if SLOT.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

/// The context of this process. It is opened if there is none yet, if its device is gone, or if the options ask for
/// another adapter.
pub fn context(options: &Options) -> Result<Arc<Context>> {
    let slot = slot();
    if slot.inherited && options.on_fork == OnFork::Refuse {
        return Err(GpuError::Fork("the GPU"));
    }
    let mut current = slot.current.lock().unwrap_or_else(PoisonError::into_inner);
    let usable = |context: &&Arc<Context>| context.alive().is_ok() && *context.choice() == options.choice;
    if let Some(context) = current.as_ref().filter(usable) {
        context.apply(options);
        return Ok(context.clone());
    }
    let context = Context::open(options)?;
    *current = Some(context.clone());
    Ok(context)
}

/// The context of this process, if one is open and its device is there.
pub fn opened() -> Option<Arc<Context>> {
    // SAFETY: null, or a slot that is never freed.
    let slot = unsafe { SLOT.load(Ordering::Acquire).as_ref() }.filter(|slot| slot.pid == std::process::id())?;
    let current = slot.current.lock().unwrap_or_else(PoisonError::into_inner);
    current.as_ref().filter(|context| context.alive().is_ok()).cloned()
}

/// Does work that begins and ends on the CPU. If the device is lost meanwhile it is done once more, on a new one.
pub fn with<R>(options: &Options, mut work: impl FnMut(&Arc<Context>) -> Result<R>) -> Result<R> {
    match work(&context(options)?) {
        Err(GpuError::DeviceLost(_)) => work(&context(options)?),
        other => other,
    }
}
