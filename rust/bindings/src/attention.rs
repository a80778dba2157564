//! Sparse attention over NumPy arrays, read in place with any strides.

use crate::error::Result;
use crate::index_sets::lookup;
use crate::simd::level;
use crate::threads::executor;
use fractal_kernels::KernelError;
use fractal_kernels::attention::{
    Dropout, EdgeBias, Gradients, KeyBias, Problem, Saved, Storage, View, backward, forward,
};
use fractal_kernels::planned::PlannedSet;
use half::slice::HalfBitsSliceExt;
use half::vec::HalfFloatVecExt;
use half::{bf16, f16};
use numpy::{
    Element, IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods,
    ndarray::{ArrayD, IxDyn},
};
use pyo3::prelude::*;
use std::sync::Arc;

/// How a storage type crosses the border: NumPy has no bf16, so halves travel as their bits.
trait Boundary: Storage<Acc: Element> {
    type Bits: Element + Copy;
    fn read(bits: &[Self::Bits]) -> &[Self];
    fn write(values: Vec<Self>) -> Vec<Self::Bits>;
}

macro_rules! as_itself {
    ($t:ty) => {
        impl Boundary for $t {
            type Bits = $t;
            fn read(bits: &[$t]) -> &[$t] {
                bits
            }
            fn write(values: Vec<$t>) -> Vec<$t> {
                values
            }
        }
    };
}
as_itself!(f32);
as_itself!(f64);

macro_rules! as_bits {
    ($t:ty) => {
        impl Boundary for $t {
            type Bits = u16;
            fn read(bits: &[u16]) -> &[$t] {
                bits.reinterpret_cast()
            }
            fn write(values: Vec<$t>) -> Vec<u16> {
                values.reinterpret_into()
            }
        }
    };
}
as_bits!(bf16);
as_bits!(f16);

fn typed<'py, T: Element>(array: &Bound<'py, PyAny>, name: &'static str) -> Result<PyReadonlyArrayDyn<'py, T>> {
    let wanted = std::any::type_name::<T>();
    let array = array
        .cast::<PyArrayDyn<T>>()
        .map_err(|_| KernelError::dtype(name, array.get_type(), format!("a NumPy array of {wanted}")))?;
    if array.data().addr() % align_of::<T>() != 0 {
        return Err(KernelError::value(name, "an unaligned array", "an aligned array").into());
    }
    Ok(array.try_readonly().map_err(|e| KernelError::value(name, e, "an array that nobody is writing"))?)
}

/// A (B, H, N, D) array in place; its last dimension must be contiguous.
fn view<'a, T: Boundary>(array: &'a PyReadonlyArrayDyn<'_, T::Bits>, name: &'static str) -> Result<View<'a, T>> {
    let size = size_of::<T>() as isize;
    let (shape, strides) = (array.shape(), array.strides());
    let &[b, h, n, d] = shape else {
        return Err(KernelError::shape(name, format!("shape {shape:?}"), "(batch, heads, length, width)").into());
    };
    if d > 1 && strides[3] != size {
        let given = format!("a last dimension with stride {}", strides[3] / size);
        return Err(KernelError::value(name, given, "a contiguous last dimension").into());
    }
    let strides = [strides[0] / size, strides[1] / size, strides[2] / size];
    let reach = |n: usize, stride: isize| (n as isize - 1) * stride;
    let (mut low, mut high) = (0, d as isize);
    for (n, stride) in [b, h, n].into_iter().zip(strides) {
        low += reach(n, stride).min(0);
        high += reach(n, stride).max(0);
    }
    if shape.contains(&0) {
        return Ok(View { data: &[], offset: 0, strides, shape: [b, h, n, d] });
    }
    // SAFETY: NumPy's shape and strides say that every element between the lowest and the highest one lies in the
    // array's own allocation; the read-only borrow keeps it alive and, within the rules of rust-numpy, unwritten.
    let bits = unsafe { std::slice::from_raw_parts(array.data().offset(low).cast_const(), (high - low) as usize) };
    Ok(View { data: T::read(bits), offset: low.unsigned_abs(), strides, shape: [b, h, n, d] })
}

