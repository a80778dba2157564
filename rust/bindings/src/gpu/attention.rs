//! Attention of arrays in the CPU's memory, on the GPU.

use super::options::options;
use crate::detached::released;
use crate::error::Result;
use fractal_gpu::{Context, GpuError, attention, process};
use fractal_kernels::KernelError;
use fractal_kernels::attention::{Call, Gradients, LogSums, Saved, Storage};
use fractal_kernels::executor::Executor;
use half::{bf16, f16};
use pyo3::prelude::*;
use std::sync::Arc;

/// A storage type of calls. The GPU refuses it unless it says what computes it.
pub(crate) trait OnGpu: Storage {
    fn forward(
        _: &Arc<Context>,
        _: &Call<'_, Self>,
        _: &dyn Executor,
        _: &mut [Self],
        _: LogSums<'_, Self::Acc>,
    ) -> fractal_gpu::Result<()> {
        Err(refused())
    }

    fn backward(
        _: &Arc<Context>,
        _: &Call<'_, Self>,
        _: &dyn Executor,
        _: Saved<'_, Self>,
        _: Gradients<'_, Self>,
    ) -> fractal_gpu::Result<()> {
        Err(refused())
    }
}

/// Shaders compute in single precision.
fn refused() -> GpuError {
    KernelError::dtype("q", "float64", "float32, float16 or bfloat16 on the GPU").into()
}

impl OnGpu for f64 {}

macro_rules! computed {
    ($($t:ty),*) => {
        $(impl OnGpu for $t {
            fn forward(
                context: &Arc<Context>,
                call: &Call<'_, Self>,
                executor: &dyn Executor,
                out: &mut [Self],
                logs: LogSums<'_, f32>,
            ) -> fractal_gpu::Result<()> {
                attention::forward(context, call, executor, out, logs)
            }

            fn backward(
                context: &Arc<Context>,
                call: &Call<'_, Self>,
                executor: &dyn Executor,
                saved: Saved<'_, Self>,
                gradients: Gradients<'_, Self>,
            ) -> fractal_gpu::Result<()> {
                attention::backward(context, call, executor, saved, gradients)
            }
        })*
    };
}
computed!(f32, f16, bf16);

/// Fills the output and the log-sums.
pub(crate) fn forward<T: OnGpu>(
    py: Python<'_>,
    call: &Call<'_, T>,
    executor: &dyn Executor,
    out: &mut [T],
    logs: LogSums<'_, T::Acc>,
) -> Result<()> {
    let options = options(py)?;
    let LogSums { lse, mut rest } = logs;
    released(py, move || {
        process::with(&options, |context| {
            T::forward(context, call, executor, out, LogSums { lse, rest: rest.as_deref_mut() })
        })
    })
}

/// Fills the gradients, and adds to those of the biases. Nothing is written before everything is computed.
pub(crate) fn backward<T: OnGpu>(
    py: Python<'_>,
    call: &Call<'_, T>,
    executor: &dyn Executor,
    saved: Saved<'_, T>,
    gradients: Gradients<'_, T>,
) -> Result<()> {
    let options = options(py)?;
    let Gradients { q, k, v, mut key_bias, mut edge_bias, .. } = gradients;
    released(py, move || {
        process::with(&options, |context| {
            let (key_bias, edge_bias) = (key_bias.as_deref_mut(), edge_bias.as_deref_mut());
            T::backward(context, call, executor, saved, Gradients { q, k, v, key_bias, edge_bias, distances: None })
        })
    })
}
