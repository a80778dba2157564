"""The index sets of a pattern for the lengths in use, as the layers of this folder need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from fractal_core._torch.recent import Recent
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn.patterns import bias_of, grows_at_the_end, resolve
from fractal_core.patterns import PatternBase

if TYPE_CHECKING:
    from fractal_core.index_sets import IndexSet
    from fractal_core.patterns import Pattern

__all__ = ["Held", "PatternSets"]


class Held(NamedTuple):
    """One length's."""

    index_set: IndexSet
    bias: Tensor | None
    """(H|1, Nk), the pattern's own."""


class PatternSets:
    """A pattern with its index sets, built once for each length; copies and pickles build them anew.

    Raises:
        InvalidArgumentError: patterns that differ by head.
    """

    def __init__(self, pattern: Pattern | str) -> None:
        found = resolve(pattern)
        if not isinstance(found, PatternBase):
            raise InvalidArgumentError("pattern", repr(found), "one pattern for all heads")
        self.pattern = found
        self._sets: Recent[Held] = Recent()
        self._lists: Recent[Tensor] = Recent(8)

    def get(self, n_queries: int, n_keys: int, causal: bool) -> Held:
        """Of the last `n_queries` of `n_keys` tokens."""

        def make() -> Held:
            index_set = self.pattern.index_set(n_queries, n_keys, causal=causal)
            bias = bias_of(self.pattern, n_keys)
            bias = None if bias is None else bias.reshape(-1, n_keys)
            return Held(index_set, bias)

        return self._sets.get((n_queries, n_keys, causal), make)

    def lists(self, n_queries: int, n_keys: int, causal: bool) -> Tensor:
        """(Nq, K) int32, the keys of each query, -1 a pad."""
        key = (n_queries, n_keys, causal)
        return self._lists.get(key, lambda: torch.from_numpy(self.get(*key).index_set.to_padded()))

    def streams(self, argument: str) -> None:
        """Refuse a pattern that a longer sequence changes."""
        if not grows_at_the_end(self.pattern):
            allowed = "a pattern that a longer sequence keeps, which says so by length_dependent = False"
            raise InvalidArgumentError(argument, f"the length-dependent pattern {self.pattern.name!r}", allowed)
