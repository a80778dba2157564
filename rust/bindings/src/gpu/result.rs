//! Results of the GPU as NumPy arrays over its own memory.

use crate::error::Result;
use bytemuck::AnyBitPattern;
use fractal_gpu::Mapped;
use fractal_gpu::hosted::Hosted;
use numpy::ndarray::{ArrayView, IxDyn};
use numpy::{Element, IntoPyArray, PyArrayDyn, PyArrayMethods};
use pyo3::prelude::*;
use std::any::Any;

/// The array's base: it holds the mapping.
#[pyclass(frozen)]
struct GpuResult(#[allow(dead_code, reason = "held, not read")] Box<dyn Any + Send + Sync>);

/// An array in place, which nobody may write. It is copied to memory of NumPy's own where results that are held already
/// have more than `most` bytes.
pub(super) fn mapped_array<'py, T: Element + AnyBitPattern + Send + Sync>(
    py: Python<'py>,
    values: Mapped<T>,
    shape: &[usize],
    most: u64,
) -> Result<Bound<'py, PyAny>> {
    if values.held() > most {
        return owned_array(py, values.to_vec(), shape);
    }
    let start = values.as_ptr();
    let owner = Bound::new(py, GpuResult(Box::new(values)))?;
    // SAFETY: the mapping has an aligned value for each element of the shape, nobody writes them while it lives, and the
    // owner, which the array holds, keeps it until the array and every view of it are gone.
    let array = unsafe {
        let view = ArrayView::from_shape_ptr(IxDyn(shape), start);
        PyArrayDyn::borrow_from_array(&view, owner.into_any())
    };
    Ok(array.readwrite().make_nonwriteable().as_any().clone())
}

fn owned_array<'py, T: Element>(py: Python<'py>, values: Vec<T>, shape: &[usize]) -> Result<Bound<'py, PyAny>> {
    Ok(values.into_pyarray(py).reshape(shape)?.into_any())
}

/// Values that the CPU reads, as an array.
pub(super) fn hosted_array<'py, T: Element + AnyBitPattern + Send + Sync>(
    py: Python<'py>,
    values: Hosted<T>,
    shape: &[usize],
    most: u64,
) -> Result<Bound<'py, PyAny>> {
    match values {
        Hosted::Mapped(values) => mapped_array(py, values, shape, most),
        Hosted::Copied(values) => owned_array(py, values, shape),
    }
}
