//! Force attention over NumPy arrays, read in place with any strides.

use crate::arrays::{Boundary, flat, shape_of, typed, values, view, writable};
use crate::attention::Source;
use crate::detached::detached;
use crate::error::Result;
use fractal_kernels::KernelError;
use fractal_kernels::attention::{Accumulator, ForceCall, ForceGradients, ForceProblem, ForceSaved};
use fractal_runtime::run::OwnedRun;
use numpy::{Element, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

/// One call, as Python names its parts (`fractal_core._calls.Force`).
#[derive(FromPyObject)]
pub(crate) struct ForceArrays<'py> {
    e: Bound<'py, PyAny>,
    r: Bound<'py, PyAny>,
    v: Bound<'py, PyAny>,
    a: Bound<'py, PyAny>,
    c: Bound<'py, PyAny>,
    strength: Bound<'py, PyAny>,
    rate: Bound<'py, PyAny>,
    index_set: Bound<'py, PyAny>,
    dtype: PyBackedStr,
    q: Option<Bound<'py, PyAny>>,
    k: Option<Bound<'py, PyAny>>,
    key_padding: Option<Bound<'py, PyAny>>,
    scale: f64,
    eps: f64,
    executor: PyBackedStr,
    threads: usize,
}

/// What the backward pass takes beside the call (`fractal_core._calls.ForceSaved`).
#[derive(FromPyObject)]
pub(crate) struct ForceSavedArrays<'py> {
    out: Bound<'py, PyAny>,
    lse: Bound<'py, PyAny>,
    dout: Bound<'py, PyAny>,
    dlse: Option<Bound<'py, PyAny>>,
}

/// Where the gradients go (`fractal_core._calls.ForceGradients`).
#[derive(FromPyObject)]
pub(crate) struct ForceGradientArrays<'py> {
    e: Bound<'py, PyAny>,
    r: Bound<'py, PyAny>,
    v: Bound<'py, PyAny>,
    a: Bound<'py, PyAny>,
    c: Bound<'py, PyAny>,
    strength: Bound<'py, PyAny>,
    rate: Bound<'py, PyAny>,
    q: Option<Bound<'py, PyAny>>,
    k: Option<Bound<'py, PyAny>>,
}

/// The arrays of a call, borrowed from Python.
struct ForceInputs<'py, T: Element> {
    points: [PyReadonlyArrayDyn<'py, T>; 2],
    v: PyReadonlyArrayDyn<'py, T>,
    shifts: [PyReadonlyArrayDyn<'py, T>; 2],
    constants: [PyReadonlyArrayDyn<'py, T>; 2],
    dots: Option<[PyReadonlyArrayDyn<'py, T>; 2]>,
    key_padding: Option<PyReadonlyArrayDyn<'py, bool>>,
    source: Source<'py>,
    scale: f64,
    eps: f64,
}

impl<'py, T: Accumulator + Boundary<Bits = T>> ForceInputs<'py, T> {
    fn new(call: &ForceArrays<'py>) -> Result<Self> {
        let dots = match call.q.as_ref().zip(call.k.as_ref()) {
            Some((q, k)) => Some([typed(q, "q")?, typed(k, "k")?]),
            None => None,
        };
        Ok(Self {
            points: [typed(&call.e, "e")?, typed(&call.r, "r")?],
            v: typed(&call.v, "v")?,
            shifts: [typed(&call.a, "a")?, typed(&call.c, "c")?],
            constants: [typed(&call.strength, "tau")?, typed(&call.rate, "length")?],
            dots,
            key_padding: call.key_padding.as_ref().map(|a| typed(a, "key_padding_mask")).transpose()?,
            source: Source::new(&call.index_set)?,
            scale: call.scale,
            eps: call.eps,
        })
    }

    fn call(&self) -> Result<ForceCall<'_, T>> {
        let dots = match &self.dots {
            Some([q, k]) => Some([view::<T>(q, "q")?, view::<T>(k, "k")?]),
            None => None,
        };
        let [a, c] = &self.shifts;
        let [strength, rate] = &self.constants;
        let problem = ForceProblem {
            e: view::<T>(&self.points[0], "e")?,
            r: view::<T>(&self.points[1], "r")?,
            v: view::<T>(&self.v, "v")?,
            dots,
            scale: self.scale,
            shifts: [flat(a, "a")?, flat(c, "c")?],
            strength: flat(strength, "tau")?,
            rate: flat(rate, "length")?,
            eps: self.eps,
            key_padding: self.key_padding.as_ref().map(|p| flat(p, "key_padding_mask")).transpose()?,
        };
        Ok(ForceCall { problem, keys: self.source.keys()? })
    }

    /// Shapes of results by head: of queries and of keys, as wide as given.
    fn shapes(&self, width: usize) -> Result<[[usize; 5]; 2]> {
        let [batch, groups, n, _] = shape_of(&self.points[0], "e")?;
        let [_, heads, m, _] = shape_of(&self.v, "v")?;
        Ok([n, m].map(|n| [batch, groups, n, heads / groups.max(1), width]))
    }
}

/// Runs `$body` with `$t` as the type that `$dtype` names.
macro_rules! with_accumulator {
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
            other => Err(KernelError::dtype("dtype", format!("{other:?}"), "\"f32\" or \"f64\"").into()),
        }
    };
}