/// Values and heads of a bias per pair.
type EdgeValues<'a, T> = (&'a [<T as Storage>::Acc], usize);

/// What both passes are called with, borrowed.
struct Call<'a, 'py, T: Boundary> {
    q: &'a PyReadonlyArrayDyn<'py, T::Bits>,
    k: &'a PyReadonlyArrayDyn<'py, T::Bits>,
    v: &'a PyReadonlyArrayDyn<'py, T::Bits>,
    key_bias: &'a Option<PyReadonlyArrayDyn<'py, T::Acc>>,
    edge_bias: &'a Option<PyReadonlyArrayDyn<'py, T::Acc>>,
    key_padding: &'a Option<PyReadonlyArrayDyn<'py, bool>>,
    scale: f64,
    dropout: Dropout,
}

/// Values of a contiguous array.
fn flat<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>, name: &'static str) -> Result<&'a [T]> {
    Ok(array.as_slice().map_err(|_| KernelError::value(name, "a strided array", "a contiguous array"))?)
}

fn shape_of<const N: usize, T: Element>(array: &PyReadonlyArrayDyn<'_, T>, name: &'static str) -> Result<[usize; N]> {
    let wanted = || KernelError::shape(name, format!("shape {:?}", array.shape()), format!("{N} dimensions"));
    Ok(array.shape().try_into().map_err(|_| wanted())?)
}

impl<'a, T: Boundary> Call<'a, '_, T> {
    fn problem(&self) -> Result<Problem<'a, T>> {
        let key_bias = match self.key_bias {
            Some(bias) => {
                let [batch, heads, _] = shape_of(bias, "bias")?;
                Some(KeyBias { values: flat(bias, "bias")?, batch, heads })
            }
            None => None,
        };
        Ok(Problem {
            q: view::<T>(self.q, "q")?,
            k: view::<T>(self.k, "k")?,
            v: view::<T>(self.v, "v")?,
            scale: self.scale,
            key_bias,
            key_padding: self.key_padding.as_ref().map(|p| flat(p, "key_padding_mask")).transpose()?,
            edge_bias: None,
            dropout: Some(self.dropout),
        })
    }

    fn edge_values(&self) -> Result<Option<EdgeValues<'a, T>>> {
        let Some(bias) = self.edge_bias else { return Ok(None) };
        let [heads, _] = shape_of(bias, "edge_bias")?;
        Ok(Some((flat(bias, "edge_bias")?, heads)))
    }
}

/// The planned set of a key.
fn planned(key: i64) -> Result<Arc<PlannedSet>> {
    lookup(key).ok_or_else(|| KernelError::value("index_set", format!("handle {key}"), "a living IndexSet").into())
}

/// Multiply-adds of one pass, about.
fn work(set: &PlannedSet, shape: &[usize]) -> usize {
    let heads = shape.first().unwrap_or(&0) * shape.get(1).unwrap_or(&0);
    set.set().nnz().saturating_mul(heads).saturating_mul(2 * shape.last().unwrap_or(&0))
}

fn array<'py, T: Element>(py: Python<'py>, values: Vec<T>, shape: &[usize]) -> Result<Bound<'py, PyAny>> {
    let array = ArrayD::from_shape_vec(IxDyn(shape), values)
        .map_err(|e| KernelError::shape("result", e, format!("{shape:?}")))?;
    Ok(array.into_pyarray(py).into_any())
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
                type $t = bf16;
                $body
            }
            "f16" => {
                type $t = f16;
                $body
            }
            other => {
                Err(KernelError::dtype("dtype", format!("{other:?}"), "\"f32\", \"f64\", \"bf16\" or \"f16\"").into())
            }
        }
    };
}

