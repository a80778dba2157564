//! Errors of the GPU on their way to Python.

use crate::error::NativeError;
use fractal_gpu::GpuError;

mod python {
    pyo3::import_exception!(fractal_core.errors, GpuUnavailableError);
    pyo3::import_exception!(fractal_core.errors, GpuShaderError);
    pyo3::import_exception!(fractal_core.errors, GpuValidationError);
    pyo3::import_exception!(fractal_core.errors, GpuOutOfMemoryError);
    pyo3::import_exception!(fractal_core.errors, GpuDeviceLostError);
    pyo3::import_exception!(fractal_core.errors, GpuTimeoutError);
    pyo3::import_exception!(fractal_core.errors, GpuForkError);
}

impl From<GpuError> for NativeError {
    fn from(error: GpuError) -> Self {
        let message = error.to_string();
        match error {
            GpuError::Refused(error) => error.into(),
            GpuError::Unavailable(_) | GpuError::Wrong { .. } => python::GpuUnavailableError::new_err(message).into(),
            GpuError::Shader { .. } => python::GpuShaderError::new_err(message).into(),
            GpuError::Validation { .. } => python::GpuValidationError::new_err(message).into(),
            GpuError::OutOfMemory { doing, bytes } => {
                let given = bytes.map_or_else(|| "more than it has".into(), |bytes| format!("{bytes} bytes"));
                let args = ("memory of the GPU", format!("{given}, while {doing}"), "what it has room for");
                python::GpuOutOfMemoryError::new_err(args).into()
            }
            GpuError::DeviceLost(_) => python::GpuDeviceLostError::new_err(message).into(),
            GpuError::Timeout { .. } => python::GpuTimeoutError::new_err(message).into(),
            GpuError::Fork(_) => python::GpuForkError::new_err(message).into(),
        }
    }
}
