//! Sparse attention over NumPy arrays, read in place with any strides.

use crate::error::Result;
use crate::index_sets::lookup;
use crate::simd::level;
use fractal_kernels::KernelError;
use fractal_kernels::attention::{
    Dropout, EdgeBias, Gradients, KeyBias, KeyLists, Problem, Saved, Storage, View, backward, backward_lists, forward,
    forward_lists,
};
use fractal_kernels::executor::Executor;
use fractal_kernels::plan::Plan;
use fractal_kernels::planned::PlannedSet;
use half::slice::HalfBitsSliceExt;
use half::{bf16, f16};
use numpy::{Element, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use std::sync::Arc;

/// How a storage type crosses the border: NumPy has no bf16, so halves travel as their bits.
trait Boundary: Storage<Acc: Element> {
    type Bits: Element + Copy;
    fn read(bits: &[Self::Bits]) -> &[Self];
    fn write(bits: &mut [Self::Bits]) -> &mut [Self];
}

macro_rules! as_itself {
    ($t:ty) => {
        impl Boundary for $t {
            type Bits = $t;
            fn read(bits: &[$t]) -> &[$t] {
                bits
            }
            fn write(bits: &mut [$t]) -> &mut [$t] {
                bits
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
            fn write(bits: &mut [u16]) -> &mut [$t] {
                bits.reinterpret_cast_mut()
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

/// What both passes are called with, borrowed from Python.
struct Inputs<'py, T: Boundary> {
    q: PyReadonlyArrayDyn<'py, T::Bits>,
    k: PyReadonlyArrayDyn<'py, T::Bits>,
    v: PyReadonlyArrayDyn<'py, T::Bits>,
    key_bias: Option<PyReadonlyArrayDyn<'py, T::Acc>>,
    edge_bias: Option<PyReadonlyArrayDyn<'py, T::Acc>>,
    key_padding: Option<PyReadonlyArrayDyn<'py, bool>>,
}

/// One call without the interpreter.
struct Call<'a, T: Boundary> {
    problem: Problem<'a, T>,
    /// Values and heads of a bias per pair.
    edge_bias: Option<(&'a [T::Acc], usize)>,
}

/// Which keys the queries attend to: an index set with its plans, or lists that hold for this call.
enum Keys<'py> {
    Set(Arc<PlannedSet>),
    Lists32(PyReadonlyArrayDyn<'py, i32>),
    Lists64(PyReadonlyArrayDyn<'py, i64>),
}

impl<'py> Keys<'py> {
    /// From a set's handle, or from an array.
    fn new(index_set: &Bound<'py, PyAny>) -> Result<Self> {
        if let Ok(handle) = index_set.extract::<i64>() {
            let living = || KernelError::value("index_set", format!("handle {handle}"), "a living IndexSet");
            return Ok(Self::Set(lookup(handle).ok_or_else(living)?));
        }
        if index_set.is_instance_of::<PyArrayDyn<i32>>() {
            return Ok(Self::Lists32(typed(index_set, "index_set")?));
        }
        Ok(Self::Lists64(typed(index_set, "index_set")?))
    }

    /// Multiply-adds of one pass, about.
    fn work(&self, q: &[usize]) -> usize {
        let heads = q.first().unwrap_or(&0) * q.get(1).unwrap_or(&0);
        let edges = match self {
            Self::Set(set) => set.set().nnz(),
            Self::Lists32(lists) => lists.shape().iter().rev().take(2).product(),
            Self::Lists64(lists) => lists.shape().iter().rev().take(2).product(),
        };
        edges.saturating_mul(heads).saturating_mul(2 * q.last().unwrap_or(&0))
    }
}

fn key_lists<'a, I: Element>(lists: &'a PyReadonlyArrayDyn<'_, I>) -> Result<KeyLists<'a, I>> {
    Ok(KeyLists { values: flat(lists, "index_set")?, shape: shape_of(lists, "index_set")? })
}

/// Values of a contiguous array.
fn flat<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>, name: &'static str) -> Result<&'a [T]> {
    Ok(array.as_slice().map_err(|_| KernelError::value(name, "a strided array", "a contiguous array"))?)
}

fn shape_of<const N: usize, T: Element>(array: &PyReadonlyArrayDyn<'_, T>, name: &'static str) -> Result<[usize; N]> {
    let wanted = || KernelError::shape(name, format!("shape {:?}", array.shape()), format!("{N} dimensions"));
    Ok(array.shape().try_into().map_err(|_| wanted())?)
}

impl<'py, T: Boundary> Inputs<'py, T> {
    fn new([q, k, v]: [&Bound<'py, PyAny>; 3], biases: [Option<&Bound<'py, PyAny>>; 3]) -> Result<Self> {
        let [key_bias, edge_bias, key_padding] = biases;
        Ok(Self {
            q: typed(q, "q")?,
            k: typed(k, "k")?,
            v: typed(v, "v")?,
            key_bias: key_bias.map(|a| typed(a, "bias")).transpose()?,
            edge_bias: edge_bias.map(|a| typed(a, "edge_bias")).transpose()?,
            key_padding: key_padding.map(|a| typed(a, "key_padding_mask")).transpose()?,
        })
    }

    fn call(&self, scale: f64, dropout: Dropout) -> Result<Call<'_, T>> {
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
                Some((flat(bias, "edge_bias")?, heads))
            }
            None => None,
        };
        let problem = Problem {
            q: view::<T>(&self.q, "q")?,
            k: view::<T>(&self.k, "k")?,
            v: view::<T>(&self.v, "v")?,
            scale,
            key_bias,
            key_padding: self.key_padding.as_ref().map(|p| flat(p, "key_padding_mask")).transpose()?,
            edge_bias: None,
            dropout: Some(dropout),
        };
        Ok(Call { problem, edge_bias })
    }
}

impl<'a, T: Boundary> Call<'a, T> {
    fn out_shape(&self) -> [usize; 4] {
        let [b, h, n, _] = self.problem.q.shape;
        [b, h, n, self.problem.v.shape[3]]
    }

    /// Calls a kernel with the plan of a set.
    fn run(
        mut self,
        set: &'a PlannedSet,
        executor: &dyn Executor,
        kernel: impl FnOnce(&Problem<'_, T>, &Plan) -> fractal_kernels::error::Result<()>,
    ) -> fractal_kernels::error::Result<()> {
        let plan = match self.edge_bias {
            Some((values, heads)) => {
                let (plan, map) = set.edge_plan(executor)?;
                self.problem.edge_bias = Some(EdgeBias { values, heads, map });
                plan
            }
            None => set.plan(executor)?,
        };
        kernel(&self.problem, plan)
    }

    /// The problem of a call that has no pairs to add a bias to.
    fn without_pairs(self) -> Result<Problem<'a, T>> {
        if self.edge_bias.is_some() {
            return Err(KernelError::value("edge_bias", "a bias per pair", "None with lists of keys").into());
        }
        Ok(self.problem)
    }
}

/// A contiguous array of the given shape, to be written.
fn writable<'py, T: Element>(
    array: &Bound<'py, PyAny>,
    name: &'static str,
    shape: &[usize],
) -> Result<PyReadwriteArrayDyn<'py, T>> {
    let wanted = std::any::type_name::<T>();
    let array = array
        .cast::<PyArrayDyn<T>>()
        .map_err(|_| KernelError::dtype(name, array.get_type(), format!("a NumPy array of {wanted}")))?;
    if array.shape() != shape || !array.is_c_contiguous() || array.data().addr() % align_of::<T>() != 0 {
        let given = format!("shape {:?}, contiguous: {}", array.shape(), array.is_c_contiguous());
        return Err(KernelError::shape(name, given, format!("shape {shape:?}, contiguous and aligned")).into());
    }
    Ok(array.try_readwrite().map_err(|e| KernelError::value(name, e, "an array that nobody else uses"))?)
}

/// Values of an array that [`writable`] let through.
fn values<'a, T: Element>(array: &'a mut PyReadwriteArrayDyn<'_, T>, name: &'static str) -> Result<&'a mut [T]> {
    Ok(array.as_slice_mut().map_err(|_| KernelError::value(name, "a strided array", "a contiguous array"))?)
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

