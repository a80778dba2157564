"""Index sets of a pattern at the lengths in use, and where their edges stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fractal_core._torch.recent import Recent
from fractal_core.errors import InvalidArgumentError
from fractal_core.index_sets import IndexSet
from fractal_core.nn import _full_sets
from fractal_core.nn.patterns import bias_of
from fractal_core.patterns import PerHead, check_span
from fractal_core.patterns.window import Window

if TYPE_CHECKING:
    from fractal_core.index_sets import IndexSetStack
    from fractal_core.patterns import PatternBase

__all__ = ["Keys", "Sets", "lengths", "whole"]


@dataclass(frozen=True)
class Keys:
    """The keys of the last queries of a sequence.

    Attributes:
        index_set: which ones.
        bias: the pattern's own bias of keys, (Nk,) or (H, Nk), or None.
        queries: (E,) int64, the query of each edge, or None where nobody asked.
        distances: (E,) int64, how far its key is, or None.
    """

    index_set: IndexSet | IndexSetStack
    bias: Tensor | None = None
    queries: Tensor | None = None
    distances: Tensor | None = None


class Sets:
    """The sets of a pattern, up to a distance; each is made once for each length, and kept with its plan.

    Args:
        pattern: a pattern, or one for each head.
        by_edge: whether `Keys` has the query and the distance of each edge.
    """

    def __init__(self, pattern: PatternBase | PerHead, *, by_edge: bool = False) -> None:
        self.pattern, self.by_edge = pattern, by_edge
        self._kept: Recent[Keys] = Recent()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, n_queries: int, n_keys: int, *, causal: bool, radius: int | None = None) -> Keys:
        """The keys of the last `n_queries` of `n_keys` places, at most `radius` away where it is not None."""
        radius = None if radius is not None and radius >= n_keys - 1 else radius
        return self._kept.get(
            (n_queries, n_keys, causal, radius), lambda: self._made(n_queries, n_keys, causal, radius)
        )

    def _made(self, n_queries: int, n_keys: int, causal: bool, radius: int | None) -> Keys:
        cut = within(self.pattern, radius)
        index_set = cut.index_set(n_queries, n_keys, causal=causal)
        bias = bias_of(self.pattern, n_keys)
        if not (self.by_edge and isinstance(index_set, IndexSet)):
            return Keys(index_set, bias)
        queries = np.repeat(np.arange(n_queries), np.diff(index_set.indptr))
        distances = queries + (n_keys - n_queries) - index_set.indices
        return Keys(index_set, bias, torch.from_numpy(queries), torch.from_numpy(distances))


def within(pattern: PatternBase | PerHead, radius: int | None) -> PatternBase | PerHead:
    """A pattern without the keys farther than `radius`."""
    if radius is None:
        return pattern
    if isinstance(pattern, PerHead):
        return PerHead(tuple(part & Window(radius) for part in pattern.patterns))
    if isinstance(pattern, Window):
        return Window(min(pattern.radius, radius))
    return pattern & Window(radius)


_whole: Recent[IndexSet] = Recent()


def whole(n_queries: int, n_keys: int) -> IndexSet:
    """All keys for every query; a set that was made before needs no tracing."""
    return _whole.get((n_queries, n_keys), lambda: _full_sets.index_set(n_queries, n_keys, False))


def lengths(n_queries: int, n_keys: int) -> tuple[int, int]:
    """Both lengths as numbers, where queries are the last places of the keys.

    Raises:
        InvalidArgumentError: more queries than keys, or a length that is symbolic.
    """
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        n_queries, n_keys = int(n_queries), int(n_keys)
    if not (type(n_queries) is int and type(n_keys) is int):
        allowed = "a fixed length: an exported layer holds the index set of one length; export one for each length"
        raise InvalidArgumentError("x", "a length that is symbolic", allowed)
    return check_span(n_queries, n_keys)
