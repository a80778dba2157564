//! Dimensions, roughness and row statistics as NumPy arrays.

use crate::arrays::{flat, shape_of, typed};
use crate::detached::detached;
use crate::error::Result;
use fractal_kernels::dimension::boxes;
use fractal_kernels::dimension::correlation::{Apart, Cloud};
use fractal_kernels::dimension::edges::Edges;
use fractal_kernels::dimension::fit::{self, lines};
use fractal_kernels::dimension::foreground::{self as sets, Rule};
use fractal_kernels::dimension::grid::Ladder;
use fractal_kernels::dimension::lacunarity as gaps;
use fractal_kernels::dimension::measure::moments;
use fractal_kernels::dimension::profile::{Along, means};
use fractal_kernels::dimension::rollout::{self as layers, Fusion};
use fractal_kernels::dimension::rows::{NAMES, Questions, statistics};
use fractal_kernels::dimension::segments::{self, Segments};
use fractal_kernels::dimension::series::{self as curves, Detrending, ManySeries};
use fractal_kernels::dimension::support::{Domain, Matrices, Scalar, Support};
use fractal_kernels::dimension::surface::{cover, increments};
use fractal_kernels::error::Result as Refused;
use fractal_kernels::executor::Executor;
use fractal_kernels::simd::Run;
use fractal_kernels::{KernelError, memory};
use fractal_runtime::executors;
use fractal_runtime::run::OwnedRun;
use numpy::ndarray::Array;
use numpy::{
    Element, IntoPyArray, PyArray2, PyArray3, PyArray4, PyArrayDyn, PyReadonlyArrayDyn, PyUntypedArrayMethods,
};
use pyo3::prelude::*;

/// A support as Python names it: `full`, `causal`, `near` with its radius, `causal_near`, `listed` with its cells, (1 or
/// matrices, rows, columns), or `edges` with the number of columns, the starts of rows and their columns.
#[derive(FromPyObject)]
pub(crate) struct Named<'py>(String, usize, Option<Bound<'py, PyAny>>);

/// A support with its cells borrowed.
struct Borrowed<'py> {
    kind: String,
    radius: usize,
    cells: Option<PyReadonlyArrayDyn<'py, bool>>,
    edges: Option<(PyReadonlyArrayDyn<'py, i64>, PyReadonlyArrayDyn<'py, i32>)>,
}

impl Named<'_> {
    fn borrow(&self) -> Result<Borrowed<'_>> {
        let mut borrowed = Borrowed { kind: self.0.clone(), radius: self.1, cells: None, edges: None };
        match &self.2 {
            Some(parts) if self.0 == "edges" => {
                let (starts, keys): (Bound<'_, PyAny>, Bound<'_, PyAny>) = parts.extract()?;
                borrowed.edges = Some((typed(&starts, "support")?, typed(&keys, "support")?));
            }
            Some(cells) => borrowed.cells = Some(typed::<bool>(cells, "support")?),
            None => {}
        }
        Ok(borrowed)
    }
}

impl Borrowed<'_> {
    fn support(&self) -> Result<Support<'_>> {
        if let Some((starts, keys)) = &self.edges {
            let (starts, keys) = (flat(starts, "support")?, flat(keys, "support")?);
            return Ok(Support::Edges(Edges::new(starts, keys, self.radius)?));
        }
        Ok(match (self.kind.as_str(), &self.cells) {
            ("full", None) => Support::Full,
            ("causal", None) => Support::Causal,
            ("near", None) => Support::Near { radius: self.radius, causal: false },
            ("causal_near", None) => Support::Near { radius: self.radius, causal: true },
            ("listed", Some(cells)) => Support::Listed(flat(cells, "support")?),
            (kind, _) => return Err(KernelError::value("support", kind, "a support by name").into()),
        })
    }

    /// The support over an array of (matrices, rows, columns), or (matrices, edges).
    fn domain<T: Element>(&self, array: &PyReadonlyArrayDyn<'_, T>, name: &'static str) -> Result<Domain<'_>> {
        let support = self.support()?;
        let shape = match support {
            Support::Edges(edges) => [shape_of::<2, T>(array, name)?[0], edges.rows(), self.radius],
            _ => shape_of::<3, T>(array, name)?,
        };
        Ok(Domain::new(support, shape)?)
    }
}

/// Runs `$body` with `$given` as the matrices of either width, contiguous, (matrices, rows, columns).
macro_rules! with_matrices {
    ($values:ident, $name:literal, $support:ident, $given:ident, $body:expr) => {{
        let borrowed = $support.borrow()?;
        if $values.cast::<PyArrayDyn<f32>>().is_ok() {
            let array = typed::<f32>(&$values, $name)?;
            let $given = matrices(&array, $name, &borrowed)?;
            $body
        } else {
            let array = typed::<f64>(&$values, $name)?;
            let $given = matrices(&array, $name, &borrowed)?;
            $body
        }
    }};
}

