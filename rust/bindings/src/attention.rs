//! Sparse attention over NumPy arrays, read in place with any strides.

use crate::arrays::{Boundary, flat, shape_of, typed, values, view, writable};
use crate::detached::detached;
use crate::error::Result;
use crate::index_sets::living;
use fractal_kernels::KernelError;
use fractal_kernels::attention::{
    Call, DistanceBias, Dropout, EdgeBias, Gradients, KeyBias, KeyLists, Keys, ListValues, LogSums, Modifiers, Problem,
    Saved,
};
use fractal_kernels::plan::PlannedSet;
use fractal_runtime::run::OwnedRun;
use numpy::{Element, PyArrayDyn, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use std::sync::Arc;

/// One call of attention, as Python names its parts (`fractal_core._calls.Attention`).
#[derive(FromPyObject)]
pub(crate) struct AttentionCall<'py> {
    q: Bound<'py, PyAny>,
    k: Bound<'py, PyAny>,
    v: Bound<'py, PyAny>,
    index_set: Bound<'py, PyAny>,
    pub(crate) dtype: PyBackedStr,
    scale: f64,
    key_bias: Option<Bound<'py, PyAny>>,
    edge_bias: Option<Bound<'py, PyAny>>,
    key_padding: Option<Bound<'py, PyAny>>,
    dropout_p: f64,
    seed: u64,
    pub(crate) executor: PyBackedStr,
    pub(crate) threads: usize,
    pub(crate) device: PyBackedStr,
    modifiers: Option<ModifierArrays<'py>>,
}

/// Modifiers of the scores (`fractal_core._calls.Modifiers`).
#[derive(FromPyObject)]
struct ModifierArrays<'py> {
    soft_cap: Option<f64>,
    distances: Option<Bound<'py, PyAny>>,
    origin: i64,
    query_places: Option<Bound<'py, PyAny>>,
    key_places: Option<Bound<'py, PyAny>>,
    sinks: Option<Bound<'py, PyAny>>,
}

/// Whether a call runs on the GPU.
pub(crate) fn on_gpu(device: &str) -> Result<bool> {
    match device {
        "cpu" => Ok(false),
        "gpu" if cfg!(feature = "gpu") => Ok(true),
        other => {
            let allowed = if cfg!(feature = "gpu") { "cpu, gpu" } else { "cpu, in a build without the feature `gpu`" };
            Err(KernelError::value("device", format!("{other:?}"), allowed).into())
        }
    }
}

/// What the backward pass takes beside the call (`fractal_core._calls.Saved`).
#[derive(FromPyObject)]
pub(crate) struct SavedArrays<'py> {
    out: Bound<'py, PyAny>,
    lse: Bound<'py, PyAny>,
    lse_rest: Bound<'py, PyAny>,
    dout: Bound<'py, PyAny>,
    dlse: Option<Bound<'py, PyAny>>,
}

/// Where the gradients go (`fractal_core._calls.Gradients`).
#[derive(FromPyObject)]
pub(crate) struct GradientArrays<'py> {
    q: Bound<'py, PyAny>,
    k: Bound<'py, PyAny>,
    v: Bound<'py, PyAny>,
    key_bias: Option<Bound<'py, PyAny>>,
    edge_bias: Option<Bound<'py, PyAny>>,
    distances: Option<Bound<'py, PyAny>>,
}

/// The arrays of a call, borrowed from Python.
pub(crate) struct Inputs<'py, T: Boundary> {
    pub(crate) q: PyReadonlyArrayDyn<'py, T::Bits>,
    pub(crate) k: PyReadonlyArrayDyn<'py, T::Bits>,
    v: PyReadonlyArrayDyn<'py, T::Bits>,
    source: Source<'py>,
    pub(crate) key_bias: Option<PyReadonlyArrayDyn<'py, T::Acc>>,
    pub(crate) edge_bias: Option<PyReadonlyArrayDyn<'py, T::Acc>>,
    key_padding: Option<PyReadonlyArrayDyn<'py, bool>>,
    distances: Option<PyReadonlyArrayDyn<'py, T::Acc>>,
    places: Option<[PyReadonlyArrayDyn<'py, i32>; 2]>,
    sinks: Option<PyReadonlyArrayDyn<'py, T::Acc>>,
}

