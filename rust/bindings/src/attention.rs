//! Sparse attention over NumPy arrays, read in place with any strides.

use crate::error::Result;
use crate::index_sets::lookup;
use fractal_kernels::attention::reference::Head;
use fractal_kernels::{KernelError, index_set::IndexSet};
use numpy::{IntoPyArray, PyReadonlyArrayDyn};
use pyo3::prelude::*;
use std::sync::Arc;

fn set_of(key: i64) -> Result<Arc<IndexSet>> {
    lookup(key).ok_or_else(|| KernelError::value("index_set", format!("handle {key}"), "a living IndexSet").into())
}

/// Elements of a (B, H, N, D) array as f64, in C order.
fn read(array: &Bound<'_, PyAny>, dtype: &str) -> PyResult<(Vec<f64>, [usize; 4])> {
    fn go<T: numpy::Element + Copy>(a: &Bound<'_, PyAny>, f: impl Fn(T) -> f64) -> PyResult<(Vec<f64>, [usize; 4])> {
        let a: PyReadonlyArrayDyn<'_, T> = a.extract()?;
        let s = a.as_array();
        let s = s.shape();
        let shape = [s[0], s[1], s[2], s[3]];
        Ok((a.as_array().iter().map(|&x| f(x)).collect(), shape))
    }
    match dtype {
        "f64" => go::<f64>(array, |x| x),
        "f32" => go::<f32>(array, f64::from),
        "bf16" => go::<u16>(array, |x| half::bf16::from_bits(x).to_f64()),
        _ => go::<u16>(array, |x| half::f16::from_bits(x).to_f64()),
    }
}

fn write<'py>(py: Python<'py>, data: Vec<f64>, shape: &[usize], dtype: &str) -> Bound<'py, PyAny> {
    let array = ndarray::ArrayD::from_shape_vec(shape, data).expect("shape of our own making");
    match dtype {
        "f64" => array.into_pyarray(py).into_any(),
        "f32" => array.mapv(|x| x as f32).into_pyarray(py).into_any(),
        "bf16" => array.mapv(|x| half::bf16::from_f64(x).to_bits()).into_pyarray(py).into_any(),
        _ => array.mapv(|x| half::f16::from_f64(x).to_bits()).into_pyarray(py).into_any(),
    }
}

fn bias(array: Option<&Bound<'_, PyAny>>, dtype: &str) -> PyResult<Option<ndarray::ArrayD<f64>>> {
    array
        .map(|a| {
            Ok(if dtype == "f64" {
                let a: PyReadonlyArrayDyn<'_, f64> = a.extract()?;
                a.as_array().to_owned()
            } else {
                let a: PyReadonlyArrayDyn<'_, f32> = a.extract()?;
                a.as_array().mapv(f64::from)
            })
        })
        .transpose()
}

type Biases = (Option<Vec<f64>>, Option<Vec<f64>>);

fn head_bias(
    b: usize,
    h: usize,
    key_bias: Option<&ndarray::ArrayD<f64>>,
    edge_bias: Option<&ndarray::ArrayD<f64>>,
    padding: Option<&ndarray::ArrayD<bool>>,
    nk: usize,
) -> Biases {
    let mut kb =
        key_bias.map(|a| (0..nk).map(|j| a[[b.min(a.shape()[0] - 1), h.min(a.shape()[1] - 1), j]]).collect::<Vec<_>>());
    if let Some(p) = padding {
        let kb = kb.get_or_insert_with(|| vec![0.0; nk]);
        (0..nk).filter(|&j| p[[b, j]]).for_each(|j| kb[j] = f64::NEG_INFINITY);
    }
    let eb = edge_bias.map(|a| a.index_axis(ndarray::Axis(0), h.min(a.shape()[0] - 1)).iter().copied().collect());
    (kb, eb)
}

/// Output (B, H, Nq, Dv) and natural log-sum-exp (B, H, Nq).
#[pyfunction]
#[pyo3(signature = (q, k, v, key, dtype, scale, key_bias=None, edge_bias=None, key_padding=None, dropout_p=0.0, seed=0, executor="rayon"))]
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
    key_padding: Option<PyReadonlyArrayDyn<'py, bool>>,
    dropout_p: f64,
    seed: u64,
    executor: &str,
) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let _ = (dropout_p, seed, executor);
    let set = set_of(key)?;
    let ((q, sq), (k, sk), (v, sv)) = (read(q, dtype)?, read(k, dtype)?, read(v, dtype)?);
    let (kb, eb) = (bias(key_bias, dtype)?, bias(edge_bias, dtype)?);
    let pad = key_padding.map(|p| p.as_array().to_owned());
    let (d, dv, g) = (sq[3], sv[3], sq[1] / sk[1]);
    let (mut out, mut lse) = (Vec::new(), Vec::new());
    for b in 0..sq[0] {
        for h in 0..sq[1] {
            let kv = b * sk[1] + h / g;
            let (kb, eb) = head_bias(b, h, kb.as_ref(), eb.as_ref(), pad.as_ref(), sk[2]);
            let head = Head {
                q: &q[(b * sq[1] + h) * sq[2] * d..][..sq[2] * d],
                k: &k[kv * sk[2] * d..][..sk[2] * d],
                v: &v[kv * sk[2] * dv..][..sk[2] * dv],
                d,
                dv,
                scale,
                key_bias: kb.as_deref(),
                edge_bias: eb.as_deref(),
            };
            let (o, l) = head.forward(&set);
            out.extend(o);
            lse.extend(l);
        }
    }
    let lse_type = if dtype == "f64" { "f64" } else { "f32" };
    Ok((write(py, out, &[sq[0], sq[1], sq[2], dv], dtype), write(py, lse, &sq[..3], lse_type)))
}

