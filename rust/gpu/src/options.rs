//! What the process asks of the GPU.

use std::time::Duration;

/// Which adapter is used, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which adapter.
    pub choice: Choice,
    /// How long one wait may take.
    pub timeout: Duration,
    /// Bytes of unused memory that are kept for later; `None` is 512 MiB, or a quarter of the largest buffer if that is
    /// less.
    pub pool_bytes: Option<u64>,
    /// What a forked child does.
    pub on_fork: OnFork,
}

/// Which adapter is used. A context is opened anew when this changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Its number in the list, or a part of its name; `None` takes the best.
    pub adapter: Option<String>,
    /// The only API that is tried.
    pub api: Option<Api>,
    /// Whether an adapter that computes on the CPU may be taken.
    pub allow_software: bool,
    /// Whether drivers that say of themselves that they pass no conformance tests are listed.
    pub allow_noncompliant: bool,
    /// Whether the graphics API's own validation layers are switched on, where they are installed.
    pub validate: bool,
}

/// A graphics API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// On Linux, Windows and Android.
    Vulkan,
    /// On Apple's systems.
    Metal,
    /// Direct3D 12, on Windows.
    Dx12,
}

/// What a forked child does that asks for the GPU while its parent has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFork {
    /// Opens a device of its own. Drivers do not promise that this works; Mesa's do it.
    #[default]
    Reopen,
    /// Fails.
    Refuse,
}

impl Default for Options {
    fn default() -> Self {
        let (choice, timeout) = (Choice::default(), Duration::from_secs(60));
        Self { choice, timeout, pool_bytes: None, on_fork: OnFork::default() }
    }
}
