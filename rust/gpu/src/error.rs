//! Every way in which a call of the GPU fails.

use fractal_kernels::KernelError;
use std::time::Duration;

/// A call that failed. The process goes on, and so does the CPU.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GpuError {
    /// An argument or a setting that is not allowed.
    #[error(transparent)]
    Refused(#[from] KernelError),
    /// There is no adapter that may be used.
    #[error("no GPU: {0}")]
    Unavailable(String),
    /// The adapter computes something else than the CPU does.
    #[error("{adapter} computes wrong and is not used for this: {kernel}: {what}")]
    Wrong {
        /// Name of the adapter.
        adapter: String,
        /// The shader and its entry point.
        kernel: String,
        /// What differs.
        what: String,
    },
    /// The adapter's driver refuses a shader.
    #[error("shader {shader}: {message}")]
    Shader {
        /// Name of the shader, with its entry point.
        shader: String,
        /// What the driver or the compiler says.
        message: String,
    },
    /// A call that the graphics API refuses: a mistake of this package.
    #[error("{doing}: {message}")]
    Validation {
        /// What was being done.
        doing: &'static str,
        /// What the API says.
        message: String,
    },
    /// The device has no memory left.
    #[error("{doing}: the GPU has no memory left{}", .bytes.map(|bytes| format!(" for {bytes} bytes")).unwrap_or_default())]
    OutOfMemory {
        /// What was being done.
        doing: &'static str,
        /// What was asked for, where that is known.
        bytes: Option<u64>,
    },
    /// The device is gone, and with it what lay in its memory.
    #[error("the GPU was lost: {0}")]
    DeviceLost(String),
    /// The device did not finish in time. What it does goes on.
    #[error("the GPU did not finish within {limit:?}; FRACTAL_CORE_GPU_TIMEOUT allows more")]
    Timeout {
        /// How long was waited.
        limit: Duration,
    },
    /// Something that a forked child inherited: its device belongs to the parent.
    #[error("{0} belongs to the process that this one was forked from; make it anew here, or start processes by spawn")]
    Fork(&'static str),
}

/// Result of a call of the GPU.
pub type Result<T> = std::result::Result<T, GpuError>;
