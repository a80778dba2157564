//! Which submissions are timed, and where their times arrive.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// Submissions whose passes are timed, while that is asked for.
#[derive(Default)]
pub(super) struct Timing {
    pub(super) on: AtomicBool,
    pub(super) done: Mutex<Vec<Timed>>,
}

/// The times of a submission that is on its way.
pub(super) struct Timed {
    pub(super) raw: wgpu::Buffer,
    pub(super) bytes: u64,
    pub(super) index: wgpu::SubmissionIndex,
}
