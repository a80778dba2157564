"""Random keys, the control of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_core import _native
from fractal_core._arguments import flag, integer
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.base import PatternBase
from fractal_core.patterns.protocol import check_span

__all__ = ["Random"]


@dataclass(frozen=True)
class Random(PatternBase):
    """The query itself and `k` distinct earlier keys, drawn uniformly; without `causal` also those that drew the query.

    The draws come from a counter keyed by the seed and the position: the same rows at any length, on any machine.

    Args:
        k: keys to draw; a position with fewer earlier ones takes all of them.
        seed: 0 to 2^64 - 1.
    """

    k: int = 16
    seed: int = 0

    name = "random"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", integer("k", self.k, 0, 2**31 - 1))
        object.__setattr__(self, "seed", integer("seed", self.seed, 0, 2**64 - 1))

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        return IndexSet(_native.random_set(*check_span(n_queries, n_keys), flag("causal", causal), self.k, self.seed))
