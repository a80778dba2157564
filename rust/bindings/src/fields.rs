//! Escape fields as NumPy arrays.

use crate::detached::detached;
use crate::error::Result;
use fractal_kernels::fields::julia::{self, Escape};
use fractal_kernels::fields::lanes::Real;
use fractal_kernels::fields::{gradient::FieldGradients, potential, soft_julia};
use fractal_kernels::{KernelError, memory};
use fractal_runtime::run::OwnedRun;
use num_complex::{Complex, Complex64};
use numpy::ndarray::{ArrayView, Dimension};
use numpy::{Element, IntoPyArray, PyArray2, PyReadonlyArray1};
use pyo3::prelude::*;
use std::borrow::Cow;

/// Complex points of shape (n,), in either width.
#[derive(FromPyObject)]
pub(crate) enum Points<'py> {
    Wide(PyReadonlyArray1<'py, Complex<f64>>),
    Narrow(PyReadonlyArray1<'py, Complex<f32>>),
}

impl Points<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Wide(points) => points.as_array().len(),
            Self::Narrow(points) => points.as_array().len(),
        }
    }
}

/// Cotangents of shape (n,), in either width.
#[derive(FromPyObject)]
pub(crate) enum Values<'py> {
    Wide(PyReadonlyArray1<'py, f64>),
    Narrow(PyReadonlyArray1<'py, f32>),
}

/// The elements in C order: borrowed where they are contiguous, else copied.
fn elements<'a, T: Element + Clone, D: Dimension>(
    argument: &'static str,
    view: &'a ArrayView<'_, T, D>,
) -> fractal_kernels::error::Result<Cow<'a, [T]>> {
    match view.as_slice() {
        Some(elements) => Ok(Cow::Borrowed(elements)),
        None => Ok(Cow::Owned(memory::collected(argument, view.iter().cloned())?)),
    }
}

fn map<'py, T: Real + Element>(
    py: Python<'py>,
    points: &PyReadonlyArray1<'py, Complex<T>>,
    kernel: impl FnOnce(&[Complex<T>]) -> fractal_kernels::error::Result<Vec<T>> + Send,
) -> Result<Bound<'py, PyAny>>
where
    Complex<T>: Element,
{
    let view = points.as_array();
    Ok(detached(py, || kernel(&elements("points", &view)?))?.into_pyarray(py).into_any())
}

fn pull<'py, T: Real + Element, G: Send>(
    py: Python<'py>,
    grad: &PyReadonlyArray1<'py, T>,
    points: &PyReadonlyArray1<'py, Complex<T>>,
    kernel: impl FnOnce(&[T], &[Complex<T>]) -> fractal_kernels::error::Result<G> + Send,
) -> Result<G>
where
    Complex<T>: Element,
{
    let (grad, view) = (grad.as_array(), points.as_array());
    detached(py, || kernel(&elements("grad", &grad)?, &elements("points", &view)?))
}

/// `$body` with `$points` bound to the array of either width.
macro_rules! either {
    ($points:ident, $body:expr) => {
        match &$points {
            Points::Wide($points) => $body,
            Points::Narrow($points) => $body,
        }
    };
    ($grad:ident, $points:ident, $body:expr) => {
        match (&$grad, &$points) {
            (Values::Wide($grad), Points::Wide($points)) => $body,
            (Values::Narrow($grad), Points::Narrow($points)) => $body,
            _ => Err(KernelError::dtype("grad", "another width than points", "the real dtype of points").into()),
        }
    };
}

/// Points of a regular grid, (rows, columns).
#[pyfunction]
pub(crate) fn grid(
    py: Python<'_>,
    rows: usize,
    columns: usize,
    extent: [f64; 4],
) -> Result<Bound<'_, PyArray2<Complex64>>> {
    crate::curves::rows(py, detached(py, || julia::grid(rows, columns, extent))?, columns)
}

/// Escape field of the Julia set of c.
#[pyfunction]
pub(crate) fn julia_escape<'py>(
    py: Python<'py>,
    points: Points<'py>,
    c: Complex64,
    max_iter: u32,
    radius: f64,
    smooth: bool,
) -> Result<Bound<'py, PyAny>> {
    let escape = Escape { max_iter, radius, smooth };
    let run = OwnedRun::pooled()?;
    either!(points, map(py, points, |p| julia::julia(p, c, escape, run.get())))
}

