"""What attention makes of distances and of keys, whatever the query."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fractal_core import _native
from fractal_core._arguments import integer
from fractal_core.dimension.given import Support, Weights, matrices
from fractal_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing import SupportsIndex

    import numpy.typing as npt


class DistanceProfile(NamedTuple):
    """Mean weight by distance."""

    distances: npt.NDArray[np.int64]
    """Position of the query less that of the key, `1 - N` to `M - 1`, increasing, (K,)."""
    values: npt.NDArray[np.float64]
    """Mean weight over the support's cells at this distance, (..., K); NaN where there are none."""
    cells: npt.NDArray[np.int64]
    """How many cells there are, (..., K)."""

    def series(self, first: SupportsIndex = 0, last: SupportsIndex | None = None) -> npt.NDArray[np.float64]:
        """The values from one distance to another as a series, for `higuchi_dimension` or `dfa`.

        Args:
            first: The smallest distance.
            last: The largest; by default the largest that has a cell.

        Returns:
            Shape (..., n).

        Raises:
            InvalidArgumentError: A distance has no cell, or is outside of the matrix.
            DTypeError: An argument is no integer.
        """
        low, high = int(self.distances[0]), int(self.distances[-1])
        held = np.flatnonzero((self.cells > 0).any(axis=tuple(range(self.cells.ndim - 1))))
        start = integer("first", first, low, high)
        stop = int(self.distances[held[-1]]) if last is None and held.size else high
        stop = stop if last is None else integer("last", last, start, high)
        part = self.values[..., start - low : stop + 1 - low]
        gaps = np.flatnonzero(np.isnan(part).any(axis=tuple(range(part.ndim - 1))))
        if gaps.size or not part.shape[-1]:
            given = f"{start} to {stop}, without a cell at {start + int(gaps[0]) if gaps.size else start}"
            raise InvalidArgumentError("first", given, "distances that all have cells")
        return np.ascontiguousarray(part)


def distance_profile(weights: Weights, support: Support = "full") -> DistanceProfile:
    """Mean weight by the distance between query and key, over the cells of the support.

    Args:
        weights: Shape (..., N, M), 0 or more, or `EdgeWeights`.
        support: The cells that there are, as the module says.

    Returns:
        One number a distance.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    given = matrices("weights", weights, support, edges=True)
    found = _native.mean_profile(given.values, given.support, "distance")
    found = found.reshape(*given.lead, *found.shape[1:])
    n, m = given.shape
    return DistanceProfile(np.arange(1 - n, m), found[..., 0], found[..., 1].astype(np.int64))


def column_gini(weights: Weights, support: Support = "full") -> npt.NDArray[np.float64]:
    """Gini's index over keys of the mean weight that each gets from the queries that have it on the support.

    By the mean, not the sum, keys that few queries can see are not poor for that.

    Args:
        weights: Shape (..., N, M), 0 or more, or `EdgeWeights`.
        support: The cells that there are, as the module says.

    Returns:
        Shape (...), 0 where all keys get the same, `1 - 1 / keys` where one gets all; NaN without mass, and with fewer
        than two keys on the support.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: N. Hurley and S. Rickard, "Comparing Measures of Sparsity" (2009).
    """
    given = matrices("weights", weights, support, edges=True)
    found = _native.mean_profile(given.values, given.support, "key")
    gini = np.full(len(found), np.nan)
    for i, (means, cells) in enumerate(np.moveaxis(found, 2, 1)):
        ordered = np.sort(means[cells > 0])
        n, total = len(ordered), ordered.sum()
        if n > 1 and total > 0:
            gini[i] = max(float((2 * np.arange(1, n + 1) - n - 1) @ ordered) / (n * total), 0.0)
    return gini.reshape(given.lead)
