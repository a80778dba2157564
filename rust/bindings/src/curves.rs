//! Curves and integer sets as NumPy arrays.

use crate::error::Result;
use crate::threads::default_executor;
use fractal_kernels::{cantor, dragon, hilbert, hilbert_order as boxes, morton};
use numpy::ndarray::{Array2, ArrayView, Dimension};
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use std::borrow::Cow;

/// Integers of shape (n,), as NumPy has them.
#[derive(FromPyObject)]
pub(crate) enum Codes<'py> {
    I64(PyReadonlyArray1<'py, i64>),
    U64(PyReadonlyArray1<'py, u64>),
    I32(PyReadonlyArray1<'py, i32>),
    U32(PyReadonlyArray1<'py, u32>),
}

/// Integers of shape (n, ndim), as NumPy has them.
#[derive(FromPyObject)]
pub(crate) enum Points<'py> {
    I64(PyReadonlyArray2<'py, i64>),
    U64(PyReadonlyArray2<'py, u64>),
    I32(PyReadonlyArray2<'py, i32>),
    U32(PyReadonlyArray2<'py, u32>),
}

/// The elements in C order, in place where they lie so.
pub(crate) fn elements<'a, T: Element + Clone, D: Dimension>(view: &'a ArrayView<'_, T, D>) -> Cow<'a, [T]> {
    view.as_slice().map_or_else(|| Cow::Owned(view.iter().cloned().collect()), Cow::Borrowed)
}

/// (n, width) from its elements; the kernels give whole rows.
pub(crate) fn rows<T: Element>(py: Python<'_>, data: Vec<T>, width: usize) -> Result<Bound<'_, PyArray2<T>>> {
    let shape = (data.len() / width.max(1), width);
    let array = Array2::from_shape_vec(shape, data)
        .map_err(|e| fractal_kernels::KernelError::shape("result", e, "whole rows"))?;
    Ok(array.into_pyarray(py))
}

/// `$body` with `$view` bound to the array of whatever dtype.
macro_rules! any_integer {
    ($kind:ident, $array:ident, $view:ident, $body:expr) => {
        match &$array {
            $kind::I64(array) => {
                let $view = array.as_array();
                $body
            }
            $kind::U64(array) => {
                let $view = array.as_array();
                $body
            }
            $kind::I32(array) => {
                let $view = array.as_array();
                $body
            }
            $kind::U32(array) => {
                let $view = array.as_array();
                $body
            }
        }
    };
}

macro_rules! codec {
    ($encode:ident, $decode:ident, $curve:ident) => {
        /// Codes of points: (n, ndim) → (n,).
        #[pyfunction]
        pub(crate) fn $encode<'py>(
            py: Python<'py>,
            coords: Points<'py>,
            order: u32,
        ) -> Result<Bound<'py, PyArray1<u64>>> {
            let executor = default_executor()?;
            let codes = any_integer!(Points, coords, view, {
                py.detach(|| $curve::encode(&elements(&view), view.ncols(), order, &*executor))
            })?;
            Ok(codes.into_pyarray(py))
        }

        /// Points of codes: (n,) → (n, ndim).
        #[pyfunction]
        pub(crate) fn $decode<'py>(
            py: Python<'py>,
            index: Codes<'py>,
            order: u32,
            ndim: usize,
        ) -> Result<Bound<'py, PyArray2<u64>>> {
            let executor = default_executor()?;
            let points = any_integer!(Codes, index, view, {
                py.detach(|| $curve::decode(&elements(&view), ndim, order, &*executor))
            })?;
            rows(py, points, ndim)
        }
    };
}

codec!(hilbert_encode, hilbert_decode, hilbert);
codec!(morton_encode, morton_decode, morton);

/// Raster offsets of a box's cells in Hilbert order.
#[pyfunction]
pub(crate) fn hilbert_order(py: Python<'_>, shape: Vec<usize>) -> Result<Bound<'_, PyArray1<i64>>> {
    let executor = default_executor()?;
    Ok(py.detach(|| boxes::order_on(&shape, &*executor))?.into_pyarray(py))
}

/// Raster offsets of a box's cells in Morton order.
#[pyfunction]
pub(crate) fn morton_order(py: Python<'_>, shape: Vec<usize>) -> Result<Bound<'_, PyArray1<i64>>> {
    Ok(py.detach(|| morton::order(&shape))?.into_pyarray(py))
}

/// The first n turns of the dragon curve, +1 left and -1 right.
#[pyfunction]
pub(crate) fn dragon_turns(py: Python<'_>, n: usize) -> Result<Bound<'_, PyArray1<i8>>> {
    Ok(py.detach(|| dragon::turns(n))?.into_pyarray(py))
}

/// The first n lattice vertices of the dragon curve, (n, 2).
#[pyfunction]
pub(crate) fn dragon_vertices(py: Python<'_>, n: usize) -> Result<Bound<'_, PyArray2<i64>>> {
    rows(py, py.detach(|| dragon::vertices(n))?, 2)
}

/// Left ends of the intervals of the Cantor construction.
#[pyfunction]
pub(crate) fn cantor_points(py: Python<'_>, depth: u32) -> Result<Bound<'_, PyArray1<f64>>> {
    Ok(py.detach(|| cantor::points(depth))?.into_pyarray(py))
}

/// Integers below n with all digits in a set.
#[pyfunction]
pub(crate) fn digit_offsets(py: Python<'_>, n: i64, base: i64, digits: Vec<i64>) -> Result<Bound<'_, PyArray1<i64>>> {
    Ok(py.detach(|| cantor::digit_offsets(n, base, &digits))?.into_pyarray(py))
}
