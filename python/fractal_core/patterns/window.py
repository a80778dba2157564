"""Sliding windows."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_core import _native
from fractal_core._arguments import flag, integer
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.base import PatternBase
from fractal_core.patterns.protocol import check_span

__all__ = ["Window"]


@dataclass(frozen=True)
class Window(PatternBase):
    """Keys at most `radius` positions away; held as offsets, so a plan of it takes O(radius) bytes at any length.

    Args:
        radius: 0 or more; 0 is the query's own key alone.
    """

    radius: int = 64

    name = "window"

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", integer("radius", self.radius, 0, 2**31 - 1))

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        return IndexSet(_native.window_set(*check_span(n_queries, n_keys), flag("causal", causal), self.radius))
