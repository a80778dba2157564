//! The calls: each holds the kernels of its storage against the CPU's before their first use on a device.

use super::backward::{ResidentGradients, ResidentSaved};
use super::check::family;
use super::forward::Forward;
use super::host;
use super::operands::Operands;
use super::tensor::Element;
use crate::context::Context;
use crate::error::Result;
use fractal_kernels::attention::{Call, Gradients, Keys, LogSums, Saved};
use fractal_kernels::executor::Executor;
use std::sync::Arc;

/// Fills `out (B, H, Nq, Dv)` and the log-sums, all contiguous, as the CPU's call does.
pub fn forward<T: Element>(
    context: &Arc<Context>,
    call: &Call<'_, T>,
    executor: &dyn Executor,
    out: &mut [T],
    logs: LogSums<'_, f32>,
) -> Result<()> {
    context.trust(&family::<T>())?;
    host::forward(context, call, executor, out, logs)
}

/// Fills the gradients, and adds to those of the biases, as the CPU's call does.
pub fn backward<T: Element>(
    context: &Arc<Context>,
    call: &Call<'_, T>,
    executor: &dyn Executor,
    saved: Saved<'_, T>,
    gradients: Gradients<'_, T>,
) -> Result<()> {
    context.trust(&family::<T>())?;
    host::backward(context, call, executor, saved, gradients)
}

/// Output and log-sums of tensors that lie on the device, submitted and not waited for.
pub fn forward_resident<T: Element>(
    context: &Arc<Context>,
    operands: &Operands<'_>,
    keys: &Keys<'_>,
    executor: &dyn Executor,
) -> Result<Forward> {
    context.trust(&family::<T>())?;
    host::forward_resident::<T>(context, operands, keys, executor)
}

/// Gradients of tensors that lie on the device, submitted and not waited for.
pub fn backward_resident<T: Element>(
    context: &Arc<Context>,
    operands: &Operands<'_>,
    keys: &Keys<'_>,
    executor: &dyn Executor,
    saved: &ResidentSaved<'_>,
) -> Result<ResidentGradients> {
    context.trust(&family::<T>())?;
    host::backward_resident::<T>(context, operands, keys, executor, saved)
}
