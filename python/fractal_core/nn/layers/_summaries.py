"""Strided summaries: means of runs of keys, that a query sees once the whole run lies behind it.

Letters: B batch, H heads, Nk keys, D features of a head, C runs.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

from fractal_core._torch.recent import Recent
from fractal_core.index_sets import IndexSet

__all__ = ["Summaries", "seen", "summaries"]


class Summaries(NamedTuple):
    """Keys and values of the runs."""

    k: Tensor
    """(B, H, C, D)"""
    v: Tensor
    """(B, H, C, D)"""
    padding: Tensor | None
    """(B, C) bool, True for a run of ignored keys alone."""


def summaries(k: Tensor, v: Tensor, padding: Tensor | None, stride: int, *, partial: bool) -> Summaries:
    """Means of `stride` keys and values each, of those that are not ignored.

    Args:
        k: (B, H, Nk, D).
        v: (B, H, Nk, D).
        padding: (B, Nk) bool, True where a key is ignored, or None.
        stride: keys of a run.
        partial: whether the last keys, fewer than a run, are one.
    """
    n = k.shape[2]
    runs = -(-n // stride) if partial else n // stride
    kept, missing = min(n, runs * stride), runs * stride - min(n, runs * stride)
    counted = k.new_ones((1, kept)) if padding is None else (~padding[:, :kept]).to(k.dtype)
    counts = _cut(pad(counted, (0, missing))[:, None, :, None], runs, stride).sum(3)
    share = counted[:, None, :, None]

    def mean(x: Tensor) -> Tensor:
        # What is ignored may hold anything, NaN included.
        x = x[:, :, :kept].masked_fill(share == 0, 0.0)
        total = _cut(pad(x, (0, 0, 0, missing)), runs, stride).sum(3)
        return total / counts.clamp(min=1)

    return Summaries(mean(k), mean(v), None if padding is None else counts[:, 0, :, 0] == 0)


def _cut(x: Tensor, runs: int, stride: int) -> Tensor:
    """(B, H, C, stride, D)."""
    return cast("Tensor", x.unflatten(2, (runs, stride)))


_kept: Recent[IndexSet] = Recent()


def seen(n_queries: int, n_keys: int, stride: int, *, causal: bool) -> IndexSet:
    """Which runs the last queries see, (Nq, C): causal, those that end at or before the query; else all."""
    key = (n_queries, n_keys, stride, causal)
    return _kept.get(key, lambda: _seen(*key))


def _seen(n_queries: int, n_keys: int, stride: int, causal: bool) -> IndexSet:
    runs = n_keys // stride if causal else -(-n_keys // stride)
    counts = np.full(n_queries, runs)
    if causal:
        counts = (np.arange(n_queries) + n_keys - n_queries + 1) // stride
    some = counts > 0
    indptr = np.concatenate([[0], np.cumsum(some)])
    return IndexSet.from_runs(indptr, np.zeros(int(some.sum()), np.int64), counts[some], runs)