/// Fills out (B, G, Nq, H / G, Dv) and lse (B, G, Nq, H / G), the natural log-sum-exp.
#[pyfunction]
pub(crate) fn force_forward<'py>(
    py: Python<'py>,
    call: ForceArrays<'py>,
    out: &Bound<'py, PyAny>,
    lse: &Bound<'py, PyAny>,
) -> Result<()> {
    with_accumulator!(&*call.dtype, T => {
        let inputs = ForceInputs::<T>::new(&call)?;
        let kernel = inputs.call()?;
        let run = OwnedRun::named(&call.executor, call.threads, kernel.work())?;
        let [shape, _] = inputs.shapes(kernel.problem.v.shape[3])?;
        let (mut out, mut lse) = (writable(out, "out", &shape)?, writable(lse, "lse", &shape[..4])?);
        let (out, lse) = (values(&mut out, "out")?, values(&mut lse, "lse")?);
        detached(py, || kernel.forward(run.get(), out, lse))
    })
}

/// Fills the gradients: of e and r in their shapes, of v, q and k as (B, G, N, H / G, width), of a and c as
/// (B, G, N, H / G), of strength and rate as (H,).
#[pyfunction]
pub(crate) fn force_backward<'py>(
    py: Python<'py>,
    call: ForceArrays<'py>,
    saved: ForceSavedArrays<'py>,
    gradients: ForceGradientArrays<'py>,
) -> Result<()> {
    with_accumulator!(&*call.dtype, T => {
        let inputs = ForceInputs::<T>::new(&call)?;
        let kernel = inputs.call()?;
        let run = OwnedRun::named(&call.executor, call.threads, kernel.work())?;
        let (out, dout) = (typed(&saved.out, "out")?, typed(&saved.dout, "dout")?);
        let lse = typed(&saved.lse, "lse")?;
        let dlse = saved.dlse.as_ref().map(|a| typed(a, "dlse")).transpose()?;
        let saved = ForceSaved {
            out: flat(&out, "out")?,
            lse: flat(&lse, "lse")?,
            dout: flat(&dout, "dout")?,
            dlse: dlse.as_ref().map(|a| flat(a, "dlse")).transpose()?,
        };
        let problem = &kernel.problem;
        let [_, of_values] = inputs.shapes(problem.v.shape[3])?;
        let [of_queries, of_keys] = inputs.shapes(problem.dots.map_or(0, |[q, _]| q.shape[3]))?;
        let mut e = writable(&gradients.e, "de", inputs.points[0].shape())?;
        let mut r = writable(&gradients.r, "dr", inputs.points[1].shape())?;
        let mut v = writable(&gradients.v, "dv", &of_values)?;
        let mut a = writable(&gradients.a, "da", &of_queries[..4])?;
        let mut c = writable(&gradients.c, "dc", &of_keys[..4])?;
        let mut strength = writable(&gradients.strength, "dtau", inputs.constants[0].shape())?;
        let mut rate = writable(&gradients.rate, "dlength", inputs.constants[1].shape())?;
        let mut q = gradients.q.as_ref().map(|a| writable(a, "dq", &of_queries)).transpose()?;
        let mut k = gradients.k.as_ref().map(|a| writable(a, "dk", &of_keys)).transpose()?;
        let gradients = ForceGradients {
            e: values(&mut e, "de")?,
            r: values(&mut r, "dr")?,
            v: values(&mut v, "dv")?,
            dots: [
                q.as_mut().map(|a| values(a, "dq")).transpose()?.unwrap_or_default(),
                k.as_mut().map(|a| values(a, "dk")).transpose()?.unwrap_or_default(),
            ],
            shifts: [values(&mut a, "da")?, values(&mut c, "dc")?],
            strength: values(&mut strength, "dtau")?,
            rate: values(&mut rate, "dlength")?,
        };
        detached(py, || kernel.backward(run.get(), saved, gradients))
    })
}
