//! Element-wise kernels, from the CPU's memory and on arrays that stay on the GPU.

use super::buffer::GpuBuffer;
use super::options::options;
use super::result::hosted_array;
use crate::arrays::{flat, typed};
use crate::detached::released;
use crate::error::Result;
use fractal_gpu::ops::elementwise as kernels;
use fractal_gpu::{Buffer, GpuError, process};
use fractal_kernels::KernelError;
use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;

/// `add` or `multiply` of two contiguous float32 arrays of one shape, `relu` or `gelu` of one.
#[pyfunction]
#[pyo3(signature = (kernel, left, right=None, /))]
pub(crate) fn gpu_elementwise<'py>(
    py: Python<'py>,
    kernel: &str,
    left: &Bound<'py, PyAny>,
    right: Option<&Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>> {
    let options = options(py)?;
    let left = typed::<f32>(left, "left")?;
    let right = right.map(|right| typed::<f32>(right, "right")).transpose()?;
    if let Some(right) = right.as_ref().filter(|right| right.shape() != left.shape()) {
        let (given, allowed) = (format!("shape {:?}", right.shape()), format!("shape {:?}, as left", left.shape()));
        return Err(KernelError::shape("right", given, allowed).into());
    }
    let mut inputs = vec![flat(&left, "left")?];
    if let Some(right) = &right {
        inputs.push(flat(right, "right")?);
    }
    let most = options.mapped_bytes;
    let values = released(py, move || process::with(&options, |context| kernels::on_host(context, kernel, &inputs)))?;
    hosted_array(py, values, left.shape(), most)
}

/// The same on arrays that stay on the GPU.
#[pyfunction]
#[pyo3(signature = (kernel, left, right=None, /))]
pub(crate) fn gpu_elementwise_resident(
    py: Python<'_>,
    kernel: &str,
    left: &GpuBuffer,
    right: Option<&GpuBuffer>,
) -> Result<GpuBuffer> {
    let (left, right): (&Buffer, _) = (&left.0, right.map(|right| &right.0));
    let result = released(py, move || match (kernel, right) {
        ("add", Some(right)) => kernels::add(left, right),
        ("multiply", Some(right)) => kernels::multiply(left, right),
        ("relu", None) => kernels::relu(left),
        ("gelu", None) => kernels::gelu(left),
        (other, _) => {
            let allowed = "add or multiply of two arrays, relu or gelu of one";
            Err(GpuError::from(KernelError::value("kernel", format!("{other:?}"), allowed)))
        }
    })?;
    Ok(GpuBuffer(result))
}
