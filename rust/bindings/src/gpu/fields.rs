//! Escape fields on the GPU, from and to the CPU's memory.

use super::options::options;
use super::result::hosted_array;
use crate::arrays::{flat, typed};
use crate::detached::released;
use crate::error::Result;
use fractal_gpu::hosted::by_rows;
use fractal_gpu::ops::fields as kernels;
use fractal_gpu::{Buffer, process};
use fractal_kernels::fields::julia::Escape;
use fractal_kernels::fields::soft_julia::Soft;
use num_complex::{Complex32, Complex64};
use numpy::IntoPyArray;
use pyo3::prelude::*;

/// Bytes of a point and its value.
const POINT: u64 = 12;

/// A field of contiguous complex64 points, (n,) float32.
fn field<'py>(
    py: Python<'py>,
    points: &Bound<'py, PyAny>,
    kernel: impl Fn(&Buffer) -> fractal_gpu::Result<Buffer> + Send,
) -> Result<Bound<'py, PyAny>> {
    let options = options(py)?;
    let points = typed::<Complex32>(points, "points")?;
    let (points, most) = (flat(&points, "points")?, options.mapped_bytes);
    let values = released(py, move || {
        process::with(&options, |context| {
            let largest = context.limits().buffer_bytes / POINT;
            by_rows::<f32>(points.len(), 1, largest as usize, |range| {
                context.download(kernel(&context.upload(&points[range])?)?)
            })
        })
    })?;
    hosted_array(py, values, &[points.len()], most)
}

/// Escape field of the Julia set of c, or of the Mandelbrot set where there is none.
#[pyfunction]
#[pyo3(signature = (points, c, max_iter, radius, smooth, /))]
pub(crate) fn gpu_escape<'py>(
    py: Python<'py>,
    points: &Bound<'py, PyAny>,
    c: Option<Complex64>,
    max_iter: u32,
    radius: f64,
    smooth: bool,
) -> Result<Bound<'py, PyAny>> {
    let escape = Escape { max_iter, radius, smooth };
    field(py, points, move |points| match c {
        Some(c) => kernels::julia(points, c, escape),
        None => kernels::mandelbrot(points, escape),
    })
}

/// Soft escape count of the Julia set of c.
#[pyfunction]
#[pyo3(signature = (points, c, max_iter, radius, smoothness, /))]
pub(crate) fn gpu_soft_escape<'py>(
    py: Python<'py>,
    points: &Bound<'py, PyAny>,
    c: Complex64,
    max_iter: u32,
    radius: f64,
    smoothness: f64,
) -> Result<Bound<'py, PyAny>> {
    let soft = Soft { c, max_iter, radius, smoothness };
    field(py, points, move |points| kernels::soft_julia(points, soft))
}

/// Its gradients by points, c, radius and smoothness.
#[pyfunction]
#[pyo3(signature = (grad, points, c, max_iter, radius, smoothness, /))]
pub(crate) fn gpu_soft_escape_vjp<'py>(
    py: Python<'py>,
    grad: &Bound<'py, PyAny>,
    points: &Bound<'py, PyAny>,
    c: Complex64,
    max_iter: u32,
    radius: f64,
    smoothness: f64,
) -> Result<(Bound<'py, PyAny>, Complex64, f64, f64)> {
    let options = options(py)?;
    let soft = Soft { c, max_iter, radius, smoothness };
    let (grad, points) = (typed::<f32>(grad, "grad")?, typed::<Complex32>(points, "points")?);
    let (grad, points) = (flat(&grad, "grad")?, flat(&points, "points")?);
    let (by_point, shared) = released(py, move || {
        process::with(&options, |context| {
            let (weights, points) = (context.upload(grad)?, context.upload(points)?);
            let found = kernels::soft_julia_vjp(&weights, &points, soft)?;
            let [by_point, shared] = context.record().submit_reading([found.points, found.shared])?;
            Ok((by_point.cast::<Complex32>()?.to_vec(), shared.cast::<f32>()?.to_vec()))
        })
    })?;
    let [re, im, radius, smoothness] = [0, 1, 2, 3].map(|i| f64::from(shared[i]));
    Ok((by_point.into_pyarray(py).into_any(), Complex64 { re, im }, radius, smoothness))
}
