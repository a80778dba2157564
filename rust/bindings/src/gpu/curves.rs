//! Curve codecs on the GPU, from and to the CPU's memory.

use super::options::options;
use super::result::hosted_array;
use crate::arrays::{flat, typed};
use crate::detached::released;
use crate::error::Result;
use fractal_gpu::hosted::by_rows;
use fractal_gpu::ops::curves::{Codec, decode, encode};
use fractal_gpu::process;
use fractal_kernels::KernelError;
use pyo3::prelude::*;

pub(super) fn codec(name: &str) -> Result<Codec> {
    match name {
        "hilbert" => Ok(Codec::Hilbert),
        "morton" => Ok(Codec::Morton),
        other => Err(KernelError::value("curve", format!("{other:?}"), "hilbert, morton").into()),
    }
}

/// Most rows of so many 32-bit words in and out.
fn largest(buffer_bytes: u64, words: usize) -> usize {
    (buffer_bytes / 4 / words.max(1) as u64) as usize
}

/// Codes (n,) uint64 of points, (n, ndim) contiguous uint32 below `2**order`.
#[pyfunction]
#[pyo3(signature = (curve, coords, ndim, order, /))]
pub(crate) fn gpu_encode<'py>(
    py: Python<'py>,
    curve: &str,
    coords: &Bound<'py, PyAny>,
    ndim: usize,
    order: u32,
) -> Result<Bound<'py, PyAny>> {
    let (options, curve) = (options(py)?, codec(curve)?);
    let coords = typed::<u32>(coords, "coords")?;
    let (coords, most) = (flat(&coords, "coords")?, options.mapped_bytes);
    let n = coords.len() / ndim.max(1);
    let codes = released(py, move || {
        process::with(&options, |context| {
            by_rows::<u64>(n, 1, largest(context.limits().buffer_bytes, ndim + 2), |range| {
                let points = context.upload(&coords[range.start * ndim..range.end * ndim])?;
                context.download(encode(curve, &points, ndim, order)?)
            })
        })
    })?;
    hosted_array(py, codes, &[n], most)
}

/// Points (n, ndim) uint32 of codes, (n,) contiguous uint64 below `2**(ndim * order)`.
#[pyfunction]
#[pyo3(signature = (curve, codes, ndim, order, /))]
pub(crate) fn gpu_decode<'py>(
    py: Python<'py>,
    curve: &str,
    codes: &Bound<'py, PyAny>,
    ndim: usize,
    order: u32,
) -> Result<Bound<'py, PyAny>> {
    let (options, curve) = (options(py)?, codec(curve)?);
    let codes = typed::<u64>(codes, "index")?;
    let (codes, most) = (flat(&codes, "index")?, options.mapped_bytes);
    let points = released(py, move || {
        process::with(&options, |context| {
            by_rows::<u32>(codes.len(), ndim, largest(context.limits().buffer_bytes, ndim + 2), |range| {
                context.download(decode(curve, &context.upload(&codes[range])?, ndim, order)?)
            })
        })
    })?;
    hosted_array(py, points, &[codes.len(), ndim], most)
}
