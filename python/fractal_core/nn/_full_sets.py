"""Sets of all keys, or of those up to the query's own place: of whole or of packed sequences, planned once for all."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fractal_core.index_sets import IndexSet
from fractal_core.nn import _travel

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["handle", "index_set", "packed"]


@lru_cache(maxsize=64)
def packed(queries: bytes, keys: bytes, causal: bool) -> IndexSet:
    """One run a query: the keys of its sequence, up to its own place in it where causal.

    Args:
        queries: where the sequences start and the last one ends, the bytes of int64.
        keys: the same for the keys.
        causal: query i of a sequence sees its keys 0 .. i.
    """
    starts = (np.frombuffer(ends, np.int64) for ends in (queries, keys))
    return IndexSet.from_segments(*starts, causal=causal, align="upper_left")


def index_set(n_queries: int, n_keys: int, causal: bool) -> IndexSet:
    """`packed` of one sequence."""
    queries, keys = (np.array([0, n], np.int64).tobytes() for n in (n_queries, n_keys))
    return packed(queries, keys, causal)


@_travel.constant
def handle(n_queries: int, n_keys: int, causal: bool) -> Tensor:
    """The key of the set of one sequence for the op."""
    return _travel.handle(index_set(n_queries, n_keys, causal))
