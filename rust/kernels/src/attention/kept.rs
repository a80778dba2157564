//! Large buffers that one call leaves for the next.

use crate::memory::{self, OrLeave};
use bytemuck::Zeroable;
use std::sync::Mutex;

/// Bytes of the largest buffer that is kept.
const MOST: usize = 32 << 20;

/// A buffer that is kept between calls: the system would have to clear the pages of a fresh one, which costs more than
/// filling it.
#[derive(Debug)]
pub struct Kept<T>(Mutex<Vec<T>>);

impl<T: Copy + Zeroable> Kept<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// At least `n` arbitrary values.
    pub(crate) fn take(&self, n: usize) -> Vec<T> {
        // Never waits: this process may have been forked while another thread held the lock.
        let kept = self.0.try_lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default();
        if kept.len() < n { memory::zeros("index_set", n).or_leave() } else { kept }
    }

    /// Keeps a buffer, if it is larger than the one that is kept and not too large.
    pub(crate) fn give(&self, buffer: Vec<T>) {
        if buffer.len() * size_of::<T>() <= MOST
            && let Ok(mut kept) = self.0.try_lock()
            && kept.len() < buffer.len()
        {
            *kept = buffer;
        }
    }
}