fn matrices<'a, T: Scalar + Element>(
    array: &'a PyReadonlyArrayDyn<'_, T>,
    name: &'static str,
    support: &'a Borrowed<'_>,
) -> Result<Matrices<'a, T>> {
    Ok(Matrices::new(name, flat(array, name)?, support.domain(array, name)?)?)
}

/// An array of a kernel's numbers.
fn shaped<const N: usize, T: Element>(
    py: Python<'_>,
    data: Vec<T>,
    shape: [usize; N],
) -> Result<Bound<'_, numpy::PyArray<T, numpy::ndarray::Dim<[usize; N]>>>>
where
    numpy::ndarray::Dim<[usize; N]>: numpy::ndarray::Dimension,
    [usize; N]: numpy::ndarray::IntoDimension<Dim = numpy::ndarray::Dim<[usize; N]>>,
{
    let array =
        Array::from_shape_vec(shape, data).map_err(|error| KernelError::shape("result", error, "whole rows"))?;
    Ok(array.into_pyarray(py))
}

/// Runs a kernel on the default executor.
fn pooled<R: Send>(py: Python<'_>, kernel: impl FnOnce(&dyn Executor) -> Refused<R> + Send) -> Result<R> {
    let executor = executors::default()?;
    detached(py, || kernel(&*executor))
}

/// Runs a kernel with vector instructions on the default executor.
fn run<R: Send>(py: Python<'_>, kernel: impl FnOnce(Run<'_>) -> Refused<R> + Send) -> Result<R> {
    let owned = OwnedRun::pooled()?;
    detached(py, || kernel(owned.get()))
}

/// Boxes of each side that hold a true cell, (matrices, sides); of a support only `edges` count.
#[pyfunction]
pub(crate) fn box_counts<'py>(
    py: Python<'py>,
    set: Bound<'py, PyAny>,
    support: Named<'py>,
    scales: Vec<usize>,
    origin: [usize; 2],
) -> Result<Bound<'py, PyArray2<u64>>> {
    let set = typed::<bool>(&set, "set")?;
    let (borrowed, cells) = (support.borrow()?, flat(&set, "set")?);
    let domain = borrowed.domain(&set, "set")?;
    let shape = domain.shape();
    let ladder = Ladder::new(&scales, shape[1].max(shape[2]), origin)?;
    let counted = pooled(py, |executor| boxes::counts(cells, domain, &ladder, executor))?;
    shaped(py, counted, [shape[0], scales.len()])
}

/// The cells of a support, (1 or matrices, rows, columns).
#[pyfunction]
pub(crate) fn support_cells<'py>(
    py: Python<'py>,
    support: Named<'py>,
    shape: [usize; 3],
) -> Result<Bound<'py, PyArray3<bool>>> {
    let borrowed = support.borrow()?;
    let domain = Domain::new(borrowed.support()?, shape)?;
    domain.whole()?;
    let cells = pooled(py, |executor| domain.cells(executor))?;
    shaped(py, cells, [domain.different(), shape[1], shape[2]])
}

/// Which cells a rule puts into the set, in the shape of the weights.
#[pyfunction]
pub(crate) fn foreground<'py>(
    py: Python<'py>,
    weights: Bound<'py, PyAny>,
    support: Named<'py>,
    rule: &str,
    number: f64,
) -> Result<Bound<'py, PyArrayDyn<bool>>> {
    let rule = match rule {
        "above" => Rule::Above(number),
        "uniform" => Rule::AboveUniform(number),
        "mass" => Rule::TopMass(number),
        "quantile" => Rule::AboveQuantile(number),
        other => return Err(KernelError::value("foreground", other, "above, uniform, mass or quantile").into()),
    };
    with_matrices!(weights, "weights", support, given, {
        let set = pooled(py, |executor| sets::foreground(given, rule, executor))?;
        let shape: Vec<usize> = weights.cast::<numpy::PyUntypedArray>().map_err(PyErr::from)?.shape().to_vec();
        let array = Array::from_shape_vec(shape, set);
        Ok(array.map_err(|error| KernelError::shape("weights", error, "whole rows"))?.into_pyarray(py))
    })
}