/// Output (B, H, Nq, Dv) and natural log-sum-exp (B, H, Nq).
#[pyfunction]
#[pyo3(signature = (q, k, v, key, dtype, scale, key_bias=None, edge_bias=None, key_padding=None, dropout_p=0.0, seed=0, executor="rayon", threads=1))]
pub(crate) fn attention_forward<'py>(
    py: Python<'py>,
    q: &Bound<'py, PyAny>,
    k: &Bound<'py, PyAny>,
    v: &Bound<'py, PyAny>,
    key: i64,
    dtype: &str,
    scale: f64,
    key_bias: Option<&Bound<'py, PyAny>>,
    edge_bias: Option<&Bound<'py, PyAny>>,
    key_padding: Option<&Bound<'py, PyAny>>,
    dropout_p: f64,
    seed: u64,
    executor: &str,
    threads: usize,
) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let biases = (key_bias, edge_bias, key_padding);
    let dropout = Dropout { p: dropout_p, seed };
    with_storage!(dtype, T => run_forward::<T>(py, [q, k, v], biases, key, scale, dropout, executor, threads))
}

type Biases<'a, 'py> = (Option<&'a Bound<'py, PyAny>>, Option<&'a Bound<'py, PyAny>>, Option<&'a Bound<'py, PyAny>>);

fn run_forward<'py, T: Boundary>(
    py: Python<'py>,
    [q, k, v]: [&Bound<'py, PyAny>; 3],
    (key_bias, edge_bias, key_padding): Biases<'_, 'py>,
    key: i64,
    scale: f64,
    dropout: Dropout,
    executor_name: &str,
    threads: usize,
) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let set = planned(key)?;
    let (q, k, v) = (typed(q, "q")?, typed(k, "k")?, typed(v, "v")?);
    let call = Call::<T> {
        q: &q,
        k: &k,
        v: &v,
        key_bias: &key_bias.map(|a| typed(a, "bias")).transpose()?,
        edge_bias: &edge_bias.map(|a| typed(a, "edge_bias")).transpose()?,
        key_padding: &key_padding.map(|a| typed(a, "key_padding_mask")).transpose()?,
        scale,
        dropout,
    };
    let (mut problem, edges) = (call.problem()?, call.edge_values()?);
    let [b, h, n, _] = problem.q.shape;
    let shape = [b, h, n, problem.v.shape[3]];
    let executor = executor(executor_name, threads, work(&set, q.shape()))?;
    let (out, lse) = py.detach(|| {
        let plan = match edges {
            Some((values, heads)) => {
                let (plan, map) = set.edge_plan(&*executor)?;
                problem.edge_bias = Some(EdgeBias { values, heads, map });
                plan
            }
            None => set.plan(&*executor)?,
        };
        let mut out = vec![T::default(); shape.iter().product()];
        let mut lse = vec![T::Acc::default(); b * h * n];
        forward(&problem, plan, level()?, &*executor, &mut out, &mut lse)?;
        Ok::<_, KernelError>((out, lse))
    })?;
    Ok((array(py, T::write(out), &shape)?, array(py, lse, &shape[..3])?))
}

type FiveArrays<'py> =
    (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

/// Gradients of q, k, v, the key bias and the edge bias, each in the shape of what was given.
#[pyfunction]
#[pyo3(signature = (dout, q, k, v, out, lse, key, dtype, scale, key_bias=None, edge_bias=None, key_padding=None, dropout_p=0.0, seed=0, executor="rayon", dlse=None, threads=1))]
pub(crate) fn attention_backward<'py>(
    py: Python<'py>,
    dout: &Bound<'py, PyAny>,
    q: &Bound<'py, PyAny>,
    k: &Bound<'py, PyAny>,
    v: &Bound<'py, PyAny>,
    out: &Bound<'py, PyAny>,
    lse: &Bound<'py, PyAny>,
    key: i64,
    dtype: &str,
    scale: f64,
    key_bias: Option<&Bound<'py, PyAny>>,
    edge_bias: Option<&Bound<'py, PyAny>>,
    key_padding: Option<&Bound<'py, PyAny>>,
    dropout_p: f64,
    seed: u64,
    executor: &str,
    dlse: Option<&Bound<'py, PyAny>>,
    threads: usize,
) -> Result<FiveArrays<'py>> {
    let biases = (key_bias, edge_bias, key_padding);
    let dropout = Dropout { p: dropout_p, seed };
    let saved = (out, lse, dout, dlse);
    with_storage!(dtype, T => run_backward::<T>(py, [q, k, v], saved, biases, key, scale, dropout, executor, threads))
}

