"""Neighbours on the lattice of the Heighway dragon."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_core import _native
from fractal_core._arguments import flag, integer
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.base import PatternBase
from fractal_core.patterns.protocol import check_span

__all__ = ["Dragon"]


@dataclass(frozen=True)
class Dragon(PatternBase):
    """Keys whose vertices of the dragon curve are within Chebyshev distance `radius` of the query's.

    At 4096 positions a query has 14.3 keys on average with radius 1, 36.4 with 2. Alone it reaches slowly (56 and 26
    causal layers at 1024 positions): join it with a Cantor set.

    Args:
        radius: 0 or more; at 0 a query attends to the positions at its own vertex, two at most.
    """

    radius: int = 1

    name = "dragon"

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", integer("radius", self.radius, 0, 2**31 - 1))

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        return IndexSet(_native.dragon_set(*check_span(n_queries, n_keys), flag("causal", causal), self.radius))
