"""Sets of points: the correlation sum and its dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from fractal_core import _native
from fractal_core._arguments import integer, real
from fractal_core.dimension.given import floats
from fractal_core.dimension.slope import Slope, fitted, logs
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

METRICS = ("euclidean", "hellinger", "jensen_shannon")
FEW_POINTS = "fewer points than 10^(D / 2)"
_RADII = 16


def _points(value: npt.ArrayLike, metric: str) -> npt.NDArray[np.float64]:
    array = floats("points", value).astype(np.float64, copy=False)
    if array.ndim != 2 or array.shape[0] < 3 or array.shape[1] == 0:
        raise ShapeError("points", array.shape, "(n, width), three points or more")
    if metric not in METRICS:
        raise InvalidArgumentError("metric", repr(metric), "euclidean, hellinger or jensen_shannon")
    return array


def _radii(value: Iterable[float]) -> list[float]:
    try:
        radii = [real("radii", r) for r in value]
    except TypeError as error:
        if isinstance(error, DTypeError):
            raise
        raise DTypeError("radii", repr(value), "a sequence of numbers") from None
    return radii


def correlation_sum(
    points: npt.ArrayLike, radii: Iterable[float], *, metric: str = "euclidean", theiler: SupportsIndex = 1
) -> npt.NDArray[np.float64]:
    """Share of pairs of points that are closer than each radius.

    Args:
        points: Shape (n, width), finite; for distributions rows of weights, 0 or more, which are scaled to sum 1.
        radii: Above 0, increasing.
        metric: "euclidean"; of distributions "hellinger" or "jensen_shannon" (the square root, in nats).
        theiler: Pairs count from this many places apart on; above 1 it keeps neighbours in time out.

    Returns:
        Shape (R,), float64, in 0 .. 1.

    Raises:
        InvalidArgumentError: A coordinate is not finite, or a parameter outside of its range.
        ShapeError: `points` has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: P. Grassberger and I. Procaccia, Physica D 9 (1983).
    """
    array = _points(points, metric)
    window = integer("theiler", theiler, 1, len(array) - 1)
    counted = _native.closer_pairs(array, metric, _radii(radii), window)
    return np.array(counted[:-1], np.float64) / counted[-1]


def correlation_dimension(
    points: npt.ArrayLike,
    *,
    radii: Iterable[float] | None = None,
    metric: str = "euclidean",
    theiler: SupportsIndex = 1,
) -> Slope:
    """Correlation dimension of a set of points: the slope of the correlation sum over the radius.

    Args:
        points: As in `correlation_sum`.
        radii: As in `correlation_sum`, two or more; by default 16, spaced evenly in their logarithm between the radii
            that hold one pair for every ten points, and a twentieth of all pairs.
        metric: As in `correlation_sum`.
        theiler: As in `correlation_sum`.

    Returns:
        `D` as a single value; `counts` are shares of pairs.

    Raises:
        InvalidArgumentError: A coordinate is not finite, all points are one, or a parameter is outside of its range.
        ShapeError: `points` has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: P. Grassberger and I. Procaccia, Physica D 9 (1983); the least number of points, J.-P. Eckmann and
    D. Ruelle, Physica D 56 (1992).
    """
    array = _points(points, metric)
    window = integer("theiler", theiler, 1, len(array) - 1)
    chosen = _chosen(array, metric, window) if radii is None else _radii(radii)
    if len(chosen) < 2:
        raise InvalidArgumentError("radii", chosen, "two or more")
    shares = correlation_sum(array, chosen, metric=metric, theiler=window)
    slope = fitted("correlation", metric, chosen, logs(shares), shares, lead=())
    few = np.asarray(len(array) < 10 ** (float(slope.value) / 2))
    return fitted("correlation", metric, chosen, logs(shares), shares, lead=(), flags={FEW_POINTS: few})


def _chosen(array: npt.NDArray[np.float64], metric: str, theiler: int) -> list[float]:
    low, high = _native.distance_extent(array, metric, theiler)
    if not low < high:
        raise InvalidArgumentError("points", f"distances from {low} to {high}", "points with different distances")
    fine = np.geomspace(low, high, 512)
    shares = correlation_sum(array, fine.tolist(), metric=metric, theiler=theiler)
    n = len(array)
    least, most = min(0.2 / n, 0.01), 0.05
    start = int(np.searchsorted(shares, least))
    stop = max(int(np.searchsorted(shares, most)), start + 1)
    ends = float(fine[start]), float(fine[min(stop, len(fine) - 1)]) * (1 + 1e-9)
    radii: npt.NDArray[np.float64] = np.geomspace(*ends, _RADII)
    return [float(r) for r in radii]