/// Fills out (B, H, Nq, Dv) and lse (B, H, Nq), the output and the natural log-sum-exp.
#[pyfunction]
#[pyo3(signature = (out, lse, q, k, v, index_set, dtype, scale, key_bias=None, edge_bias=None, key_padding=None, dropout_p=0.0, seed=0, executor="rayon", threads=1))]
pub(crate) fn attention_forward<'py>(
    py: Python<'py>,
    out: &Bound<'py, PyAny>,
    lse: &Bound<'py, PyAny>,
    q: &Bound<'py, PyAny>,
    k: &Bound<'py, PyAny>,
    v: &Bound<'py, PyAny>,
    index_set: &Bound<'py, PyAny>,
    dtype: &str,
    scale: f64,
    key_bias: Option<&Bound<'py, PyAny>>,
    edge_bias: Option<&Bound<'py, PyAny>>,
    key_padding: Option<&Bound<'py, PyAny>>,
    dropout_p: f64,
    seed: u64,
    executor: &str,
    threads: usize,
) -> Result<()> {
    let keys = Keys::new(index_set)?;
    let dropout = Dropout { p: dropout_p, seed };
    with_storage!(dtype, T => {
        let inputs = Inputs::<T>::new([q, k, v], [key_bias, edge_bias, key_padding])?;
        let call = inputs.call(scale, dropout)?;
        let executor = &*crate::threads::executor(executor, threads, keys.work(inputs.q.shape()))?;
        let shape = call.out_shape();
        let (mut out, mut lse) = (writable(out, "out", &shape)?, writable(lse, "lse", &shape[..3])?);
        let (out, lse) = (T::write(values(&mut out, "out")?), values(&mut lse, "lse")?);
        let level = level()?;
        match &keys {
            Keys::Set(set) => py.detach(|| {
                call.run(set, executor, |problem, plan| forward(problem, plan, level, executor, out, lse))
            })?,
            Keys::Lists32(lists) => {
                let (problem, lists) = (call.without_pairs()?, key_lists(lists)?);
                py.detach(|| forward_lists(&problem, lists, level, executor, out, lse))?;
            }
            Keys::Lists64(lists) => {
                let (problem, lists) = (call.without_pairs()?, key_lists(lists)?);
                py.detach(|| forward_lists(&problem, lists, level, executor, out, lse))?;
            }
        }
        Ok(())
    })
}