/// Moments of the measure: `ln sum p^q`, mean of `ln p`, boxes, boxes left out; (matrices, sides, orders, 4).
#[pyfunction]
pub(crate) fn measure_moments<'py>(
    py: Python<'py>,
    weights: Bound<'py, PyAny>,
    support: Named<'py>,
    scales: Vec<usize>,
    q: Vec<f64>,
) -> Result<Bound<'py, PyArray4<f64>>> {
    with_matrices!(weights, "weights", support, given, {
        let [n, rows, columns] = given.domain().shape();
        let ladder = Ladder::new(&scales, rows.max(columns), [0, 0])?;
        let numbers = run(py, |run| {
            let moments = moments(given, &ladder, &q, run)?;
            let each = moments.iter().flat_map(|m| [m.log_sum, m.mean_log, m.boxes, m.left_out]);
            memory::collected("q", each)
        })?;
        shaped(py, numbers, [n, scales.len(), q.len(), 4])
    })
}

/// Mean weights by `distance` or by `key`, and the number of cells, (matrices, distances or keys, 2).
#[pyfunction]
pub(crate) fn mean_profile<'py>(
    py: Python<'py>,
    weights: Bound<'py, PyAny>,
    support: Named<'py>,
    along: &str,
) -> Result<Bound<'py, PyArray3<f64>>> {
    let along = match along {
        "distance" => Along::Distance,
        "key" => Along::Key,
        other => return Err(KernelError::value("along", other, "distance or key").into()),
    };
    with_matrices!(weights, "weights", support, given, {
        let n = given.domain().shape()[0];
        let found = pooled(py, |executor| means(given, along, executor))?;
        let wide = found.len() / (2 * n.max(1));
        shaped(py, found, [n, wide, 2])
    })
}

/// Gliding-box lacunarity and the number of boxes, (matrices, sides, 2).
#[pyfunction]
pub(crate) fn lacunarity<'py>(
    py: Python<'py>,
    weights: Bound<'py, PyAny>,
    support: Named<'py>,
    scales: Vec<usize>,
) -> Result<Bound<'py, PyArray3<f64>>> {
    with_matrices!(weights, "weights", support, given, {
        let found = pooled(py, |executor| gaps::lacunarity(given, &scales, executor))?;
        shaped(py, found, [given.domain().shape()[0], scales.len(), 2])
    })
}

/// Mean increments over lags and the number of pairs, (matrices, lags, 2).
#[pyfunction]
pub(crate) fn surface_increments<'py>(
    py: Python<'py>,
    values: Bound<'py, PyAny>,
    support: Named<'py>,
    scales: Vec<usize>,
    power: f64,
) -> Result<Bound<'py, PyArray3<f64>>> {
    with_matrices!(values, "values", support, given, {
        let found = pooled(py, |executor| increments(given, &scales, power, executor))?;
        shaped(py, found, [given.domain().shape()[0], scales.len(), 2])
    })
}

/// Boxes that cover the surface, (matrices, sides).
#[pyfunction]
pub(crate) fn surface_cover<'py>(
    py: Python<'py>,
    values: Bound<'py, PyAny>,
    support: Named<'py>,
    scales: Vec<usize>,
    floored: bool,
) -> Result<Bound<'py, PyArray2<f64>>> {
    with_matrices!(values, "values", support, given, {
        let [n, rows, columns] = given.domain().shape();
        let ladder = Ladder::new(&scales, rows.max(columns), [0, 0])?;
        let found = pooled(py, |executor| cover(given, &ladder, floored, executor))?;
        shaped(py, found, [n, scales.len()])
    })
}

/// Fluctuations of square segments around local trends, (matrices, orders, sides).
#[pyfunction]
pub(crate) fn surface_fluctuations<'py>(
    py: Python<'py>,
    values: Bound<'py, PyAny>,
    support: Named<'py>,
    scales: Vec<usize>,
    order: usize,
    q: Vec<f64>,
    profile: bool,
    corners: bool,
) -> Result<Bound<'py, PyArray3<f64>>> {
    let how = Segments { sides: &scales, order, orders: &q, profile, corners };
    with_matrices!(values, "values", support, given, {
        let found = pooled(py, |executor| segments::fluctuations(given, how, executor))?;
        shaped(py, found, [given.domain().shape()[0], q.len(), scales.len()])
    })
}

/// Higuchi's lengths, (series, kmax).
#[pyfunction]
pub(crate) fn higuchi_lengths<'py>(
    py: Python<'py>,
    series: Bound<'py, PyAny>,
    kmax: usize,
    last_step: bool,
) -> Result<Bound<'py, PyArray2<f64>>> {
    let array = typed::<f64>(&series, "series")?;
    let (shape, values) = (shape_of::<2, f64>(&array, "series")?, flat(&array, "series")?);
    let found = pooled(py, |executor| curves::higuchi(ManySeries::new(values, shape)?, kmax, last_step, executor))?;
    shaped(py, found, [shape[0], kmax])
}

