"""The four patterns in one softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from fractal_core._torch.recent import Recent
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
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
from fractal_core.nn.tutorial.cantor import CantorSetAttention
from fractal_core.nn.tutorial.dragon import DragonCurveAttention
from fractal_core.nn.tutorial.hilbert import HilbertCurveAttention
from fractal_core.nn.tutorial.julia import JuliaSetAttention
from fractal_core.patterns.dragon import Dragon
from fractal_core.patterns.julia import Julia

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.nn.tutorial.config import FractalConfig
    from fractal_core.patterns import Pattern

__all__ = ["UnifiedFractalAttention"]


class _Mixture:
    """The union of the four index sets for queries at chosen positions; `places` say which edges each of them holds."""

    def __init__(self, unified: UnifiedFractalAttention, positions: npt.NDArray[np.int64], n_keys: int) -> None:
        flat = positions.reshape(-1)
        batch = positions.shape[0]
        hilbert, self.cells = unified.hilbert.edges(flat[None], n_keys)
        self.cantor, self.scales = unified.cantor.edges(flat, n_keys, batch)
        others = [unified.neighbours(pattern, flat, n_keys) for pattern in unified.sparse]
        parts = [(hilbert.rows, hilbert.keys), (self.cantor.rows, self.cantor.keys), *others]
        indptr, keys, self.places = union(parts, len(flat), n_keys)
        self.edges = Edges(indptr, keys, n_keys, batch)
        self.keys = torch.from_numpy(keys)


class UnifiedFractalAttention(nn.Module):
    """Attention to the union of the keys of four patterns, in one softmax, with a learned gate for each pattern.

    The patterns are the Hilbert window and the Cantor samples of `HilbertCurveAttention` and `CantorSetAttention`, and
    the sparse patterns `dragon` (neighbours on the dragon's lattice) and `julia` (neighbours of the same escape level)
    of `fractal_core.patterns`. Pattern p adds its gate, (MLP(t) + gate_bias)_p / blend_temperature, to its own log-bias
    of an edge: the relative bias, the scale weights, and the key biases of `DragonCurveAttention` and
    `JuliaSetAttention`. The bias of an edge is the log of the sum of exp of that over the patterns that hold it.

    Called with (query, key, value, t), or with (ctx, t), where in each row of the batch ctx at position t (N - 1),
    rounded, attends to all of ctx; t from 0 to 1.

    Args:
        config: all settings.

    Attributes:
        gate_bias: (4,) in the order Hilbert, Cantor, dragon, Julia; starts at 0.
        time_mlp: from t to 4 numbers, near 0 at first.
    """

    def __init__(self, config: FractalConfig) -> None:
        super().__init__()
        self.config = check_config(config)
        self.hilbert = HilbertCurveAttention(config)
        self.cantor = CantorSetAttention(config)
        self.dragon = DragonCurveAttention(config)
        self.julia = JuliaSetAttention(config)
        self.gate_bias = nn.Parameter(torch.zeros(4))
        self.time_mlp = time_mlp(4)
        self.sparse: tuple[Pattern, ...] = (Dragon(), Julia(c=config.julia_c, max_iter=config.julia_iterations))
        self._cache: Recent[_Mixture] = Recent(8)
        self._rows: Recent[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]] = Recent(8)

    def forward(
        self, query: Tensor, key: Tensor | float, value: Tensor | None = None, t: Tensor | float | None = None
    ) -> Tensor:
        """Attend, with (query, key, value, t) or with (ctx, t).

        Args:
            query: (B, 1, D), at position N // 2, or (B, M, D): M queries at evenly spaced positions, at their own
                where M = N. In the short form ctx, (B, N, D).
            key: (B, N, D), N <= 4 ** hilbert_order. In the short form t.
            value: (B, N, Dv).
            t: the time, (), (1,), (B,) or (B, 1); from 0 to 1 in the short form.

        Returns:
            (B, Dv) for one query and in the short form, else (B, M, Dv).

        Raises:
            ShapeError: shapes that do not fit together.
            DTypeError: tensors of different dtypes, or one of value and t is missing.
            InvalidArgumentError: a time that is not finite, or outside of 0 .. 1 in the short form.
        """
        if value is None and t is None:
            ctx = check_qkv(query, query, query)[0]
            times = check_time(key, ctx.shape[0])
            if ctx.shape[1] == 0:
                raise ShapeError("query", tuple(ctx.shape), "at least one token, the query at t (N - 1), with (ctx, t)")
            positions = _positions(times, ctx.shape[1])
            at = torch.from_numpy(positions).expand(ctx.shape[0], 1)
            query, key, value = ctx.gather(1, at[..., None].expand(-1, -1, ctx.shape[2])), ctx, ctx
        elif value is None or t is None:
            raise DTypeError("value" if value is None else "t", "None", "(query, key, value, t) or (ctx, t)")
        else:
            query, key, value = check_qkv(query, cast("Tensor", key), value)
            times = check_time(t, query.shape[0])
            positions = spread(query.shape[1], key.shape[1])[None]
        nothing = of_nothing(self, query, key, value)
        if nothing is not None:
            return nothing
        n_keys = key.shape[1]
        if self.config.cache_fractals:
            name = (positions.tobytes(), positions.shape, n_keys)
            mixture = self._cache.get(name, lambda: _Mixture(self, positions, n_keys))
        else:
            mixture = _Mixture(self, positions, n_keys)
        out = mixture.edges.attend(query, key, value, self._edge_bias(times, mixture, n_keys))
        return out.squeeze(1) if query.shape[1] == 1 else out

    def neighbours(
        self, pattern: Pattern, positions: npt.NDArray[np.int64], n_keys: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The edges (rows, keys) of queries at positions (R,) in a pattern."""

        def make() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
            whole = pattern.index_set(n_keys)
            return whole.indptr, whole.indices

        indptr, indices = self._rows.get((pattern.name, n_keys), make) if self.config.cache_fractals else make()
        counts = indptr[positions + 1] - indptr[positions]
        rows = np.repeat(np.arange(len(positions)), counts)
        nth = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
        return rows, indices[indptr[positions][rows] + nth].astype(np.int64)

    def _edge_bias(self, times: Tensor, mixture: _Mixture, n_keys: int) -> Tensor:
        """(B|1, E) the log-bias of each edge at times (B|1, 1)."""
        logits = self.time_mlp(times.to(self.gate_bias.dtype)) + self.gate_bias
        gates = mixture.edges.per_edge(logits / self.config.blend_temperature)
        own = (
            self.hilbert.relative_bias[mixture.cells][None],
            self.cantor.edge_bias(times, mixture.cantor, mixture.scales),
            self.dragon.log_bias(n_keys)[mixture.keys[mixture.places[2]]][None],
            self.julia.log_bias(n_keys)[mixture.keys[mixture.places[3]]][None],
        )
        values = [
            (gate[:, at] if gate.shape[1] > 1 else gate) + bias
            for gate, at, bias in zip(gates, mixture.places, own, strict=True)
        ]
        return log_sum(values, mixture.places, len(mixture.keys))


def _positions(times: Tensor, n_keys: int) -> npt.NDArray[np.int64]:
    """(B|1, 1) positions t (N - 1), rounded; one row where all are alike."""
    t = times.detach().to(torch.float64).numpy()
    outside = (t < 0) | (t > 1)
    if outside.any():
        raise InvalidArgumentError("t", float(t[outside][0]), "0 <= t <= 1 with (ctx, t)")
    positions = np.rint(t * (n_keys - 1)).astype(np.int64)
    return positions[:1] if (positions == positions[:1]).all() else positions
