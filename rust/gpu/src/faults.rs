//! Faults on purpose, so that tests see what is done about them.

use std::sync::{Mutex, PoisonError};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next so many allocations of at least so many bytes find no memory.
    OutOfMemory {
        /// How many.
        times: u32,
        /// Of what size.
        from_bytes: u64,
    },
    /// The next self-check finds a difference.
    WrongResult,
}

/// Faults that are to come.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn inject(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Whether an allocation is to fail.
    pub(crate) fn out_of_memory(&self, bytes: u64) -> bool {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = faults.iter_mut().find_map(|fault| match fault {
            Fault::OutOfMemory { times, from_bytes } if *times > 0 && bytes >= *from_bytes => Some(times),
            _ => None,
        });
        hit.is_some_and(|times| {
            *times -= 1;
            true
        })
    }

    /// Whether a self-check is to fail.
    pub(crate) fn wrong_result(&self) -> bool {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = faults.iter().position(|fault| *fault == Fault::WrongResult);
        at.map(|at| faults.remove(at)).is_some()
    }
}