type FiveArrays<'py> =
    (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>);

/// Gradients of q, k, v, the key bias and the edge bias, each in the shape of what was given.
#[pyfunction]
#[pyo3(signature = (dout, q, k, v, out, lse, key, dtype, scale, key_bias=None, edge_bias=None, key_padding=None, dropout_p=0.0, seed=0, executor="rayon", dlse=None))]
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
    key_padding: Option<PyReadonlyArrayDyn<'py, bool>>,
    dropout_p: f64,
    seed: u64,
    executor: &str,
    dlse: Option<&Bound<'py, PyAny>>,
) -> Result<FiveArrays<'py>> {
    let _ = (dropout_p, seed, executor, out, lse);
    let set = set_of(key)?;
    let ((q, sq), (k, sk), (v, sv)) = (read(q, dtype)?, read(k, dtype)?, read(v, dtype)?);
    let (go, _) = read(dout, dtype)?;
    let gl = bias(dlse, dtype)?;
    let (kb, eb) = (bias(key_bias, dtype)?, bias(edge_bias, dtype)?);
    let pad = key_padding.map(|p| p.as_array().to_owned());
    let (d, dv, g) = (sq[3], sv[3], sq[1] / sk[1]);
    let mut gq = vec![0.0; q.len()];
    let mut gk = vec![0.0; k.len()];
    let mut gv = vec![0.0; v.len()];
    let mut gkb = kb.as_ref().map(|a| ndarray::ArrayD::zeros(a.raw_dim()));
    let mut geb = eb.as_ref().map(|a| ndarray::ArrayD::zeros(a.raw_dim()));
    let add = |into: &mut [f64], from: &[f64]| into.iter_mut().zip(from).for_each(|(x, y)| *x += y);
    for b in 0..sq[0] {
        for h in 0..sq[1] {
            let kv = b * sk[1] + h / g;
            let row = b * sq[1] + h;
            let (hkb, heb) = head_bias(b, h, kb.as_ref(), eb.as_ref(), pad.as_ref(), sk[2]);
            let head = Head {
                q: &q[row * sq[2] * d..][..sq[2] * d],
                k: &k[kv * sk[2] * d..][..sk[2] * d],
                v: &v[kv * sk[2] * dv..][..sk[2] * dv],
                d,
                dv,
                scale,
                key_bias: hkb.as_deref(),
                edge_bias: heb.as_deref(),
            };
            let dl: Option<Vec<f64>> = gl.as_ref().map(|a| (0..sq[2]).map(|i| a[[b, h, i]]).collect());
            let grads = head.backward(&set, &go[row * sq[2] * dv..][..sq[2] * dv], dl.as_deref());
            add(&mut gq[row * sq[2] * d..][..sq[2] * d], &grads.q);
            add(&mut gk[kv * sk[2] * d..][..sk[2] * d], &grads.k);
            add(&mut gv[kv * sk[2] * dv..][..sk[2] * dv], &grads.v);
            if let Some(a) = &mut gkb {
                let (bb, hh) = (b.min(a.shape()[0] - 1), h.min(a.shape()[1] - 1));
                (0..sk[2]).for_each(|j| a[[bb, hh, j]] += grads.key_bias[j]);
            }
            if let Some(a) = &mut geb {
                let hh = h.min(a.shape()[0] - 1);
                (0..set.nnz()).for_each(|e| a[[hh, e]] += grads.edge_bias[e]);
            }
        }
    }
    let acc = if dtype == "f64" { "f64" } else { "f32" };
    let back = |py, a: ndarray::ArrayD<f64>| {
        let shape = a.shape().to_vec();
        write(py, a.into_raw_vec_and_offset().0, &shape, acc)
    };
    Ok((
        write(py, gq, &sq, dtype),
        write(py, gk, &sk, dtype),
        write(py, gv, &sv, dtype),
        gkb.map(|a| back(py, a)),
        geb.map(|a| back(py, a)),
    ))
}
