//! The calls: each holds the kernels of its storage against the CPU's before their first use on a device.

use super::backward::{ResidentGradients, ResidentSaved};
use super::check::family;
use super::forward::Forward;
use super::host;
use super::operands::Operands;
use super::parts::in_parts;
use super::tensor::Element;
use crate::context::Context;
use crate::error::Result;
use fractal_kernels::attention::{Call, Gradients, Keys, LogSums, Saved};
use fractal_kernels::executor::Executor;
use fractal_kernels::memory;
use std::sync::Arc;

/// Fills `out (B, H, Nq, Dv)` and the log-sums, all contiguous, as the CPU's call does; in parts where one binding, or the
/// device's memory, is too small for all of it.
pub fn forward<T: Element>(
    context: &Arc<Context>,
    call: &Call<'_, T>,
    executor: &dyn Executor,
    out: &mut [T],
    mut logs: LogSums<'_, f32>,
) -> Result<()> {
    call.problem.check_outputs(out, &logs)?;
    call.check(executor)?;
    context.trust(&family::<T>(call.problem.modifiers.soft_cap.is_some()))?;
    in_parts(context, call, |part, call| {
        let (out, logs) = (part.of_mut(out), part.logs(&mut logs));
        host::forward(context, call, part.first(), executor, out, logs)
    })
}

/// Fills the gradients, and adds to those of the biases, as the CPU's call does; in parts likewise. Where it fails, nothing
/// is added.
pub fn backward<T: Element>(
    context: &Arc<Context>,
    call: &Call<'_, T>,
    executor: &dyn Executor,
    saved: Saved<'_, T>,
    gradients: Gradients<'_, T>,
) -> Result<()> {
    call.problem.check_gradients(&saved, &gradients)?;
    call.check(executor)?;
    context.trust(&family::<T>(call.problem.modifiers.soft_cap.is_some()))?;
    let Gradients { q, k, v, key_bias, edge_bias, .. } = gradients;
    let zeros = |of: &Option<&mut [f32]>| of.as_ref().map(|of| memory::zeros::<f32>("bias", of.len())).transpose();
    let (mut of_keys, mut of_edges) = (zeros(&key_bias)?, zeros(&edge_bias)?);
    let mut all =
        Gradients { q, k, v, key_bias: of_keys.as_deref_mut(), edge_bias: of_edges.as_deref_mut(), distances: None };
    in_parts(context, call, |part, of_part| {
        let (saved, gradients) = (part.saved(&saved), part.gradients(&call.problem, &mut all));
        host::backward(context, of_part, part.first(), executor, saved, gradients)
    })?;
    for (to, from) in [(key_bias, of_keys), (edge_bias, of_edges)] {
        if let (Some(to), Some(from)) = (to, from) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }
    Ok(())
}

/// Output and log-sums of tensors that lie on the device, submitted and not waited for.
pub fn forward_resident<T: Element>(
    context: &Arc<Context>,
    operands: &Operands<'_>,
    keys: &Keys<'_>,
    executor: &dyn Executor,
) -> Result<Forward> {
    context.trust(&family::<T>(operands.soft_cap.is_some()))?;
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
    context.trust(&family::<T>(operands.soft_cap.is_some()))?;
    host::backward_resident::<T>(context, operands, keys, executor, saved)
}
