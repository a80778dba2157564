"""Attention to all keys with a log-bias for each: what the tutorial's dragon and Julia modules share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fractal_core._torch.recent import Recent
from fractal_core.nn import _full_sets
from fractal_core.nn._functorch import is_active
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.tutorial._edges import check_qkv, of_nothing

if TYPE_CHECKING:
    from fractal_core.nn.tutorial.config import FractalConfig

__all__ = ["AllKeysAttention"]


class AllKeysAttention(nn.Module):
    """Attention to all keys, each with the log-bias that the subclass gives it."""

    def __init__(self) -> None:
        super().__init__()
        self._biases: Recent[Tensor] = Recent(8)

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
        every = _full_sets.index_set(n_queries, n_keys, causal=False)
        q, k, v = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        out = sparse_attention(q, k, v, every, bias=self._bias(n_keys)).squeeze(1)
        return out.squeeze(1) if n_queries == 1 else out

    def _bias(self, n_keys: int) -> Tensor:
        """`log_bias`, kept while nothing that it is made from changes, where no gradient is asked for."""
        tensors = [*self.parameters(), *self.buffers()]
        config: FractalConfig = self.config  # pyright: ignore[reportAssignmentType]
        asked = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        if asked or torch.compiler.is_compiling() or is_active() or not config.cache_fractals:
            return self.log_bias(n_keys)
        # They are a few numbers: what they hold says more than that they are the same tensors.
        held = tuple((t.dtype, t.detach().reshape(-1).view(torch.uint8).numpy().tobytes()) for t in tensors)
        return self._biases.get((n_keys, repr(config), held), lambda: self.log_bias(n_keys))
