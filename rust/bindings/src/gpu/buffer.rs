//! Arrays that stay on the GPU between calls.

use super::options::options;
use super::result::mapped_array;
use crate::arrays::{flat, typed};
use crate::detached::released;
use crate::error::Result;
use fractal_gpu::{Buffer, process};
use fractal_kernels::{KernelError, memory};
use pyo3::prelude::*;

/// Bytes in the GPU's memory.
#[pyclass(frozen, module = "fractal_core._native")]
pub(crate) struct GpuBuffer(pub(super) Buffer);

/// `$body` with the type of an element's name as `$t`.
macro_rules! with_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            "float32" => {
                type $t = f32;
                $body
            }
            "int32" => {
                type $t = i32;
                $body
            }
            "uint32" => {
                type $t = u32;
                $body
            }
            other => Err(KernelError::dtype("dtype", format!("{other:?}"), "float32, int32 or uint32").into()),
        }
    };
}

#[pymethods]
impl GpuBuffer {
    /// A copy of a contiguous array of float32, int32 or uint32.
    #[staticmethod]
    #[pyo3(signature = (values, dtype, /))]
    fn upload(py: Python<'_>, values: &Bound<'_, PyAny>, dtype: &str) -> Result<Self> {
        let options = options(py)?;
        with_dtype!(dtype, T => {
            let array = typed::<T>(values, "values")?;
            let values = flat(&array, "values")?;
            released(py, move || process::with(&options, |context| context.upload(values))).map(Self)
        })
    }

    /// Its size in bytes.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Which of the process's devices it lies on, counted from 0.
    #[getter]
    fn generation(&self) -> u64 {
        self.0.context().generation()
    }

    /// A read-only array of a copy that the device makes.
    #[pyo3(signature = (shape, dtype, /))]
    fn read<'py>(&self, py: Python<'py>, shape: Vec<usize>, dtype: &str) -> Result<Bound<'py, PyAny>> {
        let most = options(py)?.mapped_bytes;
        with_dtype!(dtype, T => {
            if memory::product::<T>("shape", &shape)? as u64 * size_of::<T>() as u64 != self.0.bytes() {
                return Err(KernelError::shape("shape", format!("{shape:?}"), format!("{} bytes", self.0.bytes())).into());
            }
            let buffer = self.0.clone();
            let values = released(py, move || buffer.context().clone().download::<T>(buffer))?;
            mapped_array(py, values, &shape, most)
        })
    }
}
