//! Both passes, on a device that need not be trusted: plans are found, and one list of work is submitted. Calls from the
//! CPU's memory have been checked, as they may be parts of others.

use super::backward::{self as backward_pass, BothPlans, ResidentGradients, ResidentSaved, SavedLogs};
use super::forward::{self as forward_pass, Forward};
use super::operands::Operands;
use super::tensor::{Element, Tensor, VECTOR};
use crate::context::Context;
use crate::error::Result;
use fractal_kernels::KernelError;
use fractal_kernels::attention::{self as cpu, Call, Keys, LogSums, Modifiers, Problem, View};
use fractal_kernels::executor::Executor;
use fractal_kernels::plan::Plan;
use std::ops::Range;
use std::sync::Arc;

/// Plans of lists, which hold for one call; a set keeps its own.
fn plans_of_lists<T: Element>(
    problem: &Problem<'_, T>,
    keys: &Keys<'_>,
    executor: &dyn Executor,
) -> Result<Vec<(Range<usize>, Plan)>> {
    match keys {
        Keys::Set(_) => Ok(Vec::new()),
        Keys::Lists(lists) => Ok(lists.plans(problem, executor)?),
    }
}

fn upload<'a, T: Element>(context: &Arc<Context>, problem: &Problem<'a, T>, first: [u32; 2]) -> Result<Operands<'a>> {
    Ok(Operands {
        q: Tensor::upload(context, &problem.q)?,
        k: Tensor::upload(context, &problem.k)?,
        v: Tensor::upload(context, &problem.v)?,
        scale: problem.scale,
        key_bias: problem.key_bias,
        key_padding: problem.key_padding,
        edge_bias: problem.edge_bias,
        dropout: problem.dropout,
        soft_cap: problem.modifiers.soft_cap,
        first,
    })
}

/// Checks a call on tensors of the device as the CPU's would be, every row the same, and gives the plans of its lists.
fn lists_of_resident<T: Element>(
    operands: &Operands<'_>,
    keys: &Keys<'_>,
    executor: &dyn Executor,
) -> Result<Vec<(Range<usize>, Plan)>> {
    let row = vec![T::default(); operands.q.shape[3].max(operands.k.shape[3]).max(operands.v.shape[3])];
    let view = |tensor: &Tensor| View { data: &row[..], offset: 0, strides: [0; 3], shape: tensor.shape };
    let problem = Problem {
        q: view(&operands.q),
        k: view(&operands.k),
        v: view(&operands.v),
        scale: operands.scale,
        key_bias: operands.key_bias,
        key_padding: operands.key_padding,
        edge_bias: operands.edge_bias,
        dropout: operands.dropout,
        modifiers: Modifiers { soft_cap: operands.soft_cap, ..Modifiers::default() },
    };
    let call = Call { problem, keys: *keys };
    call.check(executor)?;
    plans_of_lists(&call.problem, keys, executor)
}

/// Fills `out (B, H, Nq, Dv)` and the log-sums, all contiguous, as the CPU's call does. `first` are the batch and the head
/// that the call begins with, as dropout counts them.
pub(super) fn forward<T: Element>(
    context: &Arc<Context>,
    call: &Call<'_, T>,
    first: [u32; 2],
    executor: &dyn Executor,
    out: &mut [T],
    logs: LogSums<'_, f32>,
) -> Result<()> {
    let Call { problem, keys } = call;
    let lists = plans_of_lists(problem, keys, executor)?;
    let operands = upload(context, problem, first)?;
    let plans = operands.plans(context, keys, &lists, false, executor)?;
    let mut commands = context.record();
    let result = forward_pass::record::<T>(context, &mut commands, &operands, &plans)?;
    let (lse, rest) = (context.alloc(result.logs.lse()?.bytes)?, context.alloc(result.logs.lse()?.bytes)?);
    commands.copy(result.logs.lse()?, &lse)?;
    commands.copy(result.logs.rest()?, &rest)?;
    let [values, lse, rest] = commands.submit_reading([result.out.buffer, lse, rest])?;
    unpad(&values.cast::<T>()?, problem.v.shape[3], out);
    logs.lse.copy_from_slice(&lse.cast::<f32>()?);
    if let Some(to) = logs.rest {
        to.copy_from_slice(&rest.cast::<f32>()?);
    }
    Ok(())
}

