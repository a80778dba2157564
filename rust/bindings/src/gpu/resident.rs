//! Kernels on arrays that stay on the GPU.

use super::buffer::GpuBuffer;
use super::curves::codec;
use crate::detached::released;
use crate::error::Result;
use crate::index_sets::living;
use fractal_gpu::GpuError;
use fractal_gpu::attention::{Operands, Tensor, forward_resident};
use fractal_gpu::ops::boxes::ResidentBoxLevel;
use fractal_gpu::ops::{boxes, curves, distance, fields, linear};
use fractal_kernels::KernelError;
use fractal_kernels::attention::Keys;
use fractal_kernels::fields::julia::Escape;
use fractal_runtime::run::OwnedRun;
use num_complex::Complex64;
use pyo3::prelude::*;

/// Boxes of one size: their rows and columns, and a value each.
type SidedBoxes = ([usize; 2], GpuBuffer);

fn levels(levels: Vec<ResidentBoxLevel>) -> Vec<SidedBoxes> {
    levels.into_iter().map(|level| (level.shape, GpuBuffer(level.boxes))).collect()
}

/// Softmax of the rows of (rows, columns) float32.
#[pyfunction]
#[pyo3(signature = (values, shape, /))]
pub(crate) fn gpu_softmax(py: Python<'_>, values: &GpuBuffer, shape: [usize; 2]) -> Result<GpuBuffer> {
    let values = &values.0;
    released(py, move || linear::softmax(values, shape)).map(GpuBuffer)
}

/// Product of (rows, inner) and (inner, columns) float32; the shape is rows, inner, columns.
#[pyfunction]
#[pyo3(signature = (left, right, shape, /))]
pub(crate) fn gpu_matmul(py: Python<'_>, left: &GpuBuffer, right: &GpuBuffer, shape: [usize; 3]) -> Result<GpuBuffer> {
    let (left, right) = (&left.0, &right.0);
    released(py, move || linear::matmul(left, right, shape)).map(GpuBuffer)
}

/// Distances of (rows, dimension) and (columns, dimension) float32 points; the shape is rows, columns, dimension.
#[pyfunction]
#[pyo3(signature = (geometry, left, right, shape, curvature, /))]
pub(crate) fn gpu_distances(
    py: Python<'_>,
    geometry: &str,
    left: &GpuBuffer,
    right: &GpuBuffer,
    shape: [usize; 3],
    curvature: f64,
) -> Result<GpuBuffer> {
    let (left, right) = (&left.0, &right.0);
    let found = released(py, move || match geometry {
        "euclidean" => distance::euclidean(left, right, shape),
        "hyperbolic" => distance::hyperbolic(left, right, shape, curvature),
        other => Err(KernelError::value("geometry", format!("{other:?}"), "euclidean, hyperbolic").into()),
    })?;
    Ok(GpuBuffer(found))
}

/// Densities of (batch, length) 32-bit tokens within a radius.
#[pyfunction]
#[pyo3(signature = (tokens, shape, radius, /))]
pub(crate) fn gpu_density(py: Python<'_>, tokens: &GpuBuffer, shape: [usize; 2], radius: usize) -> Result<GpuBuffer> {
    let tokens = &tokens.0;
    released(py, move || distance::density(tokens, shape, radius)).map(GpuBuffer)
}

/// Escape field of (n, 2) float32 points, the Julia set's of c, or the Mandelbrot set's where there is none.
#[pyfunction]
#[pyo3(signature = (points, c, max_iter, radius, smooth, /))]
pub(crate) fn gpu_escape_resident(
    py: Python<'_>,
    points: &GpuBuffer,
    c: Option<Complex64>,
    max_iter: u32,
    radius: f64,
    smooth: bool,
) -> Result<GpuBuffer> {
    let (points, escape) = (&points.0, Escape { max_iter, radius, smooth });
    let found = released(py, move || match c {
        Some(c) => fields::julia(points, c, escape),
        None => fields::mandelbrot(points, escape),
    })?;
    Ok(GpuBuffer(found))
}

/// Codes, (n, 2) uint32 words from the lowest, of (n, ndim) uint32 points.
#[pyfunction]
#[pyo3(signature = (curve, points, ndim, order, /))]
pub(crate) fn gpu_encode_resident(
    py: Python<'_>,
    curve: &str,
    points: &GpuBuffer,
    ndim: usize,
    order: u32,
) -> Result<GpuBuffer> {
    let (points, curve) = (&points.0, codec(curve)?);
    released(py, move || curves::encode(curve, points, ndim, order)).map(GpuBuffer)
}

/// Output (B, H, Nq, Dv) of attention over a set of float32 arrays, whose rows have a multiple of four values.
#[pyfunction]
#[pyo3(signature = (arrays, shapes, index_set, scale, /))]
pub(crate) fn gpu_attention_resident(
    py: Python<'_>,
    arrays: [PyRef<'_, GpuBuffer>; 3],
    shapes: [[usize; 4]; 3],
    index_set: i64,
    scale: f64,
) -> Result<GpuBuffer> {
    let (set, run) = (living(index_set)?, OwnedRun::pooled()?);
    let [q, k, v] = [0, 1, 2].map(|which| arrays[which].0.clone());
    let run = run.get();
    let found = released(py, move || {
        let context = q.context().clone();
        let tensor = |buffer, which: usize| Tensor::resident::<f32>(buffer, shapes[which]);
        let (q, k, v) = (tensor(q, 0)?, tensor(k, 1)?, tensor(v, 2)?);
        let (key_bias, key_padding, edge_bias, dropout) = (None, None, None, None);
        let (soft_cap, first) = (None, [0; 2]);
        let operands = Operands { q, k, v, scale, key_bias, key_padding, edge_bias, dropout, soft_cap, first };
        forward_resident::<f32>(&context, &operands, &Keys::Set(&set), run.executor())
    })?;
    Ok(GpuBuffer(found.out.buffer().clone()))
}

/// A copy that the device makes.
#[pyfunction]
#[pyo3(signature = (array, /))]
pub(crate) fn gpu_copy(py: Python<'_>, array: &GpuBuffer) -> Result<GpuBuffer> {
    let array = &array.0;
    let copy = released(py, move || {
        let context = array.context();
        let (copy, mut commands) = (context.alloc(array.bytes())?, context.record());
        commands.copy(array, &copy)?;
        commands.submit()?;
        Ok::<_, GpuError>(copy)
    })?;
    Ok(GpuBuffer(copy))
}

/// Occupied boxes of (rows, columns) uint32 cells for sides of 2, 4, …, and how many there are of each size, cells first.
#[pyfunction]
#[pyo3(signature = (cells, shape, /))]
pub(crate) fn gpu_occupied(
    py: Python<'_>,
    cells: &GpuBuffer,
    shape: [usize; 2],
) -> Result<(Vec<SidedBoxes>, GpuBuffer)> {
    let cells = &cells.0;
    let found = released(py, move || boxes::occupied(cells, shape))?;
    Ok((levels(found.levels), GpuBuffer(found.counts)))
}

/// Sums of the boxes of (rows, columns) float32 cells for sides of 2, 4, ….
#[pyfunction]
#[pyo3(signature = (cells, shape, /))]
pub(crate) fn gpu_box_sums(py: Python<'_>, cells: &GpuBuffer, shape: [usize; 2]) -> Result<Vec<SidedBoxes>> {
    let cells = &cells.0;
    Ok(levels(released(py, move || boxes::sums(cells, shape))?))
}