/// Which keys the queries attend to, borrowed from Python.
pub(crate) enum Source<'py> {
    Set(Arc<PlannedSet>),
    Lists32(PyReadonlyArrayDyn<'py, i32>),
    Lists64(PyReadonlyArrayDyn<'py, i64>),
}

impl<'py> Source<'py> {
    /// From a set's handle, or from an array.
    pub(crate) fn new(index_set: &Bound<'py, PyAny>) -> Result<Self> {
        if let Ok(handle) = index_set.extract::<i64>() {
            return Ok(Self::Set(living(handle)?));
        }
        if index_set.is_instance_of::<PyArrayDyn<i32>>() {
            return Ok(Self::Lists32(typed(index_set, "index_set")?));
        }
        Ok(Self::Lists64(typed(index_set, "index_set")?))
    }

    pub(crate) fn keys(&self) -> Result<Keys<'_>> {
        let (values, shape) = match self {
            Self::Set(set) => return Ok(Keys::Set(set)),
            Self::Lists32(lists) => (ListValues::I32(flat(lists, "index_set")?), shape_of(lists, "index_set")?),
            Self::Lists64(lists) => (ListValues::I64(flat(lists, "index_set")?), shape_of(lists, "index_set")?),
        };
        Ok(Keys::Lists(KeyLists { values, shape }))
    }
}

impl<'py, T: Boundary> Inputs<'py, T> {
    pub(crate) fn new(call: &AttentionCall<'py>) -> Result<Self> {
        let given = call.modifiers.as_ref();
        let places = given.and_then(|m| m.query_places.as_ref().zip(m.key_places.as_ref()));
        Ok(Self {
            q: typed(&call.q, "q")?,
            k: typed(&call.k, "k")?,
            v: typed(&call.v, "v")?,
            source: Source::new(&call.index_set)?,
            key_bias: call.key_bias.as_ref().map(|a| typed(a, "bias")).transpose()?,
            edge_bias: call.edge_bias.as_ref().map(|a| typed(a, "edge_bias")).transpose()?,
            key_padding: call.key_padding.as_ref().map(|a| typed(a, "key_padding_mask")).transpose()?,
            distances: given.and_then(|m| m.distances.as_ref()).map(|a| typed(a, "modifiers")).transpose()?,
            places: match places {
                Some((queries, keys)) => Some([typed(queries, "modifiers")?, typed(keys, "modifiers")?]),
                None => None,
            },
            sinks: given.and_then(|m| m.sinks.as_ref()).map(|a| typed(a, "modifiers")).transpose()?,
        })
    }

    pub(crate) fn call(&self, given: &AttentionCall<'py>) -> Result<Call<'_, T>> {
        let key_bias = match &self.key_bias {
            Some(bias) => {
                let [batch, heads, _] = shape_of(bias, "bias")?;
                Some(KeyBias { values: flat(bias, "bias")?, batch, heads })
            }
            None => None,
        };
        let edge_bias = match &self.edge_bias {
            Some(bias) => {
                let [heads, _] = shape_of(bias, "edge_bias")?;
                Some(EdgeBias { values: flat(bias, "edge_bias")?, heads })
            }
            None => None,
        };
        let problem = Problem {
            q: view::<T>(&self.q, "q")?,
            k: view::<T>(&self.k, "k")?,
            v: view::<T>(&self.v, "v")?,
            scale: given.scale,
            key_bias,
            key_padding: self.key_padding.as_ref().map(|p| flat(p, "key_padding_mask")).transpose()?,
            edge_bias,
            dropout: Some(Dropout { p: given.dropout_p, seed: given.seed }),
            modifiers: self.modifiers(given.modifiers.as_ref())?,
        };
        Ok(Call { problem, keys: self.source.keys()? })
    }
}

impl<T: Boundary> Inputs<'_, T> {
    fn modifiers(&self, given: Option<&ModifierArrays<'_>>) -> Result<Modifiers<'_, T::Acc>> {
        let places = match &self.places {
            Some([queries, keys]) => Some((flat(queries, "modifiers")?, flat(keys, "modifiers")?)),
            None => None,
        };
        let distances = match &self.distances {
            Some(values) => {
                let ([heads, _], origin) = (shape_of(values, "modifiers")?, given.map_or(0, |m| m.origin));
                Some(DistanceBias { values: flat(values, "modifiers")?, heads, origin, places })
            }
            None => None,
        };
        Ok(Modifiers {
            soft_cap: given.and_then(|m| m.soft_cap),
            distances,
            sinks: self.sinks.as_ref().map(|a| flat(a, "modifiers")).transpose()?,
        })
    }
}

/// Runs `$body` with `$t` as the storage type that `$dtype` names.
macro_rules! with_storage {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            "f32" => {
                type $t = f32;
                $body
            }
            "f64" => {
                type $t = f64;
                $body
            }
            "bf16" => {
                type $t = half::bf16;
                $body
            }
            "f16" => {
                type $t = half::f16;
                $body
            }
            other => {
                Err(KernelError::dtype("dtype", format!("{other:?}"), "\"f32\", \"f64\", \"bf16\" or \"f16\"").into())
            }
        }
    };
}

pub(crate) use with_storage;

