"""Neighbourhoods of a sequence laid along the Hilbert curve, and of raster boxes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from fractal_core import _native
from fractal_core._arguments import flag, integer
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.base import PatternBase
from fractal_core.patterns.protocol import check_span

__all__ = ["Hilbert"]


@dataclass(frozen=True)
class Hilbert(PatternBase):
    """Keys in the `window` by `window` square of cells around the query's cell.

    Without a shape, position i is the i-th cell of the plane's Hilbert curve, which stays as it is when the sequence
    grows. Nearness on the curve is nearness in the plane; the converse is false: cells side by side may be thousands of
    positions apart, and this pattern connects them.

    With a shape, positions are the cells of a raster box, last axis fastest, the neighbourhood is exact and cut off at
    the borders, and only the order in which a plan takes the queries follows a Hilbert curve.

    Args:
        window: side of the square (or cube), odd.
        shape: (W,), (H, W) or (D, H, W) of a box whose cells the keys are; any sizes.
    """

    window: int = 7
    shape: tuple[int, ...] | None = None

    name = "hilbert"

    def __post_init__(self) -> None:
        window = integer("window", self.window, 1, 2**31 - 1)
        if window % 2 == 0:
            raise InvalidArgumentError("window", window, "an odd number of cells")
        object.__setattr__(self, "window", window)
        if self.shape is None:
            return
        try:
            shape = tuple(integer("shape", side, 1, 2**31 - 1) for side in self.shape)
        except TypeError as error:
            if isinstance(error, DTypeError):
                raise
            raise DTypeError("shape", repr(self.shape), "a tuple of integers") from None
        if not 1 <= len(shape) <= 3 or prod(shape) > 2**31 - 1:
            raise ShapeError("shape", shape, "1 to 3 axes and at most 2^31 - 1 cells")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "length", prod(shape))
        object.__setattr__(self, "length_dependent", True)

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`."""
        n_queries, n_keys = check_span(n_queries, n_keys)
        causal, radius = flag("causal", causal), self.window // 2
        if self.shape is None:
            return IndexSet(_native.hilbert_set(n_queries, n_keys, causal, radius))
        return IndexSet(_native.hilbert_box_set(n_queries, n_keys, causal, list(self.shape), radius))
