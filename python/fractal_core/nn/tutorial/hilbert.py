"""Attention in the query's neighbourhood on the Hilbert curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fractal_core import curves
from fractal_core._torch import checks
from fractal_core._torch.recent import Recent
from fractal_core.errors import DTypeError, KeyIndexError, ShapeError
from fractal_core.nn.tutorial._edges import Edges, check_config, check_qkv, of_nothing

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.nn.tutorial.config import FractalConfig

__all__ = ["HilbertCurveAttention"]

_DECAY = 0.1


class HilbertCurveAttention(nn.Module):
    """Attention to the keys in the square of cells around the query's cell on the plane's Hilbert curve.

    Key j stands at the j-th cell. With w = hilbert_window_size, a query at cell (x, y) attends to the keys at cells
    (x + dx, y + dy), |dx|, |dy| <= w // 2, as far as they exist; one softmax over q k / sqrt(D) plus a learned bias for
    each (dx, dy). The bias starts at -0.1 (|dx| + |dy|), a mild preference for near cells.

    Args:
        config: hilbert_window_size, hilbert_order, cache_fractals.

    Attributes:
        relative_bias: (w * w,), entry (dx + w // 2) * w + dy + w // 2.
    """

    def __init__(self, config: FractalConfig) -> None:
        super().__init__()
        self.config = check_config(config)
        steps = torch.arange(config.hilbert_window_size) - config.hilbert_window_size // 2
        distance = steps.abs()[:, None] + steps.abs()
        self.relative_bias = nn.Parameter(-_DECAY * distance.flatten().to(torch.get_default_dtype()))
        self._cache: Recent[tuple[Edges, Tensor]] = Recent(8)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, query_pos: Tensor) -> Tensor:
        """Attend.

        Args:
            query: (B, 1, D), or (B, M, D) with M queries.
            key: (B, N, D), N <= 4 ** hilbert_order.
            value: (B, N, Dv).
            query_pos: positions of the queries, integers in 0 .. N - 1: (B, M); for one query also (B,); one position
                for all batch rows as (), (1,) or (1, 1), and M of them as (1, M).

        Returns:
            (B, Dv) for one query, else (B, M, Dv).

        Raises:
            KeyIndexError: a position outside of the keys.
            ShapeError: shapes that do not fit together, or more keys than the curve has cells.
            DTypeError: positions that are no integers, or tensors of different dtypes.
        """
        query, key, value = check_qkv(query, key, value)
        batch, n_queries, _ = query.shape
        n_keys = key.shape[1]
        positions = _positions(query_pos, batch, n_queries, n_keys)
        nothing = of_nothing(self, query, key, value)
        if nothing is not None:
            return nothing
        name = (positions.tobytes(), positions.shape, n_keys)
        if self.config.cache_fractals:
            edges, cells = self._cache.get(name, lambda: self.edges(positions, n_keys))
        else:
            edges, cells = self.edges(positions, n_keys)
        out = edges.attend(query, key, value, self.relative_bias[cells].unsqueeze(0))
        return out.squeeze(1) if n_queries == 1 else out

    def edges(self, positions: npt.NDArray[np.int64], n_keys: int) -> tuple[Edges, Tensor]:
        """The edges of queries at positions (B|1, M), and the entry of `relative_bias` of each."""
        order, window = self.config.hilbert_order, self.config.hilbert_window_size
        if n_keys > 4**order:
            raise ShapeError("key", f"{n_keys} keys", f"at most 4 ** hilbert_order = {4**order}")
        steps = np.arange(window) - window // 2
        square = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
        around = curves.hilbert_decode(positions.reshape(-1), order)[:, None] + square
        inside = ((around >= 0) & (around < 2**order)).all(-1)
        keys = curves.hilbert_encode(np.where(inside[..., None], around, 0), order)
        keys[~inside] = n_keys
        by_key = keys.argsort(axis=1)
        keys = np.take_along_axis(keys, by_key, axis=1)
        held = keys < n_keys
        indptr = np.concatenate([[0], held.sum(1).cumsum()])
        return Edges(indptr, keys[held], n_keys, positions.shape[0]), torch.from_numpy(by_key[held])


def _positions(query_pos: Tensor, batch: int, n_queries: int, n_keys: int) -> npt.NDArray[np.int64]:
    """(B|1, M), one row where all batch rows are alike."""
    if not isinstance(query_pos, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("query_pos", type(query_pos).__name__, "a torch.Tensor of integers")
    if query_pos.dtype.is_floating_point or query_pos.dtype.is_complex or query_pos.dtype == torch.bool:
        raise DTypeError("query_pos", query_pos.dtype, "an integer dtype")
    checks.on_cpu("query_pos", query_pos)
    shape = tuple(query_pos.shape)
    short = {(), (1,), (batch,)} if n_queries == 1 else set[tuple[int, ...]]()
    if shape not in {(batch, n_queries), (1, n_queries), *short}:
        allowed = f"({batch}, {n_queries})" + (
            f", ({batch},), (1, 1) or ()" if n_queries == 1 else f" or (1, {n_queries})"
        )
        raise ShapeError("query_pos", shape, allowed)
    positions = query_pos.detach().to(torch.int64).reshape(query_pos.numel() // max(n_queries, 1), n_queries).numpy()
    outside = (positions < 0) | (positions >= n_keys)
    if outside.any():
        raise KeyIndexError("query_pos", int(positions[outside][0]), f"0 <= position < {n_keys} keys")
    return positions[:1] if (positions == positions[:1]).all() else positions
