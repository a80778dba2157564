//! What a context has done, counted where it is done.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// What a context has done so far.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$about])* pub $name: u64,)* }

        #[derive(Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter,)* }

        impl Counters {
            pub(crate) fn read(&self) -> Counts {
                Counts { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Lists of work that were submitted.
    submissions,
    /// Kernels that were started.
    dispatches,
    /// Pipelines that were compiled.
    pipelines,
    /// Bytes that the CPU copied to the device.
    uploaded,
    /// Bytes that the device copied to be read.
    staged,
    /// Bytes that are mapped now: results that somebody holds.
    mapped,
}

/// One of them.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn take_away(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }
}
