"""Attention to all keys with a log-bias for each: what the tutorial's dragon and Julia modules share."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from fractal_core.index_sets import IndexSet
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.tutorial._edges import check_qkv, of_nothing

__all__ = ["AllKeysAttention"]


class AllKeysAttention(nn.Module):
    """Attention to all keys, each with the log-bias that the subclass gives it."""

    @abstractmethod
    def log_bias(self, n_keys: int) -> Tensor:
        """(N,) the log-bias of each key."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend.

        Args:
            query: (B, 1, D), or (B, M, D) with M queries.
            key: (B, N, D).
            value: (B, N, Dv).

        Returns:
            (B, Dv) for one query, else (B, M, Dv).

        Raises:
            ShapeError: shapes that do not fit together.
            DTypeError: tensors of different dtypes.
        """
        query, key, value = check_qkv(query, key, value)
        nothing = of_nothing(self, query, key, value)
        if nothing is not None:
            return nothing
        n_queries, n_keys = query.shape[1], key.shape[1]
        every = IndexSet.from_offsets(torch.arange(1 - n_queries, n_keys).numpy(), n_queries, n_keys)
        q, k, v = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        out = sparse_attention(q, k, v, every, bias=self.log_bias(n_keys)).squeeze(1)
        return out.squeeze(1) if n_queries == 1 else out
