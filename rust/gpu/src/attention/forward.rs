//! The forward pass.

use super::launch::Launch;
use super::operands::{Operands, Plans};
use super::scalars::{Fill, Layout, bytes};
use super::tensor::{Element, Tensor};
use crate::buffer::{Buffer, BufferSlice};
use crate::context::Context;
use crate::error::Result;
use crate::recorder::Recorder;
use fractal_shaders::Shader;
use std::sync::Arc;

/// What the forward pass leaves on the device.
pub struct Forward {
    /// Output `(B, H, Nq, Dv)`.
    pub out: Tensor,
    /// Logarithms of sums.
    pub logs: Logs,
}

/// The log-sum-exp of each query, and what rounding took from it.
#[derive(Clone)]
pub struct Logs {
    pub(super) scalars: Buffer,
    pub(super) lse: u32,
    pub(super) rest: u32,
    pub(super) queries: usize,
}

impl Logs {
    /// Log-sum-exp `(B, H, Nq)`, f32.
    pub fn lse(&self) -> Result<BufferSlice> {
        self.scalars.part(bytes(self.lse, self.queries))
    }

    /// What rounding took from it, in the same shape.
    pub fn rest(&self) -> Result<BufferSlice> {
        self.scalars.part(bytes(self.rest, self.queries))
    }
}

/// The form that a device runs: without barriers where the eight invocations of a row run in lockstep.
pub(super) fn shader<T: Element>(context: &Context) -> &'static Shader {
    let lockstep = context.abilities().subgroups.is_some_and(|(fewest, _)| fewest >= 8);
    if lockstep { &T::SHADERS.forward_in_subgroups } else { &T::SHADERS.forward }
}

/// Records the forward pass.
pub(super) fn record<T: Element>(
    context: &Arc<Context>,
    commands: &mut Recorder,
    operands: &Operands<'_>,
    plans: &Plans,
) -> Result<Forward> {
    let queries = operands.queries();
    let [batch, heads, n, _] = operands.q.shape;
    let bias = operands.padded_bias();
    let mut params = operands.params(bias.as_ref().map(|bias| bias.1), operands.n_edges());
    let mut layout = Layout::default();
    params.lse_at = layout.part(queries, Fill::Nothing)?;
    params.rest_at = layout.part(queries, Fill::Nothing)?;
    params.key_bias_at = layout.values(bias.map(|bias| bias.0))?;
    params.edge_bias_at = layout.values(operands.edge_bias.map(|bias| bias.values))?;
    let scalars = layout.fill(context, commands)?;
    let out = Tensor::alloc::<T>(context, [batch, heads, n, operands.v.shape[3]])?;
    let kernel = operands.kernel(shader::<T>(context), "forward")?;
    let tensors = [&operands.q, &operands.k, &operands.v, &out];
    for (pairs, plan) in plans {
        let arrays = [&plan.words, &scalars].into_iter().chain(tensors.map(|tensor| &tensor.buffer));
        let heads = pairs.start * operands.group()..pairs.end * operands.group();
        Launch {
            kernel: &kernel,
            plan: &plan.parts,
            params,
            together: heads.end - heads.start,
            heads,
            widest: params.dv4,
            vectors: params.d4 + params.dv4,
        }
        .record(context, commands, &arrays.map(BufferSlice::from).collect::<Vec<_>>())?;
    }
    let logs = Logs { scalars, lse: params.lse_at, rest: params.rest_at, queries };
    Ok(Forward { out, logs })
}