/// Fluctuations around local trends, (series, orders, sizes).
#[pyfunction]
pub(crate) fn fluctuations<'py>(
    py: Python<'py>,
    series: Bound<'py, PyAny>,
    scales: Vec<usize>,
    order: usize,
    q: Vec<f64>,
    profile: bool,
    both_ends: bool,
) -> Result<Bound<'py, PyArray3<f64>>> {
    let array = typed::<f64>(&series, "series")?;
    let (shape, values) = (shape_of::<2, f64>(&array, "series")?, flat(&array, "series")?);
    let how = Detrending { sizes: &scales, order, orders: &q, profile, both_ends };
    let found = pooled(py, |executor| curves::fluctuations(ManySeries::new(values, shape)?, how, executor))?;
    shaped(py, found, [shape[0], q.len(), scales.len()])
}

fn cloud(points: &PyReadonlyArrayDyn<'_, f64>, metric: &str) -> Result<Cloud> {
    let apart = match metric {
        "euclidean" => Apart::Euclidean,
        "hellinger" => Apart::Hellinger,
        "jensen_shannon" => Apart::JensenShannon,
        other => return Err(KernelError::value("metric", other, "euclidean, hellinger or jensen_shannon").into()),
    };
    Ok(Cloud::new(flat(points, "points")?, shape_of(points, "points")?, apart)?)
}

/// The smallest distance above 0 and the largest.
#[pyfunction]
pub(crate) fn distance_extent(
    py: Python<'_>,
    points: Bound<'_, PyAny>,
    metric: &str,
    theiler: usize,
) -> Result<[f64; 2]> {
    let cloud = cloud(&typed(&points, "points")?, metric)?;
    pooled(py, |executor| cloud.extent(theiler, executor))
}

/// Pairs closer than each radius, and all pairs.
#[pyfunction]
pub(crate) fn closer_pairs(
    py: Python<'_>,
    points: Bound<'_, PyAny>,
    metric: &str,
    radii: Vec<f64>,
    theiler: usize,
) -> Result<Vec<u64>> {
    let cloud = cloud(&typed(&points, "points")?, metric)?;
    pooled(py, |executor| cloud.closer(&radii, theiler, executor))
}

/// Statistics of every row, (matrices, rows, statistics), and their names.
#[pyfunction]
#[pyo3(signature = (weights, support, top_p, top_k, below, sinks, local, tokens = None))]
pub(crate) fn row_statistics<'py>(
    py: Python<'py>,
    weights: Bound<'py, PyAny>,
    support: Named<'py>,
    top_p: f64,
    top_k: usize,
    below: f64,
    sinks: usize,
    local: usize,
    tokens: Option<Vec<i64>>,
) -> Result<(Bound<'py, PyArray3<f64>>, Vec<&'static str>)> {
    let asked = Questions { top_p, top_k, below, sinks, local, tokens: tokens.as_deref() };
    with_matrices!(weights, "weights", support, given, {
        let [n, rows, _] = given.domain().shape();
        let found = run(py, |run| statistics(given, asked, run))?;
        Ok((shaped(py, found.into_flattened(), [n, rows, NAMES.len()])?, NAMES.to_vec()))
    })
}

/// Attention rollout through all layers, (n, n).
#[pyfunction]
pub(crate) fn attention_rollout<'py>(
    py: Python<'py>,
    weights: Bound<'py, PyAny>,
    support: Named<'py>,
    layers: usize,
    residual: f64,
    heads: &str,
) -> Result<Bound<'py, PyArray2<f64>>> {
    let fusion = match heads {
        "mean" => Fusion::Mean,
        "max" => Fusion::Max,
        "min" => Fusion::Min,
        other => return Err(KernelError::value("heads", other, "mean, max or min").into()),
    };
    with_matrices!(weights, "weights", support, given, {
        let n = given.domain().shape()[1];
        let found = pooled(py, |executor| layers::rollout(given, layers, residual, fusion, executor))?;
        shaped(py, found, [n, n])
    })
}

/// Lines through the rows of y, (rows, points), over x: slope, intercept, its error, half of its interval, share
/// explained, bend and its t, points used; (rows, 8).
#[pyfunction]
pub(crate) fn fit_lines<'py>(py: Python<'py>, x: Vec<f64>, y: Bound<'py, PyAny>) -> Result<Bound<'py, PyArray2<f64>>> {
    let array = typed::<f64>(&y, "y")?;
    let ([rows, _], values) = (shape_of::<2, f64>(&array, "y")?, flat(&array, "y")?);
    let numbers =
        detached(py, || memory::collected("y", lines(&x, values, rows)?.into_iter().flat_map(fit::Line::row)))?;
    shaped(py, numbers, [rows, fit::WIDTH])
}
