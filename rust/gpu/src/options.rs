//! What the process asks of the GPU.

use std::time::Duration;

/// Which adapter is used, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Number of the adapter in the list, or a part of its name; `None` takes the best.
    pub adapter: Option<String>,
    /// Whether an adapter that computes on the CPU may be taken.
    pub allow_software: bool,
    /// How long one wait may take.
    pub timeout: Duration,
    /// Bytes of unused memory that are kept for later; `None` is 512 MiB, or a quarter of what one buffer may have.
    pub pool_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { adapter: None, allow_software: false, timeout: Duration::from_secs(60), pool_bytes: None }
    }
}
