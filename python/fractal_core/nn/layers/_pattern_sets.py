"""The sets of one pattern, and their keys as lists, as layers that skip tokens need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core._torch.recent import Recent
from fractal_core.index_sets import IndexSet
from fractal_core.nn._sets import Sets
from fractal_core.nn.patterns import resolve_one

if TYPE_CHECKING:
    from fractal_core.patterns import Pattern

__all__ = ["PatternSets"]


class PatternSets(Sets):
    """`Sets` of one pattern for all heads, with their keys as lists; copies and pickles build them anew.

    Raises:
        InvalidArgumentError: patterns that differ by head.
    """

    def __init__(self, pattern: Pattern | str) -> None:
        super().__init__(resolve_one(pattern))
        self._lists: Recent[Tensor] = Recent(8)

    def lists(self, n_queries: int, n_keys: int, *, causal: bool) -> Tensor:
        """(Nq, K) int32, the keys of each query, -1 a pad."""
        return self._lists.get((n_queries, n_keys, causal), lambda: self._listed(n_queries, n_keys, causal))

    def _listed(self, n_queries: int, n_keys: int, causal: bool) -> Tensor:
        index_set = self.get(n_queries, n_keys, causal=causal).index_set
        assert isinstance(index_set, IndexSet)
        return torch.from_numpy(index_set.to_padded())
