//! Statistics of sparse attention, and the weights of chosen rows.

use crate::arrays::{Boundary, flat, typed, values, writable};
use crate::attention::{AttentionCall, Inputs, like, on_gpu, with_storage};
use crate::detached::detached;
use crate::error::Result;
use fractal_kernels::KernelError;
use fractal_kernels::attention::{Gradients, StatisticsGradients, WeightStatistics};
use fractal_runtime::run::OwnedRun;
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// Where statistics go (`fractal_core._calls.Statistics`).
#[derive(FromPyObject)]
pub(crate) struct StatisticsArrays<'py> {
    entropy: Bound<'py, PyAny>,
    maximum: Bound<'py, PyAny>,
    mean_distance: Bound<'py, PyAny>,
    column_mass: Bound<'py, PyAny>,
}

/// The gradients of statistics (`fractal_core._calls.StatisticsGradients`).
#[derive(FromPyObject)]
pub(crate) struct GivenArrays<'py> {
    entropy: Option<Bound<'py, PyAny>>,
    mean_distance: Option<Bound<'py, PyAny>>,
    column_mass: Option<Bound<'py, PyAny>>,
}

/// Where the gradients go (`fractal_core._calls.Gradients`, but v).
#[derive(FromPyObject)]
pub(crate) struct IntoArrays<'py> {
    q: Bound<'py, PyAny>,
    k: Bound<'py, PyAny>,
    key_bias: Option<Bound<'py, PyAny>>,
    edge_bias: Option<Bound<'py, PyAny>>,
}

/// Refuses the GPU.
fn on_cpu(call: &AttentionCall<'_>) -> Result<()> {
    if on_gpu(&call.device)? {
        return Err(KernelError::value("device", "\"gpu\"", "\"cpu\"").into());
    }
    Ok(())
}

/// Fills statistics of the weights in the accumulation dtype: entropy, maximum and mean distance (B, H, Nq), query i
/// standing at key `first_position + i`, and the mass of keys (B, H, Nk). The call's v is its k.
#[pyfunction]
pub(crate) fn attention_statistics<'py>(
    py: Python<'py>,
    call: AttentionCall<'py>,
    first_position: i64,
    out: StatisticsArrays<'py>,
) -> Result<()> {
    on_cpu(&call)?;
    with_storage!(&*call.dtype, T => {
        let inputs = Inputs::<T>::new(&call)?;
        let kernel = inputs.call(&call)?;
        let run = OwnedRun::named(&call.executor, call.threads, kernel.work())?;
        let [batch, heads, n, _] = kernel.problem.q.shape;
        let (rows, columns) = ([batch, heads, n], [batch, heads, kernel.problem.k.shape[2]]);
        let mut entropy = writable(&out.entropy, "entropy", &rows)?;
        let mut maximum = writable(&out.maximum, "maximum", &rows)?;
        let mut distance = writable(&out.mean_distance, "mean_distance", &rows)?;
        let mut mass = writable(&out.column_mass, "column_mass", &columns)?;
        let out = WeightStatistics {
            entropy: values(&mut entropy, "entropy")?,
            maximum: values(&mut maximum, "maximum")?,
            distance: values(&mut distance, "mean_distance")?,
            columns: values(&mut mass, "column_mass")?,
        };
        detached(py, || kernel.statistics(run.get(), first_position, out))
    })
}

/// Fills the gradients of q and k that those of statistics give, and adds to those of the key bias and the edge bias,
/// each in the shape of its input.
#[pyfunction]
pub(crate) fn attention_statistics_backward<'py>(
    py: Python<'py>,
    call: AttentionCall<'py>,
    first_position: i64,
    given: GivenArrays<'py>,
    gradients: IntoArrays<'py>,
) -> Result<()> {
    on_cpu(&call)?;
    with_storage!(&*call.dtype, T => {
        let inputs = Inputs::<T>::new(&call)?;
        let kernel = inputs.call(&call)?;
        let run = OwnedRun::named(&call.executor, call.threads, kernel.work())?;
        let entropy = given.entropy.as_ref().map(|a| typed(a, "dentropy")).transpose()?;
        let distance = given.mean_distance.as_ref().map(|a| typed(a, "dmean_distance")).transpose()?;
        let columns = given.column_mass.as_ref().map(|a| typed(a, "dcolumn_mass")).transpose()?;
        let given = StatisticsGradients {
            entropy: entropy.as_ref().map(|a| flat(a, "dentropy")).transpose()?,
            distance: distance.as_ref().map(|a| flat(a, "dmean_distance")).transpose()?,
            columns: columns.as_ref().map(|a| flat(a, "dcolumn_mass")).transpose()?,
            first_position,
        };
        let mut dq = writable(&gradients.q, "dq", inputs.q.shape())?;
        let mut dk = writable(&gradients.k, "dk", inputs.k.shape())?;
        let mut dkey_bias = like(gradients.key_bias.as_ref(), inputs.key_bias.as_ref(), "dkey_bias")?;
        let mut dedge_bias = like(gradients.edge_bias.as_ref(), inputs.edge_bias.as_ref(), "dedge_bias")?;
        let gradients = Gradients {
            q: T::write(values(&mut dq, "dq")?),
            k: T::write(values(&mut dk, "dk")?),
            v: &mut [],
            key_bias: dkey_bias.as_mut().map(|a| values(a, "dkey_bias")).transpose()?,
            edge_bias: dedge_bias.as_mut().map(|a| values(a, "dedge_bias")).transpose()?,
            distances: None,
        };
        detached(py, || kernel.statistics_backward(run.get(), given, gradients))
    })
}

/// Fills weights (B, H, edges of the rows) in the accumulation dtype, the chosen rows of the index set one after the
/// other.
#[pyfunction]
pub(crate) fn attention_weights<'py>(
    py: Python<'py>,
    call: AttentionCall<'py>,
    rows: &Bound<'py, PyAny>,
    weights: &Bound<'py, PyAny>,
) -> Result<()> {
    on_cpu(&call)?;
    with_storage!(&*call.dtype, T => {
        let inputs = Inputs::<T>::new(&call)?;
        let kernel = inputs.call(&call)?;
        let run = OwnedRun::named(&call.executor, call.threads, kernel.work())?;
        let rows = typed::<i64>(rows, "rows")?;
        let [batch, heads, ..] = kernel.problem.q.shape;
        let edges = weights.cast::<PyUntypedArray>().ok().and_then(|a| a.shape().last().copied()).unwrap_or(0);
        let mut weights = writable(weights, "weights", &[batch, heads, edges])?;
        let (rows, weights) = (flat(&rows, "rows")?, values(&mut weights, "weights")?);
        detached(py, || kernel.weights(run.get(), rows, weights))
    })
}
