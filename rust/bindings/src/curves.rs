//! Curves and integer sets as NumPy arrays.

use crate::arrays::{span, typed, values, writable};
use crate::detached::detached;
use crate::error::Result;
use fractal_kernels::KernelError;
use fractal_kernels::curves::lattice::{Integer, Rows};
use fractal_kernels::curves::{dragon, hilbert, hilbert_order as boxes, morton};
use fractal_kernels::sets::cantor;
use fractal_runtime::executors;
use fractal_runtime::run::OwnedRun;
use numpy::ndarray::Array2;
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArrayDyn, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// An array of shape (n, width) from its elements; kernels return whole rows.
pub(crate) fn rows<T: Element>(py: Python<'_>, data: Vec<T>, width: usize) -> Result<Bound<'_, PyArray2<T>>> {
    let shape = (data.len() / width.max(1), width);
    let array = Array2::from_shape_vec(shape, data)
        .map_err(|e| fractal_kernels::KernelError::shape("result", e, "whole rows"))?;
    Ok(array.into_pyarray(py))
}

/// Runs `$body` with `$t` as the element type of `$array`, one of NumPy's eight integers.
macro_rules! with_integer {
    ($array:ident, $name:literal, $t:ident, $body:expr) => {
        with_integer!(@ $array, $name, $t, $body, i64, u64, i32, u32, i16, u16, i8, u8)
    };
    (@ $array:ident, $name:literal, $t:ident, $body:expr, $($integer:ty),*) => {
        $(if $array.cast::<PyArrayDyn<$integer>>().is_ok() {
            type $t = $integer;
            $body
        } else)* {
            Err(KernelError::dtype($name, $array.get_type(), "a NumPy array of integers").into())
        }
    };
}

/// Rows of an (n, width) array, or of a vector as (n, 1), in place.
fn rows_in_place<'a, T: Integer + Element>(
    array: &'a PyReadonlyArrayDyn<'_, T>,
    name: &'static str,
) -> Result<Rows<'a, T>> {
    let (shape, strides) = match (array.shape(), array.strides()) {
        (&[n], &[stride]) => ([n, 1], [stride, size_of::<T>() as isize]),
        (&[n, width], &[row, column]) => ([n, width], [row, column]),
        (shape, _) => return Err(KernelError::shape(name, format!("shape {shape:?}"), "one or two dimensions").into()),
    };
    let (data, first, strides) = span(array, name, shape, strides)?;
    Ok(Rows::strided(name, data, first, strides, shape)?)
}

macro_rules! codec {
    ($encode:ident, $decode:ident, $curve:ident) => {
        /// Codes of points, (n, ndim), into `out`, (n,), of any integer dtypes.
        #[pyfunction]
        pub(crate) fn $encode(
            py: Python<'_>,
            coords: Bound<'_, PyAny>,
            order: u32,
            out: Bound<'_, PyAny>,
        ) -> Result<()> {
            with_integer!(
                coords,
                "coords",
                From,
                with_integer!(out, "out", To, {
                    let coords = typed::<From>(&coords, "coords")?;
                    let coords = rows_in_place(&coords, "coords")?;
                    let mut out = writable::<To>(&out, "out", &[coords.len()])?;
                    let (run, out) = (OwnedRun::pooled()?, values(&mut out, "out")?);
                    detached(py, || $curve::encode(run.get(), coords, order, out))
                })
            )
        }

        /// Points of codes, (n,), into `out`, (n, ndim), of any integer dtypes.
        #[pyfunction]
        pub(crate) fn $decode(
            py: Python<'_>,
            index: Bound<'_, PyAny>,
            order: u32,
            ndim: usize,
            out: Bound<'_, PyAny>,
        ) -> Result<()> {
            with_integer!(
                index,
                "index",
                From,
                with_integer!(out, "out", To, {
                    let index = typed::<From>(&index, "index")?;
                    let index = rows_in_place(&index, "index")?;
                    let mut out = writable::<To>(&out, "out", &[index.len(), ndim])?;
                    let (run, out) = (OwnedRun::pooled()?, values(&mut out, "out")?);
                    detached(py, || $curve::decode(run.get(), index, ndim, order, out))
                })
            )
        }
    };
}

codec!(hilbert_encode, hilbert_decode, hilbert);
codec!(morton_encode, morton_decode, morton);

/// Raster offsets of a box's cells in Hilbert order.
#[pyfunction]
pub(crate) fn hilbert_order(py: Python<'_>, shape: Vec<usize>) -> Result<Bound<'_, PyArray1<i64>>> {
    let executor = executors::default()?;
    Ok(detached(py, || boxes::order_on(&shape, &*executor))?.into_pyarray(py))
}

/// Raster offsets of a box's cells in Morton order.
#[pyfunction]
pub(crate) fn morton_order(py: Python<'_>, shape: Vec<usize>) -> Result<Bound<'_, PyArray1<i64>>> {
    Ok(detached(py, || morton::order(&shape))?.into_pyarray(py))
}

/// The first n turns of the dragon curve, +1 left and -1 right.
#[pyfunction]
pub(crate) fn dragon_turns(py: Python<'_>, n: usize) -> Result<Bound<'_, PyArray1<i8>>> {
    Ok(detached(py, || dragon::turns(n))?.into_pyarray(py))
}

/// The first n lattice vertices of the dragon curve, (n, 2).
#[pyfunction]
pub(crate) fn dragon_vertices(py: Python<'_>, n: usize) -> Result<Bound<'_, PyArray2<i64>>> {
    rows(py, detached(py, || dragon::vertices(n))?, 2)
}

/// Left ends of the intervals of the Cantor construction.
#[pyfunction]
pub(crate) fn cantor_points(py: Python<'_>, depth: u32) -> Result<Bound<'_, PyArray1<f64>>> {
    Ok(detached(py, || cantor::points(depth))?.into_pyarray(py))
}

/// Integers below n with all digits in a set.
#[pyfunction]
pub(crate) fn digit_offsets(py: Python<'_>, n: i64, base: i64, digits: Vec<i64>) -> Result<Bound<'_, PyArray1<i64>>> {
    Ok(detached(py, || cantor::digit_offsets(n, base, &digits))?.into_pyarray(py))
}
