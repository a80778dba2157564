//! A call in parts: batches, and where one batch alone is too large its key heads with the query heads that share them.

use super::tensor::{Element, VECTOR};
use crate::context::Context;
use crate::error::{GpuError, Result};
use fractal_kernels::attention::{
    Call, EdgeBias, Gradients, KeyBias, KeyLists, Keys, ListValues, LogSums, Problem, Saved, View,
};
use std::ops::Range;

/// Some of the groups of a call: all key heads of some batches, or some key heads of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallPart {
    batches: Range<usize>,
    kv_heads: Range<usize>,
    /// Groups of the whole call, key heads of a batch, and query heads of a key head.
    all: usize,
    of_batch: usize,
    of_group: usize,
}

impl CallPart {
    /// All of a call.
    pub(super) fn whole<T: Element>(problem: &Problem<'_, T>) -> Self {
        let ([batch, heads, ..], kv_heads) = (problem.q.shape, problem.k.shape[1]);
        let (all, of_group) = (batch * kv_heads, heads / kv_heads.max(1));
        Self { batches: 0..batch, kv_heads: 0..kv_heads, all, of_batch: kv_heads, of_group }
    }

    /// The batch and the query head that it begins with.
    pub(super) fn first(&self) -> [u32; 2] {
        [self.batches.start as u32, (self.kv_heads.start * self.of_group) as u32]
    }

    fn halves(&self) -> Option<[Self; 2]> {
        let cut = |range: &Range<usize>| range.start + range.len().div_ceil(2);
        let with = |batches: Range<usize>, kv_heads: Range<usize>| Self { batches, kv_heads, ..*self };
        if self.batches.len() > 1 {
            let (all, middle) = (&self.batches, cut(&self.batches));
            return Some([all.start..middle, middle..all.end].map(|batches| with(batches, self.kv_heads.clone())));
        }
        (self.kv_heads.len() > 1).then(|| {
            let (all, middle) = (&self.kv_heads, cut(&self.kv_heads));
            [all.start..middle, middle..all.end].map(|kv_heads| with(self.batches.clone(), kv_heads))
        })
    }

    /// Its groups among those of the call.
    fn groups(&self) -> Range<usize> {
        let start = self.batches.start * self.of_batch + self.kv_heads.start;
        start..start + self.batches.len() * self.kv_heads.len()
    }

