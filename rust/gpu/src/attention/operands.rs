//! What a call on the device takes, and what of it every kernel is told.

use super::plan::{PlanOnDevice, Which};
use super::scalars::padded_bias;
use super::tables::PlanWords;
use super::tensor::Tensor;
use crate::context::Context;
use crate::error::Result;
use crate::kernel::Kernel;
use fractal_kernels::attention::{Dropout, EdgeBias, KeyBias, Keys};
use fractal_kernels::executor::Executor;
use fractal_kernels::plan::Plan;
use fractal_kernels::plan::arrays::TransposedArrays;
use fractal_shaders::Shader;
use fractal_shaders::attention::{AttentionParams, CAPPED};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Tensors on the device, and what else a call of attention has; the biases are the host's.
#[derive(Clone)]
pub struct Operands<'a> {
    /// Queries `(B, H, Nq, D)`.
    pub q: Tensor,
    /// Keys `(B, Hkv, Nk, D)`.
    pub k: Tensor,
    /// Values `(B, Hkv, Nk, Dv)`.
    pub v: Tensor,
    /// Factor on the dot products.
    pub scale: f64,
    /// Bias of keys.
    pub key_bias: Option<KeyBias<'a, f32>>,
    /// Keys that nobody sees, `(B, Nk)`.
    pub key_padding: Option<&'a [bool]>,
    /// Bias of edges.
    pub edge_bias: Option<EdgeBias<'a, f32>>,
    /// Dropout of weights.
    pub dropout: Option<Dropout>,
    /// The `c` of `c · tanh(score / c)`, before biases are added.
    pub soft_cap: Option<f64>,
    /// The batch and the query head that these begin with, as dropout counts them; 0 where they are all.
    pub first: [u32; 2],
}

/// The plans of a call, each with the groups that run on it.
pub(super) type Plans = Vec<(Range<u32>, Arc<PlanOnDevice>)>;

impl<'a> Operands<'a> {
    /// Batch, query heads, key heads.
    pub(super) fn heads(&self) -> [usize; 3] {
        [self.q.shape[0], self.q.shape[1], self.k.shape[1]]
    }

    /// Query heads of a key head.
    pub(super) fn group(&self) -> u32 {
        let [_, heads, kv_heads] = self.heads();
        (heads / kv_heads) as u32
    }

    /// Queries of all heads.
    pub(super) fn queries(&self) -> usize {
        self.q.shape[..3].iter().product()
    }

    /// The bias of keys with padding in it.
    pub(super) fn padded_bias(&self) -> Option<(Cow<'a, [f32]>, [usize; 2])> {
        padded_bias(self.key_bias, self.key_padding, self.q.shape[0], self.k.shape[2])
    }

    /// The parameters that the operands give.
    pub(super) fn params(&self, key_bias: Option<[usize; 2]>, n_edges: usize) -> AttentionParams {
        let n_keys = self.k.shape[2];
        let dropout = self.dropout.filter(|dropout| dropout.p > 0.0);
        // The draw's upper 53 bits are compared with p of 2^53.
        let threshold = dropout.map_or(0, |d| ((d.p * (1_u64 << 53) as f64) as u64) << 11);
        let words = |x: u64| [x as u32, (x >> 32) as u32];
        let step = |size: usize, step: usize| if size > 1 { step as u32 } else { 0 };
        let [bias_batch, bias_heads] = key_bias.unwrap_or([1, 1]);
        AttentionParams {
            seed: words(dropout.map_or(0, |d| d.seed)),
            threshold: words(threshold),
            kept: dropout.map_or(0.0, |d| (1.0 / (1.0 - d.p)) as f32),
            scale: self.scale as f32,
            soft_cap: self.soft_cap.unwrap_or_default() as f32,
            soft_cap_inverse: self.soft_cap.map_or(0.0, |cap| 1.0 / cap) as f32,
            draw_batch: self.first[0],
            draw_head: self.first[1],
            minus_infinity: f32::NEG_INFINITY,
            heads: self.q.shape[1] as u32,
            group: self.group(),
            d4: self.q.vectors(),
            dv4: self.v.vectors(),
            key_bias_batch: step(bias_batch, bias_heads * n_keys),
            key_bias_head: step(bias_heads, n_keys),
            edge_bias_head: step(self.edge_bias.map_or(1, |bias| bias.heads), n_edges),
            ..AttentionParams::default()
        }
    }

    /// An entry point that makes scores, with the cap that they have.
    pub(super) fn kernel(&self, shader: &'static Shader, entry: &str) -> Result<Kernel> {
        Ok(Kernel::new(shader, entry)?.with(CAPPED, f64::from(u8::from(self.soft_cap.is_some())))?)
    }

    /// Edges of a head, where they have biases.
    pub(super) fn n_edges(&self) -> usize {
        self.edge_bias.map_or(0, |bias| bias.values.len() / bias.heads)
    }

    /// The plans that a call runs on, for queries, or `transposed` for keys.
    pub(super) fn plans(
        &self,
        context: &Arc<Context>,
        keys: &Keys<'_>,
        lists: &[(Range<usize>, Plan)],
        transposed: bool,
        executor: &dyn Executor,
    ) -> Result<Plans> {
        let [batch, _, kv_heads] = self.heads();
        if let Keys::Set(set) = keys {
            let which = Which { transposed, edges: self.edge_bias.is_some() };
            let plan = PlanOnDevice::of(context, set, which, executor)?;
            return Ok(vec![(0..(batch * kv_heads) as u32, plan)]);
        }
        let of_lists = |(groups, plan): &(Range<usize>, Plan)| {
            let words = if !transposed {
                PlanWords::new(plan, None)?
            } else if let TransposedArrays::Listed { key_ptr, edges } = plan.transposed_arrays()? {
                let queries: Vec<u32> = edges.iter().map(|edge| edge[0]).collect();
                PlanWords::of_rows(plan.n_queries(), key_ptr, &queries)?
            } else {
                unreachable!("lists are rows")
            };
            let plan = PlanOnDevice::new(context, words)?;
            Ok((groups.start as u32..groups.end as u32, Arc::new(plan)))
        };
        lists.iter().map(of_lists).collect()
    }
}
