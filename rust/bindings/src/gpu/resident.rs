//! Kernels on arrays that stay on the GPU.

use super::buffer::GpuBuffer;
use crate::detached::released;
use crate::error::Result;
use fractal_gpu::ops::boxes::ResidentBoxLevel;
use fractal_gpu::ops::{boxes, distance, linear};
use fractal_kernels::KernelError;
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