    /// Its share of values of which each group has as many.
    fn of<'a, T>(&self, values: &'a [T]) -> &'a [T] {
        &values[self.range(values.len())]
    }

    /// The same of values to be written.
    pub(super) fn of_mut<'a, T>(&self, values: &'a mut [T]) -> &'a mut [T] {
        let range = self.range(values.len());
        &mut values[range]
    }

    fn range(&self, len: usize) -> Range<usize> {
        let each = len / self.all;
        self.groups().start * each..self.groups().end * each
    }

    /// Whether it has not all heads of its batch.
    fn cuts_heads(&self) -> bool {
        self.kv_heads.len() < self.of_batch
    }

    /// Its share of values for `batch` and `heads`, of which each may be 1 for all, so many for each head; a group has
    /// `of_group` heads.
    fn shared(&self, batch: usize, heads: usize, each: usize, of_group: usize) -> Range<usize> {
        let batches = if batch > 1 { self.batches.clone() } else { 0..1 };
        let mut chosen = 0..heads;
        if heads > 1 && self.cuts_heads() {
            chosen = self.kv_heads.start * of_group..self.kv_heads.end * of_group;
        }
        let start = batches.start * heads + chosen.start;
        start * each..(start + (batches.len() - 1) * heads + chosen.len()) * each
    }

    fn view<'a, T>(&self, view: &View<'a, T>, of_group: usize) -> View<'a, T> {
        let [_, _, n, width] = view.shape;
        let (batch, head) = (self.batches.start as isize, (self.kv_heads.start * of_group) as isize);
        View {
            offset: view.offset + batch * view.strides[0] + head * view.strides[1],
            shape: [self.batches.len(), self.kv_heads.len() * of_group, n, width],
            data: view.data,
            strides: view.strides,
        }
    }

    fn key_bias_range(&self, bias: &KeyBias<'_, f32>) -> Range<usize> {
        let each = bias.values.len() / (bias.batch * bias.heads);
        self.shared(bias.batch, bias.heads, each, self.of_group)
    }

    fn edge_bias_range(&self, bias: &EdgeBias<'_, f32>) -> Range<usize> {
        self.shared(1, bias.heads, bias.values.len() / bias.heads, self.of_group)
    }

    /// The call of its groups alone.
    pub(super) fn call<'a, T: Element>(&self, call: &Call<'a, T>) -> Call<'a, T> {
        let problem = &call.problem;
        let n_keys = problem.k.shape[2];
        let heads =
            |heads: usize| if heads > 1 && self.cuts_heads() { self.kv_heads.len() * self.of_group } else { heads };
        let key_bias = problem.key_bias.map(|bias| KeyBias {
            values: &bias.values[self.key_bias_range(&bias)],
            batch: if bias.batch > 1 { self.batches.len() } else { 1 },
            heads: heads(bias.heads),
        });
        let edge_bias = problem
            .edge_bias
            .map(|bias| EdgeBias { values: &bias.values[self.edge_bias_range(&bias)], heads: heads(bias.heads) });
        let keys = match call.keys {
            Keys::Set(set) => Keys::Set(set),
            Keys::Lists(lists) => {
                let [batch, kv_heads, n, k] = lists.shape;
                let range = self.shared(batch, kv_heads, n * k, 1);
                let values = match lists.values {
                    ListValues::I32(values) => ListValues::I32(&values[range]),
                    ListValues::I64(values) => ListValues::I64(&values[range]),
                };
                let batch = if batch > 1 { self.batches.len() } else { 1 };
                Keys::Lists(KeyLists { values, shape: [batch, kv_heads.min(self.kv_heads.len()), n, k] })
            }
        };
        Call {
            problem: Problem {
                q: self.view(&problem.q, self.of_group),
                k: self.view(&problem.k, 1),
                v: self.view(&problem.v, 1),
                key_bias,
                key_padding: problem
                    .key_padding
                    .map(|hidden| &hidden[self.batches.start * n_keys..self.batches.end * n_keys]),
                edge_bias,
                ..*problem
            },
            keys,
        }
    }

    /// Its share of the log-sums.
    pub(super) fn logs<'a>(&self, logs: &'a mut LogSums<'_, f32>) -> LogSums<'a, f32> {
        LogSums { lse: self.of_mut(logs.lse), rest: logs.rest.as_deref_mut().map(|rest| self.of_mut(rest)) }
    }

    /// Its share of what the forward pass left.
    pub(super) fn saved<'a, T: Element>(&self, saved: &Saved<'a, T>) -> Saved<'a, T> {
        Saved {
            out: self.view(&saved.out, self.of_group),
            dout: self.view(&saved.dout, self.of_group),
            lse: self.of(saved.lse),
            rest: self.of(saved.rest),
            dlse: saved.dlse.map(|dlse| self.of(dlse)),
        }
    }

    /// Its share of the gradients; those of biases that others share with it are added to.
    pub(super) fn gradients<'a, T: Element>(
        &self,
        problem: &Problem<'_, T>,
        gradients: &'a mut Gradients<'_, T>,
    ) -> Gradients<'a, T> {
        let key_bias = gradients.key_bias.as_deref_mut().zip(problem.key_bias);
        let edge_bias = gradients.edge_bias.as_deref_mut().zip(problem.edge_bias);
        Gradients {
            q: self.of_mut(gradients.q),
            k: self.of_mut(gradients.k),
            v: self.of_mut(gradients.v),
            key_bias: key_bias.map(|(to, bias)| &mut to[self.key_bias_range(&bias)]),
            edge_bias: edge_bias.map(|(to, bias)| &mut to[self.edge_bias_range(&bias)]),
            distances: None,
        }
    }

    /// Bytes of the largest array that its groups take.
    fn bytes<T: Element>(&self, problem: &Problem<'_, T>) -> u64 {
        let [_, _, n_queries, d] = problem.q.shape.map(|size| size as u64);
        let [_, _, n_keys, dv] = problem.v.shape.map(|size| size as u64);
        let [d, dv] = [d, dv].map(|width| width.next_multiple_of(VECTOR as u64));
        let groups = self.groups().len() as u64;
        let queries = groups * self.of_group as u64 * n_queries;
        let of_biases = problem.edge_bias.map_or(0, |bias| 2 * self.edge_bias_range(&bias).len() as u64)
            + 2 * self.batches.len() as u64 * problem.key_bias.map_or(1, |bias| bias.heads as u64) * n_keys;
        // Gradients of keys and values share one array; so do logarithms and biases.
        let tensors = (queries * d.max(dv)).max(groups * n_keys * (d + dv)) * size_of::<T>() as u64;
        tensors.max((4 * queries + of_biases) * size_of::<f32>() as u64 + 4096)
    }
}

/// Does `work` on a whole call, or on halves of it, as often halved as one binding or the device's memory asks for.
pub(super) fn in_parts<T: Element>(
    context: &Context,
    call: &Call<'_, T>,
    mut work: impl FnMut(&CallPart, &Call<'_, T>) -> Result<()>,
) -> Result<()> {
    let most = context.limits().binding_bytes;
    let mut rest = vec![CallPart::whole(&call.problem)];
    while let Some(part) = rest.pop() {
        let halves = part.halves();
        match halves {
            Some([first, second]) if part.bytes(&call.problem) > most => rest.extend([second, first]),
            halves => match (work(&part, &part.call(call)), halves) {
                (Err(GpuError::OutOfMemory { .. }), Some([first, second])) => rest.extend([second, first]),
                (done, _) => done?,
            },
        }
    }
    Ok(())
}
