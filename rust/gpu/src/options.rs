//! What the process asks of the GPU.

use fractal_kernels::error::Result;
use fractal_runtime::settings;
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
    /// Bytes of results that may stay mapped; what is beyond is copied to the CPU's memory.
    pub mapped_bytes: u64,
    /// What a forked child does.
    pub on_fork: OnFork,
    /// Whether a missing GPU is an error where the CPU could do the work.
    pub require: bool,
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
        Self {
            choice: Choice::default(),
            timeout: Duration::from_secs(60),
            pool_bytes: None,
            mapped_bytes: 1 << 30,
            on_fork: OnFork::default(),
            require: false,
        }
    }
}

impl Api {
    /// Every API by name.
    pub const NAMES: [(&'static str, Self); 3] =
        [("vulkan", Self::Vulkan), ("metal", Self::Metal), ("dx12", Self::Dx12)];
}

impl OnFork {
    /// Every answer by name.
    pub const NAMES: [(&'static str, Self); 2] = [("reopen", Self::Reopen), ("error", Self::Refuse)];
}

impl Options {
    /// What the environment asks for.
    pub fn from_environment() -> Result<Self> {
        const MOST_MB: u64 = 1 << 30;
        let plain = Self::default();
        let flag = |name| settings::flag(name).map(|flag| flag.unwrap_or(false));
        let bytes = |name| settings::whole(name, 0..=MOST_MB).map(|mb| mb.map(|mb| mb << 20));
        let seconds = settings::whole(settings::GPU_TIMEOUT, 1..=1_000_000)?;
        Ok(Self {
            choice: Choice {
                adapter: settings::text(settings::ADAPTER)?,
                api: settings::one_of(settings::GPU_API, &Api::NAMES)?,
                allow_software: flag(settings::ALLOW_SOFTWARE)?,
                allow_noncompliant: flag(settings::ALLOW_NONCOMPLIANT)?,
                validate: flag(settings::VALIDATE)?,
            },
            timeout: seconds.map_or(plain.timeout, Duration::from_secs),
            pool_bytes: bytes(settings::POOL_MB)?,
            mapped_bytes: bytes(settings::MAPPED_MB)?.unwrap_or(plain.mapped_bytes),
            on_fork: settings::one_of(settings::FORK, &OnFork::NAMES)?.unwrap_or_default(),
            require: flag(settings::REQUIRE_GPU)?,
        })
    }
}
