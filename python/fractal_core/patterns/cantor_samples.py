"""The Cantor set of a whole sequence."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_core import _native
from fractal_core._arguments import flag, integer
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.base import PatternBase
from fractal_core.patterns.protocol import check_span

__all__ = ["CantorSamples"]


@dataclass(frozen=True)
class CantorSamples(PatternBase):
    """The query itself and the keys floor(x * n), x the Cantor points of step `depth`: the same for every query.

    The points are the left ends of the 2 ** depth intervals of the middle-thirds construction in [0, 1); those of
    every smaller depth are among them. They move as the sequence grows, so the pattern cannot stream.

    Args:
        depth: 0 to 16.
    """

    depth: int = 5

    name = "cantor_samples"
    symmetric = False
    length_dependent = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", integer("depth", self.depth, 0, 16))

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        return IndexSet(_native.cantor_samples_set(*check_span(n_queries, n_keys), flag("causal", causal), self.depth))
