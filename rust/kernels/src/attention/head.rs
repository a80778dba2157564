//! What one query head of one batch entry needs besides its tensors.

use super::distances::Distances;
use super::dropout::Draw;
use super::element::{Accumulator, Storage};
use super::problem::{KeyBias, Problem};
use super::soft_cap::SoftCap;
use crate::error::Result;
use crate::memory::{self, OrLeave};
use crate::plan::{EdgeMap, Planned};
use std::ops::Range;

/// A query head of a batch entry, with its biases in the plan's order.
#[derive(Debug)]
pub(crate) struct HeadContext<A> {
    pub(crate) batch: usize,
    pub(crate) query_head: usize,
    pub(crate) key_head: usize,
    /// By key; −∞ hides a key.
    pub(crate) key_bias: Option<Vec<A>>,
    /// By edge: tile edges, then row edges from `tile_edges` on.
    pub(crate) edge_bias: Option<Vec<A>>,
    pub(crate) tile_edges: usize,
    /// Where the head's biases of edges begin among those of all heads, where they are read in place.
    pub(crate) edges_in_place: Option<usize>,
    pub(crate) draw: Option<Draw<A>>,
    pub(crate) soft_cap: Option<SoftCap<A>>,
    pub(crate) distances: Option<Distances<A>>,
    pub(crate) sink: Option<A>,
}

impl<A: Accumulator> HeadContext<A> {
    pub(crate) fn new<T: Storage<Acc = A>>(
        problem: &Problem<'_, T>,
        plan: Planned<'_>,
        batch: usize,
        head: usize,
    ) -> Self {
        let (n_keys, edges) = (problem.k.shape[2], plan.edges);
        let row = |b: KeyBias<'_, A>| memory::collected("bias", b.row(batch, head, n_keys).iter().copied()).or_leave();
        let bias = problem.key_bias.map(row);
        let key_bias = match problem.key_padding {
            None => bias,
            Some(padding) => {
                let mut bias = bias.unwrap_or_else(|| memory::zeros("key_padding_mask", n_keys).or_leave());
                let hidden = bias.iter_mut().zip(&padding[batch * n_keys..]).filter(|(_, hidden)| **hidden);
                hidden.for_each(|(x, _)| *x = A::NEG_INFINITY);
                Some(bias)
            }
        };
        Self {
            batch,
            query_head: head,
            key_head: head / problem.group_size(),
            key_bias,
            edge_bias: problem.edge_bias.zip(edges).map(|(b, map)| {
                let row = head.min(b.heads - 1) * map.nnz();
                let values = map.edges.iter().map(|&e| b.values[row + e as usize]);
                memory::collected("edge_bias", values).or_leave()
            }),
            tile_edges: edges.map_or(0, EdgeMap::tile_edges),
            edges_in_place: problem.edge_bias.zip(plan.edge_rows).map(|(b, rows)| head.min(b.heads - 1) * rows.nnz()),
            draw: problem.dropout.filter(|d| d.p > 0.0).map(|d| Draw::new(d, batch, head)),
            soft_cap: problem.modifiers.soft_cap.map(SoftCap::new),
            distances: problem.modifiers.distances.as_ref().map(|bias| Distances::new(bias, head)),
            sink: problem.modifiers.sinks.map(|sinks| sinks[head]),
        }
    }

    /// The contexts of the query heads of some groups, head after head.
    pub(crate) fn all<T: Storage<Acc = A>>(
        problem: &Problem<'_, T>,
        plan: Planned<'_>,
        groups: Range<usize>,
    ) -> Result<Vec<Self>> {
        let (heads, query_heads) = (problem.heads().1, problem.query_heads(&groups));
        let room = |name, values: usize| memory::room::<A>(name, query_heads.len().saturating_mul(values) as u64);
        match (problem.key_bias.is_some(), problem.key_padding.is_some()) {
            (true, _) => room("bias", problem.k.shape[2])?,
            (_, true) => room("key_padding_mask", problem.k.shape[2])?,
            _ => {}
        }
        if let Some(map) = plan.edges {
            room("edge_bias", map.nnz())?;
        }
        if let Some(bias) = &problem.modifiers.distances {
            room("distances", Distances::<A>::padded(bias.length()))?;
        }
        memory::collected("bias", query_heads.map(|i| Self::new(problem, plan, i / heads, i % heads)))
    }

    /// Whether biases are added to the scores.
    #[inline(always)]
    pub(crate) fn biased(&self) -> bool {
        let of_edges = self.edge_bias.is_some() || self.edges_in_place.is_some();
        self.key_bias.is_some() || of_edges || self.distances.is_some()
    }
}
