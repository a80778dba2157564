//! The backward pass: gradients of queries over the plan, of keys and values over the plan of the transposed set.

use super::launch::Launch;
use super::operands::{Operands, Plans};
use super::scalars::{Fill, Layout, bytes};
use super::tables::NONE;
use super::tensor::{Element, Tensor, VECTOR, padded_len};
use crate::buffer::{Buffer, BufferSlice};
use crate::context::Context;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::recorder::Recorder;
use fractal_shaders::attention::AttentionParams;
use std::borrow::Cow;
use std::sync::Arc;

/// What the backward pass takes beside the operands.
pub struct ResidentSaved<'a> {
    /// Output `(B, H, Nq, Dv)`.
    pub out: Tensor,
    /// Its gradient.
    pub dout: Tensor,
    /// Logarithms of sums.
    pub logs: SavedLogs<'a>,
    /// Their gradient `(B, H, Nq)`, the host's.
    pub dlse: Option<&'a [f32]>,
}

/// Where the logarithms of sums are.
#[derive(Clone)]
pub enum SavedLogs<'a> {
    /// On the device, as two arrays `(B, H, Nq)`: log-sum-exp and what rounding took from it.
    Device([BufferSlice; 2]),
    /// On the host, as two arrays.
    Host([&'a [f32]; 2]),
}

/// Gradients on the device.
pub struct ResidentGradients {
    /// Of queries.
    pub q: Tensor,
    pub(super) kv: Buffer,
    /// Bytes of the gradients of keys, and where those of values begin.
    pub(super) keys: u64,
    pub(super) values_at: u64,
    pub(super) scalars: Buffer,
    pub(super) key_bias: Option<(u32, usize)>,
    pub(super) edge_bias: Option<(u32, usize)>,
}

impl ResidentGradients {
    /// Of keys, in the layout of [`Tensor`].
    pub fn k(&self) -> Result<BufferSlice> {
        self.kv.part(0..self.keys)
    }

    /// Of values, in the layout of [`Tensor`].
    pub fn v(&self) -> Result<BufferSlice> {
        self.kv.part(self.values_at..self.kv.bytes())
    }

    /// A copy of the gradient of a bias; no bytes where there is none.
    pub(super) fn copied(&self, part: Option<(u32, usize)>, commands: &mut Recorder) -> Result<Buffer> {
        let context = self.scalars.context();
        let Some((start, len)) = part else { return context.alloc(0) };
        let view = self.scalars.part(bytes(start, len))?;
        let copy = context.alloc(view.bytes)?;
        commands.copy(view, &copy)?;
        Ok(copy)
    }
}

/// The plans of both passes.
pub(super) struct BothPlans {
    pub(super) queries: Plans,
    pub(super) keys: Plans,
}

/// Records the backward pass.
pub(super) fn record<T: Element>(
    context: &Arc<Context>,
    commands: &mut Recorder,
    operands: &Operands<'_>,
    plans: &BothPlans,
    saved: &ResidentSaved<'_>,
) -> Result<ResidentGradients> {
    let queries = operands.queries();
    let bias = operands.padded_bias();
    let (bias_shape, n_edges) = (bias.as_ref().map(|bias| bias.1), operands.n_edges());
    let mut params = operands.params(bias_shape, n_edges);
    let mut layout = Layout::default();
    let [lse, rest] = match &saved.logs {
        SavedLogs::Device(arrays) => arrays.clone().map(Fill::Array),
        SavedLogs::Host(arrays) => arrays.map(|values| Fill::Values(Cow::Borrowed(values))),
    };
    params.lse_at = layout.part(queries, lse)?;
    params.rest_at = layout.part(queries, rest)?;
    params.delta_at = layout.part(queries, Fill::Nothing)?;
    params.dlse_at = layout.values(saved.dlse)?;
    let mut zeros = |len: Option<usize>| len.map_or(Ok(NONE), |len| layout.part(len, Fill::Zeros));
    let key_bias_len = operands.key_bias.and(bias.as_ref()).map(|bias| bias.0.len());
    let edge_bias_len = operands.edge_bias.map(|bias| bias.values.len());
    params.key_bias_gradient_at = zeros(key_bias_len)?;
    params.edge_bias_gradient_at = zeros(edge_bias_len)?;
    params.key_bias_at = layout.values(bias.map(|bias| bias.0))?;
    params.edge_bias_at = layout.values(operands.edge_bias.map(|bias| bias.values))?;
    let scalars = layout.fill(context, commands)?;

    let delta = Kernel::new(&T::SHADERS.delta, "delta")?;
    let all = AttentionParams { groups: queries as u32, ..params };
    let arrays = [&scalars, &saved.out.buffer, &saved.dout.buffer].map(BufferSlice::from);
    commands.dispatch(&delta, &arrays, &all, delta.covering(queries as u64))?;

    let q = Tensor::alloc::<T>(context, operands.q.shape)?;
    let vector = (VECTOR * size_of::<T>()) as u64;
    let [keys, values] = [&operands.k, &operands.v].map(|t| (padded_len(t.shape) * size_of::<T>()) as u64);
    let values_at = keys.next_multiple_of(BufferSlice::ALIGNMENT);
    params.values_at = (values_at / vector) as u32;
    let kv = context.alloc(values_at + values)?;

    let [batch, heads, kv_heads] = operands.heads().map(|count| count as u32);
    let tensors = [&operands.q, &operands.k, &operands.v, &saved.dout].map(|tensor| &tensor.buffer);
    let bound = |words: &Buffer, result: &Buffer| -> Vec<BufferSlice> {
        [words, &scalars].into_iter().chain(tensors).chain([result]).map(BufferSlice::from).collect()
    };
    let vectors = 2 * params.d4 + params.dv4;
    let kernel = operands.kernel(&T::SHADERS.queries, "queries")?;
    for (pairs, plan) in &plans.queries {
        let of_pairs = pairs.start * operands.group()..pairs.end * operands.group();
        // Heads that add to the same numbers follow one another.
        let together = match operands.edge_bias {
            Some(bias) if bias.heads == 1 && heads > 1 => 1,
            Some(_) if batch > 1 => heads,
            _ => of_pairs.end - of_pairs.start,
        };
        let plan_parts = &plan.parts;
        Launch { kernel: &kernel, plan: plan_parts, params, heads: of_pairs, together, widest: params.d4, vectors }
            .record(context, commands, &bound(&plan.words, &q.buffer))?;
    }
    let vectors = 2 * (params.d4 + params.dv4) * operands.group();
    let kernel = operands.kernel(&T::SHADERS.keys, "keys")?;
    for (pairs, plan) in &plans.keys {
        let together = match bias_shape.filter(|_| key_bias_len.is_some()) {
            Some([_, 1]) if kv_heads > 1 => 1,
            Some([1, _]) if batch > 1 => kv_heads,
            _ => pairs.end - pairs.start,
        };
        let widest = params.d4.max(params.dv4);
        Launch { kernel: &kernel, plan: &plan.parts, params, heads: pairs.clone(), together, widest, vectors }.record(
            context,
            commands,
            &bound(&plan.words, &kv),
        )?;
    }
    let part = |start: u32, len: Option<usize>| len.map(|len| (start, len));
    Ok(ResidentGradients {
        q,
        kv,
        keys,
        values_at,
        scalars,
        key_bias: part(params.key_bias_gradient_at, key_bias_len),
        edge_bias: part(params.edge_bias_gradient_at, edge_bias_len),
    })
}
