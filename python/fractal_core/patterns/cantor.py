"""Integer Cantor sets as distances."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_core import _native
from fractal_core._arguments import digit_set, flag, integer
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.base import PatternBase
from fractal_core.patterns.protocol import check_span

__all__ = ["Cantor"]


@dataclass(frozen=True)
class Cantor(PatternBase):
    """Keys whose distance from the query has only `digits` in base `base`; held as offsets.

    With digits (0, 1) exactly base - 1 layers reach every earlier position, at about n ** log(2, base) keys a query.
    The classical digits (0, 2) of base 3 are all even distances: half of the positions stay out of reach for ever.

    Args:
        base: 2 or more.
        digits: increasing, from 0, below base.
    """

    base: int = 3
    digits: tuple[int, ...] = (0, 1)

    name = "cantor"

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", integer("base", self.base, 2, 2**31 - 1))
        object.__setattr__(self, "digits", digit_set("digits", self.digits, self.base))

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        return IndexSet(
            _native.cantor_set(*check_span(n_queries, n_keys), flag("causal", causal), self.base, list(self.digits))
        )