/// Fills the gradients, and adds to those of the biases, as the CPU's call does.
pub(super) fn backward<T: Element>(
    context: &Arc<Context>,
    call: &Call<'_, T>,
    first: [u32; 2],
    executor: &dyn Executor,
    saved: cpu::Saved<'_, T>,
    gradients: cpu::Gradients<'_, T>,
) -> Result<()> {
    let Call { problem, keys } = call;
    let lists = plans_of_lists(problem, keys, executor)?;
    let operands = upload(context, problem, first)?;
    let plans = both_plans(context, &operands, keys, &lists, executor)?;
    let saved = ResidentSaved {
        out: Tensor::upload(context, &saved.out)?,
        dout: Tensor::upload(context, &saved.dout)?,
        logs: SavedLogs::Host([saved.lse, saved.rest]),
        dlse: saved.dlse,
    };
    let mut commands = context.record();
    let result = backward_pass::record::<T>(context, &mut commands, &operands, &plans, &saved)?;
    let key_bias = result.copied(result.key_bias, &mut commands)?;
    let edge_bias = result.copied(result.edge_bias, &mut commands)?;
    let (keys, values_at) = (result.keys as usize, result.values_at as usize);
    let [q, kv, key_bias, edge_bias] = commands.submit_reading([result.q.buffer, result.kv, key_bias, edge_bias])?;
    unpad(&q.cast::<T>()?, problem.q.shape[3], gradients.q);
    let kv = kv.cast::<T>()?;
    unpad(&kv[..keys / size_of::<T>()], problem.k.shape[3], gradients.k);
    unpad(&kv[values_at / size_of::<T>()..], problem.v.shape[3], gradients.v);
    // Where padding gives every batch a bias of its own, batches are added one after the other.
    if let (Some(to), Some(_)) = (gradients.key_bias, problem.key_bias) {
        let from = key_bias.cast::<f32>()?;
        from.chunks_exact(to.len()).for_each(|from| to.iter_mut().zip(from).for_each(|(to, from)| *to += from));
    }
    if let Some(to) = gradients.edge_bias {
        to.iter_mut().zip(edge_bias.cast::<f32>()?.iter()).for_each(|(to, from)| *to += from);
    }
    Ok(())
}

/// Output and log-sums of tensors that lie on the device, submitted and not waited for.
pub(super) fn forward_resident<T: Element>(
    context: &Arc<Context>,
    operands: &Operands<'_>,
    keys: &Keys<'_>,
    executor: &dyn Executor,
) -> Result<Forward> {
    let lists = lists_of_resident::<T>(operands, keys, executor)?;
    let plans = operands.plans(context, keys, &lists, false, executor)?;
    let mut commands = context.record();
    let result = forward_pass::record::<T>(context, &mut commands, operands, &plans)?;
    commands.submit()?;
    Ok(result)
}

/// Gradients of tensors that lie on the device, submitted and not waited for.
pub(super) fn backward_resident<T: Element>(
    context: &Arc<Context>,
    operands: &Operands<'_>,
    keys: &Keys<'_>,
    executor: &dyn Executor,
    saved: &ResidentSaved<'_>,
) -> Result<ResidentGradients> {
    let lists = lists_of_resident::<T>(operands, keys, executor)?;
    let shape = [operands.q.shape[0], operands.q.shape[1], operands.q.shape[2], operands.v.shape[3]];
    for (name, tensor) in [("out", &saved.out), ("dout", &saved.dout)] {
        if tensor.shape != shape {
            let (given, allowed) = (format!("shape {:?}", tensor.shape), format!("{shape:?}"));
            return Err(KernelError::shape(name, given, allowed).into());
        }
    }
    let plans = both_plans(context, operands, keys, &lists, executor)?;
    let mut commands = context.record();
    let result = backward_pass::record::<T>(context, &mut commands, operands, &plans, saved)?;
    commands.submit()?;
    Ok(result)
}

fn both_plans(
    context: &Arc<Context>,
    operands: &Operands<'_>,
    keys: &Keys<'_>,
    lists: &[(Range<usize>, Plan)],
    executor: &dyn Executor,
) -> Result<BothPlans> {
    Ok(BothPlans {
        queries: operands.plans(context, keys, lists, false, executor)?,
        keys: operands.plans(context, keys, lists, true, executor)?,
    })
}

/// Copies rows without what fills them up.
fn unpad<T: Element>(from: &[T], width: usize, to: &mut [T]) {
    let padded = width.next_multiple_of(VECTOR);
    if padded == width {
        return to.copy_from_slice(from);
    }
    for (to, from) in to.chunks_exact_mut(width).zip(from.chunks_exact(padded)) {
        to.copy_from_slice(&from[..width]);
    }
}
