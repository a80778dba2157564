//! Steps that all orbits of a piece take together.

/// Age from which an orbit is compared with an iterate further back than the last round's.
pub(super) const OLD: u32 = 256;

/// A round of steps.
#[derive(Clone, Copy)]
pub(super) struct Round {
    pub(super) age: u32,
    pub(super) steps: u32,
    pub(super) max_iter: u32,
    pub(super) radius: f64,
    pub(super) for_good: bool,
    /// Rounds of old orbits before this one.
    pub(super) old: u32,
}