/// Fills out (B, H, Nq, Dv) and lse (B, H, Nq), the output and the natural log-sum-exp, and, if it is given, `lse_rest`
/// (B, H, Nq), the rounding error of lse.
#[pyfunction]
#[pyo3(signature = (call, out, lse, lse_rest=None))]
pub(crate) fn attention_forward<'py>(
    py: Python<'py>,
    call: AttentionCall<'py>,
    out: &Bound<'py, PyAny>,
    lse: &Bound<'py, PyAny>,
    lse_rest: Option<&Bound<'py, PyAny>>,
) -> Result<()> {
    with_storage!(&*call.dtype, T => {
        let inputs = Inputs::<T>::new(&call)?;
        let kernel = inputs.call(&call)?;
        let run = OwnedRun::named(&call.executor, call.threads, kernel.work())?;
        let shape = kernel.problem.out_shape();
        let (mut out, mut lse) = (writable(out, "out", &shape)?, writable(lse, "lse", &shape[..3])?);
        let mut rest = lse_rest.map(|a| writable(a, "lse_rest", &shape[..3])).transpose()?;
        let out = T::write(values(&mut out, "out")?);
        let logs = LogSums {
            lse: values(&mut lse, "lse")?,
            rest: rest.as_mut().map(|a| values(a, "lse_rest")).transpose()?,
        };
        let gpu = on_gpu(&call.device)?;
        #[cfg(feature = "gpu")]
        if gpu {
            return crate::gpu::attention::forward(py, &kernel, run.get().executor(), out, logs);
        }
        debug_assert!(!gpu, "refused above");
        detached(py, || kernel.forward(run.get(), out, logs))
    })
}

/// Fills the gradients of q, k and v, and adds to those of the key bias and the edge bias, each in the shape of its
/// input.
#[pyfunction]
pub(crate) fn attention_backward<'py>(
    py: Python<'py>,
    call: AttentionCall<'py>,
    saved: SavedArrays<'py>,
    gradients: GradientArrays<'py>,
) -> Result<()> {
    with_storage!(&*call.dtype, T => {
        let inputs = Inputs::<T>::new(&call)?;
        let kernel = inputs.call(&call)?;
        let run = OwnedRun::named(&call.executor, call.threads, kernel.work())?;
        let (out, dout) = (typed(&saved.out, "out")?, typed(&saved.dout, "dout")?);
        let (lse, rest) = (typed(&saved.lse, "lse")?, typed(&saved.lse_rest, "lse_rest")?);
        let dlse = saved.dlse.as_ref().map(|a| typed(a, "dlse")).transpose()?;
        let saved = Saved {
            out: view::<T>(&out, "out")?,
            dout: view::<T>(&dout, "dout")?,
            lse: flat(&lse, "lse")?,
            rest: flat(&rest, "lse_rest")?,
            dlse: dlse.as_ref().map(|a| flat(a, "dlse")).transpose()?,
        };
        let [mut dq, mut dk, mut dv] = [
            writable(&gradients.q, "dq", inputs.q.shape())?,
            writable(&gradients.k, "dk", inputs.k.shape())?,
            writable(&gradients.v, "dv", inputs.v.shape())?,
        ];
        let mut dkey_bias = like(gradients.key_bias.as_ref(), inputs.key_bias.as_ref(), "dkey_bias")?;
        // Computed only where it is asked for.
        let table = inputs.distances.as_ref().filter(|_| gradients.distances.is_some());
        let mut ddistances = like(gradients.distances.as_ref(), table, "ddistances")?;
        let mut dedge_bias = like(gradients.edge_bias.as_ref(), inputs.edge_bias.as_ref(), "dedge_bias")?;
        let gradients = Gradients {
            q: T::write(values(&mut dq, "dq")?),
            k: T::write(values(&mut dk, "dk")?),
            v: T::write(values(&mut dv, "dv")?),
            key_bias: dkey_bias.as_mut().map(|a| values(a, "dkey_bias")).transpose()?,
            edge_bias: dedge_bias.as_mut().map(|a| values(a, "dedge_bias")).transpose()?,
            distances: ddistances.as_mut().map(|a| values(a, "ddistances")).transpose()?,
        };
        let gpu = on_gpu(&call.device)?;
        #[cfg(feature = "gpu")]
        if gpu {
            return crate::gpu::attention::backward(py, &kernel, run.get().executor(), saved, gradients);
        }
        debug_assert!(!gpu, "refused above");
        detached(py, || kernel.backward(run.get(), saved, gradients))
    })
}

/// The array for the gradient of a bias: given if and only if the bias is, and in its shape.
pub(crate) fn like<'py, T: Element>(
    gradient: Option<&Bound<'py, PyAny>>,
    bias: Option<&PyReadonlyArrayDyn<'py, T>>,
    name: &'static str,
) -> Result<Option<PyReadwriteArrayDyn<'py, T>>> {
    match (gradient, bias) {
        (Some(gradient), Some(bias)) => Ok(Some(writable(gradient, name, bias.shape())?)),
        (None, None) => Ok(None),
        (given, _) => {
            let given = if given.is_some() { "an array" } else { "None" };
            Err(KernelError::value(name, given, "an array where the bias is one, else None").into())
        }
    }
}
