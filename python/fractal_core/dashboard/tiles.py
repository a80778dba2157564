"""Part of an attention matrix at the resolution of a screen: what is looked at, and nothing more, is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fractal_core.dimension import EdgeWeights
from fractal_core.errors import ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Tile", "tile"]


class Tile(NamedTuple):
    """Pixels of a rectangle of a matrix."""

    values: npt.NDArray[np.float64]
    """The largest weight in each pixel, (rows, columns): a single strong weight is never lost."""
    queries: npt.NDArray[np.int64]
    """First query of each row of pixels, (rows,)."""
    keys: npt.NDArray[np.int64]
    """First key of each column of pixels, (columns,)."""
    side: int
    """Queries and keys of a pixel."""


def tile(
    weights: npt.NDArray[Any] | EdgeWeights,
    queries: tuple[float, float] | None = None,
    keys: tuple[float, float] | None = None,
    pixels: int = 256,
) -> Tile:
    """The pixels of some queries and keys, at most `pixels` a side.

    Args:
        weights: One head, (N, M) or its edges; no matrix is made of edges.
        queries: First and last; all by default. What lies outside is cut off, as a view may.
        keys: First and last.
        pixels: Most along either side.

    Returns:
        The tile; for edges its cost is that of the edges of its queries.

    Raises:
        ShapeError: More than one head.
    """
    if isinstance(weights, EdgeWeights):
        if weights.lead:
            raise ShapeError("weights", weights.shape, "one head")
        n, m = weights.index_set.shape
    else:
        if weights.ndim != 2:
            raise ShapeError("weights", weights.shape, "one head, (N, M)")
        n, m = weights.shape
    (top, bottom), (left, right) = _range(queries, n), _range(keys, m)
    side = max(1, -(-max(bottom - top, right - left) // pixels))
    # Pixels begin at multiples of their side, so that moving a view moves them and does not change them.
    top, left = top // side * side, left // side * side
    shape = (-(-(bottom - top) // side), -(-(right - left) // side))
    values = np.zeros(shape)
    if isinstance(weights, EdgeWeights):
        indptr = weights.index_set.indptr
        first, last = int(indptr[top]), int(indptr[bottom])
        query = np.repeat(np.arange(top, bottom), np.diff(indptr[top : bottom + 1]))
        key = weights.index_set.indices[first:last].astype(np.int64)
        inside = (key >= left) & (key < right)
        places = ((query[inside] - top) // side, (key[inside] - left) // side)
        np.maximum.at(values, places, weights.values[first:last][inside].astype(np.float64))
    else:
        part = weights[top:bottom, left:right].astype(np.float64)
        rows = np.maximum.reduceat(part, np.arange(0, int(part.shape[0]), side), axis=0)
        values = np.maximum.reduceat(rows, np.arange(0, int(part.shape[1]), side), axis=1)
    return Tile(values, np.arange(shape[0]) * side + top, np.arange(shape[1]) * side + left, side)


def _range(asked: tuple[float, float] | None, n: int) -> tuple[int, int]:
    """First and one past the last of some of n, at least one."""
    if asked is None:
        return 0, n
    low, high = sorted(asked)
    first = int(np.clip(np.floor(low + 0.5), 0, n - 1))
    return first, int(np.clip(np.floor(high + 0.5) + 1, first + 1, n))
