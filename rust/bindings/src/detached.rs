//! Kernels run without the GIL, and stop when Python has a signal to handle.

use crate::error::{NativeError, Result};
use fractal_kernels::interrupt::watched;
use fractal_kernels::memory::caught;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// Runs a kernel without the GIL. On the main thread signal handlers run meanwhile, as between two lines of Python. If
/// one raises (`KeyboardInterrupt` at Ctrl-C), the kernel stops by unwinding and the exception is passed on. A kernel
/// that runs out of memory stops in the same way.
pub(crate) fn detached<R: Send>(
    py: Python<'_>,
    kernel: impl FnOnce() -> fractal_kernels::error::Result<R> + Send,
) -> Result<R> {
    released(py, kernel)
}

/// The same for work whose errors are others.
#[allow(clippy::redundant_closure_for_method_calls, reason = "the method is not general over lifetimes")]
pub(crate) fn released<R: Send, E: Into<NativeError> + Send>(
    py: Python<'_>,
    work: impl FnOnce() -> std::result::Result<R, E> + Send,
) -> Result<R> {
    let raised: Arc<Mutex<Option<PyErr>>> = Arc::default();
    let seen = raised.clone();
    let signalled = move || {
        let Some(Err(error)) = Python::try_attach(|py| py.check_signals()) else { return false };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        true
    };
    if let Ok(result) = py.detach(move || watched(signalled, || caught(|| Ok(work())))) {
        return result?.map_err(Into::into);
    }
    let error = raised.lock().unwrap_or_else(PoisonError::into_inner).take();
    Err(error.unwrap_or_else(|| PyKeyboardInterrupt::new_err(())).into())
}
