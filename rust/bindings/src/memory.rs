//! Memory of large results.

use fractal_runtime::kept::Block;
use numpy::PyArray1;
use numpy::ndarray::ArrayView1;
use pyo3::prelude::*;

/// The base of the array, which holds the block.
#[pyclass(frozen)]
struct Owner(#[allow(dead_code, reason = "held, not read")] Block);

/// `size` arbitrary bytes in huge pages; None where the system's allocator does as well.
#[pyfunction]
pub(crate) fn huge_block(py: Python<'_>, size: usize) -> PyResult<Option<Bound<'_, PyArray1<u8>>>> {
    let Some(block) = Block::new(size) else { return Ok(None) };
    let start = block.start().cast_const();
    let owner = Bound::new(py, Owner(block))?;
    // SAFETY: the block has that many bytes and lives as long as its owner, which the array holds.
    unsafe {
        let bytes = ArrayView1::from_shape_ptr(size, start);
        Ok(Some(PyArray1::borrow_from_array(&bytes, owner.into_any())))
    }
}
