"""Attention to Cantor samples around the query, at several scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fractal_core import sets
from fractal_core._torch.recent import Recent
from fractal_core.nn.tutorial._edges import (
    Edges,
    check_config,
    check_qkv,
    check_time,
    log_sum,
    of_nothing,
    spread,
    time_mlp,
    union,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.nn.tutorial.config import FractalConfig

__all__ = ["CantorSetAttention"]


class CantorSetAttention(nn.Module):
    """Attention to the union of Cantor samples around the query at several scales, in one softmax.

    Scale s spans L = N // 3 ** s keys around the query, shifted to stay within the sequence: all keys at s = 0, near
    ones at the last scale. Its samples are the keys m L // 3 ** k of the span, m the integers with k ternary digits in
    {0, 2}, with k <= cantor_depth as large as 3 ** k <= L allows; so 2 ** k of them, and the query's own position.

    The weights of the scales are softmax((MLP(t) + scale_bias) / cantor_temperature); the log-bias of an edge is the
    log of the sum of the weights of the scales that hold it.

    Args:
        config: cantor_depth, cantor_num_scales, cantor_temperature, cache_fractals.

    Attributes:
        scale_bias: (S,) starts at 0.
        time_mlp: from t to S numbers, near 0 at first.
    """

    def __init__(self, config: FractalConfig) -> None:
        super().__init__()
        self.config = check_config(config)
        self.scale_bias = nn.Parameter(torch.zeros(config.cantor_num_scales))
        self.time_mlp = time_mlp(config.cantor_num_scales)
        self._cache: Recent[tuple[Edges, list[Tensor]]] = Recent(8)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, t: Tensor | float) -> Tensor:
        """Attend.

        Args:
            query: (B, 1, D), at position N // 2, or (B, M, D): M queries at evenly spaced positions, at their own
                where M = N.
            key: (B, N, D).
            value: (B, N, Dv).
            t: the time, (), (1,), (B,) or (B, 1).

        Returns:
            (B, Dv) for one query, else (B, M, Dv).

        Raises:
            ShapeError: shapes that do not fit together.
            DTypeError: tensors of different dtypes.
            InvalidArgumentError: a time that is not finite.
        """
        query, key, value = check_qkv(query, key, value)
        n_queries, n_keys = query.shape[1], key.shape[1]
        times = check_time(t, query.shape[0])
        nothing = of_nothing(self, query, key, value)
        if nothing is not None:
            return nothing
        if self.config.cache_fractals:
            edges, places = self._cache.get((n_queries, n_keys), lambda: self.edges(spread(n_queries, n_keys), n_keys))
        else:
            edges, places = self.edges(spread(n_queries, n_keys), n_keys)
        out = edges.attend(query, key, value, self.edge_bias(times, edges, places))
        return out.squeeze(1) if n_queries == 1 else out

    def edges(self, positions: npt.NDArray[np.int64], n_keys: int, batch: int = 1) -> tuple[Edges, list[Tensor]]:
        """The edges of queries at positions (R,), and for each scale which of them it holds."""
        rows = np.arange(len(positions))[:, None]
        parts = [(rows, self.samples(positions, n_keys, s)) for s in range(self.config.cantor_num_scales)]
        indptr, keys, places = union(parts, len(positions), n_keys)
        return Edges(indptr, keys, n_keys, batch), places

    def samples(self, positions: npt.NDArray[np.int64], n_keys: int, scale: int) -> npt.NDArray[np.int64]:
        """(R, 2 ** k + 1) keys of queries at positions (R,) at one scale, the query's own position last."""
        span = max(1, n_keys // 3**scale)
        depth = 0
        while depth < self.config.cantor_depth and 3 ** (depth + 1) <= span:
            depth += 1
        steps = sets.digit_offsets(3**depth, 3, (0, 2)) * span // 3**depth
        first = np.clip(positions - span // 2, 0, n_keys - span)
        return np.concatenate([first[:, None] + steps, positions[:, None]], axis=1)

    def edge_bias(self, times: Tensor, edges: Edges, places: list[Tensor]) -> Tensor:
        """(B|1, E) the log-bias of each edge at times (B|1, 1)."""
        logits = self.time_mlp(times.to(self.scale_bias.dtype)) + self.scale_bias
        weights = edges.per_edge(torch.log_softmax(logits / self.config.cantor_temperature, dim=-1))
        values = [w[:, at] if w.shape[1] > 1 else w for w, at in zip(weights, places, strict=True)]
        return log_sum(values, places, len(edges.keys))
