"""The Sierpinski triangle as an attention mask."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_core import _native
from fractal_core._arguments import flag
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.base import PatternBase
from fractal_core.patterns.protocol import check_span

__all__ = ["Sierpinski"]


@dataclass(frozen=True)
class Sierpinski(PatternBase):
    """Keys j with `i & j == j`: 3^k edges among the first 2^k positions, 2^popcount(i) keys at position i.

    All of them are at or before the query, causal or not. The relation is transitive: more layers alone reach nothing
    new, and rows such as i = 2^k - 1 hold every earlier key. Join it with a window.
    """

    name = "sierpinski"
    symmetric = False

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        return IndexSet(_native.sierpinski_set(*check_span(n_queries, n_keys), flag("causal", causal)))
