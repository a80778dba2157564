"""Positions scattered over the plane of a Julia set; a research pattern."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Complex
from typing import cast

from fractal_core import _native
from fractal_core._arguments import complex_number, flag, integer
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.base import PatternBase
from fractal_core.patterns.protocol import check_span

__all__ = ["Julia"]


@dataclass(frozen=True)
class Julia(PatternBase):
    """A window, and the nearest positions that escape from the Julia set of z ** 2 + c as fast as the query does.

    Position i is at the i-th point of a low-discrepancy sequence (the R2 sequence of the plastic number) in the square
    |Re z|, |Im z| <= 1.5; its level is the number of steps it stays within |z| <= 2. For research: no gain from such
    keys is known, and a query needs the levels of all keys before it. For few queries among up to 2 ** 24 keys a thread
    keeps the levels of its last two parameters, 8 bytes a position, so that a decode step computes one level.

    Args:
        c: the parameter, finite.
        window: keys at most this many positions away.
        neighbours: how many earlier and how many later positions of the same level.
        max_iter: steps after which a position counts as never escaping, at least 1.
    """

    c: complex = -0.7 + 0.27j
    window: int = 16
    neighbours: int = 16
    max_iter: int = 64

    name = "julia"

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.c), Complex):
            raise DTypeError("c", repr(self.c), "a number")
        c = complex_number("c", self.c)
        if not (abs(c.real) <= 2 and abs(c.imag) <= 2):
            raise InvalidArgumentError("c", c, "real and imaginary part from -2 to 2")
        object.__setattr__(self, "c", c)
        object.__setattr__(self, "window", integer("window", self.window, 0, 2**31 - 1))
        object.__setattr__(self, "neighbours", integer("neighbours", self.neighbours, 0, 2**31 - 1))
        object.__setattr__(self, "max_iter", integer("max_iter", self.max_iter, 1, 2**20))

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        span = check_span(n_queries, n_keys)
        return IndexSet(
            _native.julia_set(*span, flag("causal", causal), self.c, self.window, self.neighbours, self.max_iter)
        )
