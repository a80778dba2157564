"""Profiles of attention: the mean weight at each distance, the mass of each key, and how even that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fractal_core.dimension import edges
from fractal_core.dimension.edges import EdgeWeights
from fractal_core.dimension.given import Support, on_support

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


class DistanceProfile(NamedTuple):
    """Weights by the distance between query and key."""

    distances: npt.NDArray[np.int64]
    """Query's position less the key's, increasing, (D,): those that the support has."""
    mean: Floats
    """Mean weight of the support's cells at each, (..., D)."""
    mass: Floats
    """Share of all mass at each, (..., D); NaN for matrices without mass."""
    cells: npt.NDArray[np.int64]
    """Cells of the support at each, (D,), or (..., D) where supports differ."""


def _flat(weights: npt.ArrayLike | EdgeWeights, support: Support) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, npt.NDArray[np.bool_] | None, tuple[int, ...], tuple[int, int]
]:  # fmt: skip
    """Query and key of cells, their weights by matrix, which count where not all do, leading axes, N and M."""
    if isinstance(weights, EdgeWeights):
        edges.no_other_support(support)
        query, key = edges.coordinates(weights.index_set)
        return query, key, weights.rows.astype(np.float64), None, weights.lead, weights.index_set.shape
    given, cells, values = on_support("weights", weights, support)
    n, m = given.shape
    query, key = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    return query, key, values.reshape(-1, n * m), cells.reshape(-1, n * m), given.lead, given.shape


def distance_profile(weights: npt.ArrayLike | EdgeWeights, support: Support = "full") -> DistanceProfile:
    """The mean weight at each distance: a series for `dfa`, `higuchi_dimension` and the like.

    Args:
        weights: Shape (..., N, M), 0 or more, or `EdgeWeights`. Queries are the last positions of the keys.
        support: The cells that there are, as the module says.

    Returns:
        The profile over all distances that any support has.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    query, key, values, cells, lead, (n, m) = _flat(weights, support)
    place = query + m - n - key + n - 1
    size = n + m - 1
    one = cells is None or bool((cells == cells[:1]).all())
    rows = np.ones((1, len(place)), bool) if cells is None else cells[:1] if one else cells
    count = np.stack([np.bincount(place[row], minlength=size) for row in rows])
    total = np.stack([np.bincount(place, value, minlength=size) for value in values])
    kept = count.any(axis=0)
    count, total = count[:, kept], total[:, kept]
    with np.errstate(invalid="ignore"):
        mean, mass = total / np.maximum(count, 1), total / total.sum(-1, keepdims=True)
    distances = np.flatnonzero(kept) - n + 1
    shape = (*lead, len(distances))
    return DistanceProfile(
        distances, mean.reshape(shape), mass.reshape(shape), count[0] if one else count.reshape(shape)
    )


class ColumnStatistics(NamedTuple):
    """How much each key is used, and how evenly."""

    mass: Floats
    """Sum of the weights that each key gets, (..., M)."""
    gini: Floats
    """Gini's index of the masses of the keys that the support has, (...); 0 where all are used alike."""
    baseline: Floats
    """The index that uniform attention shows on the same support, (...)."""


def column_statistics(weights: npt.ArrayLike | EdgeWeights, support: Support = "full") -> ColumnStatistics:
    """The mass of each key over all queries, and how unevenly keys share it.

    Args:
        weights: Shape (..., N, M), 0 or more, or `EdgeWeights`.
        support: The cells that there are, as the module says.

    Returns:
        Masses, and Gini's index beside that of uniform attention, which is not 0 on a causal support.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.

    The mathematics: C. Gini, "Variabilità e mutabilità" (1912).
    """
    query, key, values, cells, lead, (n, m) = _flat(weights, support)
    mass = np.stack([np.bincount(key, value, minlength=m) for value in values]).astype(np.float64)
    inside = np.ones((1, len(key)), bool) if cells is None else cells
    used = np.stack([np.bincount(key[row], minlength=m) > 0 for row in inside])
    even = [np.bincount(key[row], 1 / np.bincount(query[row], minlength=n)[query[row]], minlength=m) for row in inside]
    used, baseline = np.broadcast_to(used, mass.shape), np.broadcast_to(np.stack(even), mass.shape)
    gini, of_even = (np.array([_gini(x[u]) for x, u in zip(of, used, strict=True)]) for of in (mass, baseline))
    return ColumnStatistics(mass.reshape(*lead, m), gini.reshape(lead), of_even.reshape(lead))


def _gini(values: Floats) -> float:
    n, total = len(values), values.sum()
    if n == 0 or not total > 0:
        return float("nan")
    return float(((2 * np.arange(1, n + 1) - n - 1) @ np.sort(values)) / (n * total))