/// Fills the gradients of q, k and v, and adds to those of the key bias and the edge bias, each in the shape of its
/// input.
#[pyfunction]
#[pyo3(signature = (dq, dk, dv, dkey_bias, dedge_bias, dout, dlse, q, k, v, out, lse, index_set, dtype, scale, key_bias=None, edge_bias=None, key_padding=None, dropout_p=0.0, seed=0, executor="rayon", threads=1))]
pub(crate) fn attention_backward<'py>(
    py: Python<'py>,
    dq: &Bound<'py, PyAny>,
    dk: &Bound<'py, PyAny>,
    dv: &Bound<'py, PyAny>,
    dkey_bias: Option<&Bound<'py, PyAny>>,
    dedge_bias: Option<&Bound<'py, PyAny>>,
    dout: &Bound<'py, PyAny>,
    dlse: Option<&Bound<'py, PyAny>>,
    q: &Bound<'py, PyAny>,
    k: &Bound<'py, PyAny>,
    v: &Bound<'py, PyAny>,
    out: &Bound<'py, PyAny>,
    lse: &Bound<'py, PyAny>,
    index_set: &Bound<'py, PyAny>,
    dtype: &str,
    scale: f64,
    key_bias: Option<&Bound<'py, PyAny>>,
    edge_bias: Option<&Bound<'py, PyAny>>,
    key_padding: Option<&Bound<'py, PyAny>>,
    dropout_p: f64,
    seed: u64,
    executor: &str,
    threads: usize,
) -> Result<()> {
    let keys = Keys::new(index_set)?;
    let dropout = Dropout { p: dropout_p, seed };
    with_storage!(dtype, T => {
        let inputs = Inputs::<T>::new([q, k, v], [key_bias, edge_bias, key_padding])?;
        let call = inputs.call(scale, dropout)?;
        let executor = &*crate::threads::executor(executor, threads, keys.work(inputs.q.shape()))?;
        let (out, dout) = (typed(out, "out")?, typed(dout, "dout")?);
        let (lse, dlse) = (typed(lse, "lse")?, dlse.map(|a| typed(a, "dlse")).transpose()?);
        let saved = Saved {
            out: view::<T>(&out, "out")?,
            dout: view::<T>(&dout, "dout")?,
            lse: flat(&lse, "lse")?,
            dlse: dlse.as_ref().map(|a| flat(a, "dlse")).transpose()?,
        };
        let [mut dq, mut dk, mut dv] = [
            writable(dq, "dq", inputs.q.shape())?,
            writable(dk, "dk", inputs.k.shape())?,
            writable(dv, "dv", inputs.v.shape())?,
        ];
        let mut dkey_bias = like(dkey_bias, inputs.key_bias.as_ref(), "dkey_bias")?;
        let mut dedge_bias = like(dedge_bias, inputs.edge_bias.as_ref(), "dedge_bias")?;
        let gradients = Gradients {
            q: T::write(values(&mut dq, "dq")?),
            k: T::write(values(&mut dk, "dk")?),
            v: T::write(values(&mut dv, "dv")?),
            key_bias: dkey_bias.as_mut().map(|a| values(a, "dkey_bias")).transpose()?,
            edge_bias: dedge_bias.as_mut().map(|a| values(a, "dedge_bias")).transpose()?,
        };
        let level = level()?;
        match &keys {
            Keys::Set(set) => py.detach(|| {
                call.run(set, executor, |problem, plan| backward(problem, plan, level, executor, saved, gradients))
            })?,
            Keys::Lists32(lists) => {
                let (problem, lists) = (call.without_pairs()?, key_lists(lists)?);
                py.detach(|| backward_lists(&problem, lists, level, executor, saved, gradients))?;
            }
            Keys::Lists64(lists) => {
                let (problem, lists) = (call.without_pairs()?, key_lists(lists)?);
                py.detach(|| backward_lists(&problem, lists, level, executor, saved, gradients))?;
            }
        }
        Ok(())
    })
}

/// Where the gradient of a bias goes: there if and only if the bias is, and in its shape.
fn like<'py, T: Element>(
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
