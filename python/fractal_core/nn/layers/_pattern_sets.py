"""A pattern's index sets, and their keys as lists, as layers that skip tokens need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core._torch.recent import Recent
from fractal_core.errors import InvalidArgumentError
from fractal_core.index_sets import IndexSet
from fractal_core.nn.layers._sets import Sets
from fractal_core.nn.patterns import resolve
from fractal_core.patterns import PatternBase

if TYPE_CHECKING:
    from fractal_core.patterns import Pattern

__all__ = ["PatternSets"]


class PatternSets:
    """The sets of one pattern, built once for each length; copies and pickles build them anew.

    Raises:
        InvalidArgumentError: patterns that differ by head.
    """

    def __init__(self, pattern: Pattern | str) -> None:
        found = resolve(pattern)
        if not isinstance(found, PatternBase):
            raise InvalidArgumentError("pattern", repr(found), "one pattern for all heads")
        self.pattern = found
        self._sets = Sets(found)
        self._lists: Recent[Tensor] = Recent(8)

    def get(self, n_queries: int, n_keys: int, causal: bool) -> tuple[IndexSet, Tensor | None]:
        """Of the last `n_queries` of `n_keys` tokens: the set, and the pattern's own bias (H|1, n_keys)."""
        keys = self._sets.get(n_queries, n_keys, causal=causal)
        assert isinstance(keys.index_set, IndexSet)
        return keys.index_set, None if keys.bias is None else keys.bias.reshape(-1, n_keys)

    def lists(self, n_queries: int, n_keys: int, causal: bool) -> Tensor:
        """(Nq, K) int32, the keys of each query, -1 a pad."""
        key = (n_queries, n_keys, causal)
        return self._lists.get(key, lambda: torch.from_numpy(self.get(*key)[0].to_padded()))
