//! Kernel errors become Python exceptions here, and nowhere else.

use fractal_kernels::{ErrorKind, KernelError};
use pyo3::prelude::*;

mod python {
    pyo3::import_exception!(fractal_core.errors, InvalidArgumentError);
    pyo3::import_exception!(fractal_core.errors, ShapeError);
    pyo3::import_exception!(fractal_core.errors, DTypeError);
    pyo3::import_exception!(fractal_core.errors, KeyIndexError);
    pyo3::import_exception!(fractal_core.errors, OutOfMemoryError);
}

/// A kernel's refusal; lets bindings use `?` despite the orphan rule.
pub(crate) struct NativeError(PyErr);

impl From<KernelError> for NativeError {
    fn from(error: KernelError) -> Self {
        let args = (error.argument, error.given, error.allowed);
        Self(match error.kind {
            ErrorKind::Value => python::InvalidArgumentError::new_err(args),
            ErrorKind::Shape => python::ShapeError::new_err(args),
            ErrorKind::Dtype => python::DTypeError::new_err(args),
            ErrorKind::Index => python::KeyIndexError::new_err(args),
            ErrorKind::Memory => python::OutOfMemoryError::new_err(args),
        })
    }
}

impl From<PyErr> for NativeError {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<NativeError> for PyErr {
    fn from(error: NativeError) -> Self {
        error.0
    }
}

/// Result of a binding.
pub(crate) type Result<T> = std::result::Result<T, NativeError>;