/// Escape field of the Mandelbrot set.
#[pyfunction]
pub(crate) fn mandelbrot_escape<'py>(
    py: Python<'py>,
    points: Points<'py>,
    max_iter: u32,
    radius: f64,
    smooth: bool,
) -> Result<Bound<'py, PyAny>> {
    let escape = Escape { max_iter, radius, smooth };
    let run = OwnedRun::pooled()?;
    either!(points, map(py, points, |p| julia::mandelbrot(p, escape, run.get())))
}

/// Green's function of the Julia set of c.
#[pyfunction]
pub(crate) fn julia_potential<'py>(
    py: Python<'py>,
    points: Points<'py>,
    c: Complex64,
    max_iter: u32,
) -> Result<Bound<'py, PyAny>> {
    let run = OwnedRun::pooled()?;
    either!(points, map(py, points, |p| potential::potential(p, c, max_iter, run.get())))
}

/// Soft escape count of the Julia set of c.
#[pyfunction]
#[pyo3(signature = (points, c, max_iter, radius, smoothness, executor = "rayon", threads = 1))]
pub(crate) fn julia_soft_escape<'py>(
    py: Python<'py>,
    points: Points<'py>,
    c: Complex64,
    max_iter: u32,
    radius: f64,
    smoothness: f64,
    executor: &str,
    threads: usize,
) -> Result<Bound<'py, PyAny>> {
    let soft = soft_julia::Soft { c, max_iter, radius, smoothness };
    let run = OwnedRun::named(executor, threads, soft.work(points.len()))?;
    either!(points, map(py, points, |p| soft_julia::soft_julia(p, soft, run.get())))
}

fn point_and_c<T>(py: Python<'_>, gradients: FieldGradients<T>) -> (Bound<'_, PyAny>, Complex64)
where
    Complex<T>: Element,
{
    (gradients.points.into_pyarray(py).into_any(), gradients.c)
}

/// Gradients of the smooth escape field by points and c.
#[pyfunction]
pub(crate) fn julia_escape_vjp<'py>(
    py: Python<'py>,
    grad: Values<'py>,
    points: Points<'py>,
    c: Complex64,
    max_iter: u32,
    radius: f64,
) -> Result<(Bound<'py, PyAny>, Complex64)> {
    let escape = Escape { max_iter, radius, smooth: true };
    let run = OwnedRun::pooled()?;
    either!(grad, points, {
        let gradients = pull(py, grad, points, |g, p| julia::julia_vjp(g, p, c, escape, run.get()))?;
        Ok(point_and_c(py, gradients))
    })
}

/// Gradients of Green's function by points and c.
#[pyfunction]
pub(crate) fn julia_potential_vjp<'py>(
    py: Python<'py>,
    grad: Values<'py>,
    points: Points<'py>,
    c: Complex64,
    max_iter: u32,
) -> Result<(Bound<'py, PyAny>, Complex64)> {
    let run = OwnedRun::pooled()?;
    either!(grad, points, {
        let gradients = pull(py, grad, points, |g, p| potential::potential_vjp(g, p, c, max_iter, run.get()))?;
        Ok(point_and_c(py, gradients))
    })
}

/// Gradients of the soft escape count by points, c, radius and smoothness.
#[pyfunction]
#[pyo3(signature = (grad, points, c, max_iter, radius, smoothness, executor = "rayon", threads = 1))]
pub(crate) fn julia_soft_escape_vjp<'py>(
    py: Python<'py>,
    grad: Values<'py>,
    points: Points<'py>,
    c: Complex64,
    max_iter: u32,
    radius: f64,
    smoothness: f64,
    executor: &str,
    threads: usize,
) -> Result<(Bound<'py, PyAny>, Complex64, f64, f64)> {
    let soft = soft_julia::Soft { c, max_iter, radius, smoothness };
    let run = OwnedRun::named(executor, threads, soft.work(points.len()))?;
    either!(grad, points, {
        let all = pull(py, grad, points, |g, p| soft_julia::soft_julia_vjp(g, p, soft, run.get()))?;
        Ok((all.points.into_pyarray(py).into_any(), all.c, all.radius, all.smoothness))
    })
}
