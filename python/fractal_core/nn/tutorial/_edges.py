"""What the tutorial's classes share: checked inputs, positions of queries, index sets of chosen rows.

Letters: B batches, M queries, N keys, D and Dv features, E edges, S scales or patterns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.index_sets import IndexSet
from fractal_core.nn._empty import connected
from fractal_core.nn.functional import sparse_attention

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fractal_core.nn.tutorial.config import FractalConfig

    Integers = npt.NDArray[np.int64]

__all__ = [
    "Edges",
    "check_config",
    "check_qkv",
    "check_time",
    "log_sum",
    "of_nothing",
    "spread",
    "time_mlp",
    "union",
]


class Edges:
    """The keys of queries at chosen positions, one index set for the whole batch or one over all batch rows in turn.

    Args:
        indptr: (R + 1,) row starts; R = M, or B * M where every batch row has rows of its own.
        keys: (E,) keys in row order, each counted within its own sequence.
        n_keys: N.
        batch: B where every batch row has rows of its own, else 1.
    """

    def __init__(self, indptr: Integers, keys: Integers, n_keys: int, batch: int = 1) -> None:
        row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        batch_of_edge = row // ((len(indptr) - 1) // batch)
        self.index_set = IndexSet.from_csr(indptr, keys + batch_of_edge * n_keys, n_keys * batch)
        self.rows, self.keys, self.batch = row, keys, batch
        self._batch_of_edge = torch.from_numpy(batch_of_edge)

    def per_edge(self, values: Tensor) -> Tensor:
        """Values (B|1, S) of batch rows as (S, B|1, 1), or as (S, 1, E) where every batch row has rows of its own."""
        if self.batch > 1 and values.shape[0] > 1:
            return values.T[:, self._batch_of_edge].unsqueeze(1)
        return values.T.unsqueeze(-1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, edge_bias: Tensor) -> Tensor:
        """softmax(q k^T / sqrt(D) + edge_bias) v over the edges.

        Batch rows run as heads, each with its share of the bias, or as one long sequence.

        Args:
            query: (B, M, D).
            key: (B, N, D).
            value: (B, N, Dv).
            edge_bias: (B|1, E).

        Returns:
            (B, M, Dv).
        """
        if self.batch > 1:
            q, k, v = (x.reshape(1, 1, -1, x.shape[-1]) for x in (query, key, value))
        else:
            q, k, v = (x.unsqueeze(0) for x in (query, key, value))
        out = sparse_attention(q, k, v, self.index_set, edge_bias=edge_bias)
        return out.reshape(*query.shape[:2], value.shape[-1])


def union(
    parts: Sequence[tuple[Integers, Integers]], n_rows: int, n_keys: int
) -> tuple[Integers, Integers, list[Tensor]]:
    """Row starts and keys of the union of sets of edges, and where the edges of each set are in it.

    Args:
        parts: for each set (rows, keys), any order, each edge once or more often.
        n_rows: R.
        n_keys: N.

    Returns:
        (R + 1,) row starts, (E,) keys, and for each set its places, ascending and unique.
    """
    codes = [np.unique(rows * n_keys + keys) for rows, keys in parts]
    every = np.unique(np.concatenate(codes))
    places = [torch.from_numpy(np.searchsorted(every, part)) for part in codes]
    return np.searchsorted(every, np.arange(n_rows + 1) * n_keys), every % n_keys, places


def log_sum(values: Sequence[Tensor], places: Sequence[Tensor], n_edges: int) -> Tensor:
    """Log of the sum of exp(values) over the sets that hold an edge.

    Args:
        values: for each set (B|1, E_s), or (B|1, 1) where all its edges have one value.
        places: for each set (E_s,) its edges in the union.
        n_edges: E; each edge is held by at least one set.

    Returns:
        (B|1, E).
    """
    heads = max(v.shape[0] for v in values)
    parts = [
        v.new_full((heads, n_edges), -torch.inf).index_copy(1, at, v.expand(heads, len(at)))
        for v, at in zip(values, places, strict=True)
    ]
    return torch.stack(parts).logsumexp(0)


def spread(n_queries: int, n_keys: int) -> Integers:
    """(M,) positions of queries: their own where there are as many as keys, else evenly spaced."""
    if n_queries == n_keys:
        return np.arange(n_keys)
    return (2 * np.arange(n_queries) + 1) * n_keys // (2 * n_queries)


def time_mlp(outputs: int) -> nn.Sequential:
    """A small network of t whose output starts near 0, without a bias in its last layer."""
    mlp = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, outputs, bias=False))
    for layer in (mlp[0], mlp[2]):
        nn.init.xavier_uniform_(cast("nn.Linear", layer).weight, gain=0.1)
    return mlp


def check_config(config: object) -> FractalConfig:
    """`config`, checked to be one."""
    from fractal_core.nn.tutorial.config import FractalConfig

    if not isinstance(config, FractalConfig):
        raise DTypeError("config", type(config).__name__, "a FractalConfig")
    return config


def check_qkv(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three of them, (B, M, D), (B, N, D), (B, N, Dv), with a contiguous last dimension."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        if checks.tensor(name, x).ndim != 3:
            raise ShapeError(name, tuple(x.shape), "3 dimensions: (batch, length, features)")
        if x.shape[2] == 0:
            raise ShapeError(name, tuple(x.shape), "at least one feature")
        if x.dtype != query.dtype:
            raise DTypeError(name, x.dtype, f"the dtype of query, {query.dtype}")
    if key.shape[0] != query.shape[0] or key.shape[2] != query.shape[2]:
        raise ShapeError("key", tuple(key.shape), f"the batch and features of query, {tuple(query.shape)}")
    if value.shape[:2] != key.shape[:2]:
        raise ShapeError("value", tuple(value.shape), f"the batch and length of key, {tuple(key.shape[:2])}")
    one, two, three = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
    return one, two, three


def of_nothing(module: nn.Module, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
    """What the module gives where there is no batch row, query or key; None where there is one of each."""
    if query.numel() and key.numel():
        return None
    out = query.new_zeros((*query.shape[:2], value.shape[2]))
    out = connected(out, (query, key, value, *module.parameters()))
    return out.squeeze(1) if query.shape[1] == 1 else out


def check_time(t: object, batch: int) -> Tensor:
    """The time as (B, 1), or as (1, 1) where all batch rows share it."""
    if isinstance(t, (int, float)) and not isinstance(t, bool):
        t = torch.tensor(float(t))
    t = checks.tensor("t", t)
    if tuple(t.shape) not in {(), (1,), (1, 1), (batch,), (batch, 1)}:
        raise ShapeError("t", tuple(t.shape), f"(), (1,), ({batch},) or ({batch}, 1)")
    if not bool(t.isfinite().all()):
        raise InvalidArgumentError("t", str(t), "finite numbers")
    return t.reshape(-1, 1)
