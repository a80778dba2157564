"""The pattern `koch`: distances whose base-4 digits are 0, 1 or 3."""

from __future__ import annotations

from dataclasses import dataclass

import fractal_core as fc
import numpy as np
from fractal_core.errors import InvalidArgumentError
from fractal_core.patterns import PatternBase, check_span

__all__ = ["Koch"]


@dataclass(frozen=True)
class Koch(PatternBase):
    """Keys whose distance from the query has only the digits 0, 1 and 3 in base 4.

    Args:
        levels: digits that a distance may have, 1 to 12; the farthest key is 4 ** levels - 1 positions away.
    """

    levels: int = 8

    name = "koch"

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 12:
            raise InvalidArgumentError("levels", self.levels, "1 ..= 12")

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> fc.IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions."""
        n_queries, n_keys = check_span(n_queries, n_keys)
        distances = np.zeros(1, dtype=np.int64)
        for power in 4 ** np.arange(self.levels):
            distances = (distances + power * np.array([[0], [1], [3]])).ravel()
        distances = distances[distances < n_keys]
        offsets = distances if causal else np.union1d(distances, -distances)
        return fc.IndexSet.from_offsets(offsets, n_queries, n_keys)
