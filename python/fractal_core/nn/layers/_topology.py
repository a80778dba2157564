"""Topology of tokens: the values of those that can be reached in 1, 2, ... hops of a row-stochastic matrix.

An edge weighs `A_ij = sigmoid(z_ij) / sum_j sigmoid(z_ij)` with `z_ij = W_1 x_i + W_2 x_j + b`, over the keys that i
may use, so that every power of A has rows that sum to 1. Powers are never formed: `A^k V = A (A^(k-1) V)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.layers._dense_force import masked_softmax

if TYPE_CHECKING:
    from collections.abc import Callable

    from fractal_core.index_sets import IndexSet

__all__ = ["Edges", "dense_hops", "sparse_hops"]


class Edges(NamedTuple):
    """An index set with the query and the key of each edge, (E,) int64."""

    index_set: IndexSet
    queries: Tensor
    keys: Tensor

    @classmethod
    def of(cls, index_set: IndexSet) -> Edges:
        """The edges in row order."""
        counts = torch.from_numpy(np.diff(index_set.indptr))
        queries = torch.repeat_interleave(torch.arange(index_set.n_queries), counts)
        return cls(index_set, queries, torch.from_numpy(index_set.indices.astype(np.int64)))


def _mixed(values: Tensor, hop_weights: Tensor, step: Callable[[Tensor], Tensor], padding: Tensor | None) -> Tensor:
    """`sum_k hop_weights[k] A^(k+1) values`."""
    mixed: Tensor | None = None
    for weight in hop_weights.unbind():
        # The result of an ignored token may be NaN, and is for itself alone.
        values = step(values if padding is None else values.masked_fill(padding[..., None], 0.0))
        mixed = weight * values if mixed is None else mixed + weight * values
    assert mixed is not None
    return mixed


def dense_hops(  # noqa: PLR0917
    source: Tensor,
    target: Tensor,
    values: Tensor,
    hop_weights: Tensor,
    allowed: Tensor | None,
    padding: Tensor | None = None,
) -> Tensor:
    """Hops over all pairs.

    Args:
        source: (B, N), `W_1 x_i + b`.
        target: (B, N), `W_2 x_j`.
        values: (B, N, D).
        hop_weights: (hops,), shares that sum to 1.
        allowed: bool, broadcast to (B, N, N), True where a query may use a key; None is everywhere.
        padding: (B, N) bool, True where `allowed` has no query use a token, whatever it holds; None for none.

    Returns:
        (B, N, D).
    """
    weights = masked_softmax(logsigmoid(source[:, :, None] + target[:, None, :]), allowed)
    return _mixed(values, hop_weights, lambda x: weights @ x, padding)


def sparse_hops(  # noqa: PLR0917
    source: Tensor, target: Tensor, values: Tensor, hop_weights: Tensor, edges: Edges, padding: Tensor | None
) -> Tensor:
    """Hops over the edges of an index set; arguments as for `dense_hops`, `padding` (B, N) bool."""
    if values.shape[0] == 0:
        return values
    logits = logsigmoid(source.index_select(1, edges.queries) + target.index_select(1, edges.keys))
    nothing = values.new_zeros((values.shape[0], 1, values.shape[1], 1))

    def step(x: Tensor) -> Tensor:
        bias = logits[:, None]
        return sparse_attention(
            nothing, nothing, x[:, None], edges.index_set, edge_bias=bias, key_padding_mask=padding
        )[:, 0]

    return _mixed(values, hop_weights, step, padding)