/// out, lse, dout and dlse.
type SavedArrays<'a, 'py> =
    (&'a Bound<'py, PyAny>, &'a Bound<'py, PyAny>, &'a Bound<'py, PyAny>, Option<&'a Bound<'py, PyAny>>);

fn run_backward<'py, T: Boundary>(
    py: Python<'py>,
    [q, k, v]: [&Bound<'py, PyAny>; 3],
    (out, lse, dout, dlse): SavedArrays<'_, 'py>,
    (key_bias, edge_bias, key_padding): Biases<'_, 'py>,
    key: i64,
    scale: f64,
    dropout: Dropout,
    executor_name: &str,
    threads: usize,
) -> Result<FiveArrays<'py>> {
    let set = planned(key)?;
    let (q, k, v) = (typed(q, "q")?, typed(k, "k")?, typed(v, "v")?);
    let call = Call::<T> {
        q: &q,
        k: &k,
        v: &v,
        key_bias: &key_bias.map(|a| typed(a, "bias")).transpose()?,
        edge_bias: &edge_bias.map(|a| typed(a, "edge_bias")).transpose()?,
        key_padding: &key_padding.map(|a| typed(a, "key_padding_mask")).transpose()?,
        scale,
        dropout,
    };
    let (mut problem, edges) = (call.problem()?, call.edge_values()?);
    let (out, dout) = (typed(out, "out")?, typed(dout, "dout")?);
    let lse = typed::<T::Acc>(lse, "lse")?;
    let dlse = dlse.map(|a| typed::<T::Acc>(a, "dlse")).transpose()?;
    let saved = Saved {
        out: view::<T>(&out, "out")?,
        dout: view::<T>(&dout, "dout")?,
        lse: flat(&lse, "lse")?,
        dlse: dlse.as_ref().map(|a| flat(a, "dlse")).transpose()?,
    };
    let executor = executor(executor_name, threads, work(&set, q.shape()))?;
    let shapes = [problem.q.shape, problem.k.shape, problem.v.shape];
    let biased = (problem.key_bias.as_ref().map(|b| b.values.len()), edges.map(|e| e.0.len()));
    let (grads, by_key, by_edge) = py.detach(|| {
        let plan = match edges {
            Some((values, heads)) => {
                let (plan, map) = set.edge_plan(&*executor)?;
                problem.edge_bias = Some(EdgeBias { values, heads, map });
                plan
            }
            None => set.plan(&*executor)?,
        };
        let mut grads = shapes.map(|shape| vec![T::default(); shape.iter().product()]);
        let [dq, dk, dv] = &mut grads;
        let mut by_key = biased.0.map(|n| vec![T::Acc::default(); n]);
        let mut by_edge = biased.1.map(|n| vec![T::Acc::default(); n]);
        let gradients =
            Gradients { q: dq, k: dk, v: dv, key_bias: by_key.as_deref_mut(), edge_bias: by_edge.as_deref_mut() };
        backward(&problem, plan, level()?, &*executor, saved, gradients)?;
        Ok::<_, KernelError>((grads, by_key, by_edge))
    })?;
    let [dq, dk, dv] = grads;
    let shaped = |values: Option<Vec<T::Acc>>, like: Option<&PyReadonlyArrayDyn<'py, T::Acc>>| {
        values.zip(like).map(|(values, like)| array(py, values, like.shape())).transpose()
    };
    Ok((
        array(py, T::write(dq), &shapes[0])?,
        array(py, T::write(dk), &shapes[1])?,
        array(py, T::write(dv), &shapes[2])?,
        shaped(by_key, call.key_bias.as_ref())?,
        shaped(by_edge, call.edge_bias.as_ref())?,
    ))
}
