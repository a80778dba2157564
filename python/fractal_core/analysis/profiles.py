"""Rows of attention drawn as fractal functions, and coarser copies of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def interpolated_rows(
    weights: npt.NDArray[np.float64], cells: npt.NDArray[np.bool_], pieces: int, scaling: float
) -> npt.NDArray[np.float64]:
    """Every row's cumulative profile replaced by a fractal interpolation function through some of its points.

    The keys of a row are cut into `pieces` runs. With F the cumulative share, each run's part of F is its own chord,
    of share `1 - scaling`, plus `scaling` times a copy of the whole of F, shrunk to the run: Barnsley's interpolation
    with vertical scalings `scaling * dF`, which keep F increasing. A run keeps its mass, a row its sum, and no weight
    leaves the support or becomes negative.

    Args:
        weights: (N, M), 0 or more, 0 outside of the cells.
        cells: (N, M).
        pieces: Runs of a row, 1 or more; rows with fewer keys come back as they are.
        scaling: In 0 .. 1, below 1; at 0 the profile is piecewise linear.

    Returns:
        (N, M), rows with the sums of the weights.

    The mathematics: M. F. Barnsley, "Fractal functions and interpolation", Constructive Approximation 2 (1986).
    """
    n, m = weights.shape
    # The cells of a row first, in their order.
    order = np.argsort(~cells, axis=1, kind="stable")
    counts = cells.sum(axis=1)
    mass = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.take_along_axis(weights, order, axis=1) / mass
    profile = np.concatenate([np.zeros((n, 1)), np.cumsum(np.nan_to_num(shares), axis=1)], axis=1)
    knots: npt.NDArray[np.int64] = np.arange(pieces + 1, dtype=np.int64) * counts[:, None] // pieces
    at = np.take_along_axis(profile, knots, axis=1)
    width = np.maximum(counts, 1)[:, None]
    x = np.minimum(np.arange(m + 1, dtype=np.int64), counts[:, None]) / width
    starts = knots / width
    found = _evaluated(x, starts, at, scaling)
    drawn = np.zeros_like(weights)
    np.put_along_axis(drawn, order, np.maximum(np.diff(found, axis=1), 0.0), axis=1)
    return np.where((counts < pieces)[:, None], weights, drawn * mass)


def _evaluated(
    x: npt.NDArray[np.float64], starts: npt.NDArray[np.float64], at: npt.NDArray[np.float64], scaling: float
) -> npt.NDArray[np.float64]:
    """The interpolation functions of rows, with knots (N, P + 1) and their values, at places (N, K) in 0 .. 1."""
    found = (x >= 1).astype(np.float64).reshape(-1) * np.repeat(at[:, -1], x.shape[1])
    where = np.flatnonzero(x < 1)
    place, factor = x.reshape(-1)[where], np.ones(len(where))
    while where.size:
        row = where // x.shape[1]
        run = (place[:, None] >= starts[row, 1:-1]).sum(axis=1)
        left, right, low, high = starts[row, run], starts[row, run + 1], at[row, run], at[row, run + 1]
        place = np.clip((place - left) / np.maximum(right - left, 1e-300), 0.0, 1.0)
        found[where] += factor * (low + (high - low) * (1 - scaling) * place)
        factor = factor * (high - low) * scaling
        # What is left of the function adds less than this.
        open_ = factor > 1e-14
        where, place, factor = where[open_], place[open_], factor[open_]
    return found.reshape(x.shape)


def relative(weights: npt.NDArray[np.float64], cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Weights over those of uniform attention with the row's mass: 1 where attention is even."""
    keys = cells.sum(axis=1, keepdims=True)
    mass = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(cells & (mass > 0), weights * keys / mass, 0.0)


def boxed(array: npt.NDArray[Any], side: int) -> npt.NDArray[np.float64]:
    """Sums over boxes of a side; those at the end hold what is left."""
    n, m = (-(-length // side) * side for length in array.shape)
    padded = np.zeros((n, m))
    padded[: array.shape[0], : array.shape[1]] = array
    return padded.reshape(n // side, side, m // side, side).sum(axis=(1, 3))


def self_similarity(weights: npt.NDArray[np.float64], cells: npt.NDArray[np.bool_], factor: int) -> float:
    """How much the parts of a matrix look like the whole of it, shrunk: a mean correlation, -1 to 1.

    The matrix is cut into `factor` by `factor` parts, the whole is averaged over boxes of that side, and each part is
    correlated with it over the cells that both have, in weights relative to uniform attention. Parts count by their
    mass. Rows and columns beyond a multiple of the factor are left out. NaN where no part varies.
    """
    n, m = (length // factor for length in weights.shape)
    field, there = relative(weights, cells)[: n * factor, : m * factor], cells[: n * factor, : m * factor]
    held = boxed(there, factor)
    with np.errstate(invalid="ignore"):
        whole = boxed(field, factor) / np.maximum(held, 1)
    found, total = 0.0, 0.0
    for row in range(factor):
        for column in range(factor):
            here = (slice(row * n, (row + 1) * n), slice(column * m, (column + 1) * m))
            both = there[here] & (held > 0)
            mass = float(weights[: n * factor, : m * factor][here].sum())
            if mass <= 0 or both.sum() < 3:
                continue
            a, b = field[here][both], whole[both]
            a, b = a - a.mean(), b - b.mean()
            norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
            # What differs from a constant by rounding alone does not vary.
            if norm > 1e-9 * len(a):
                found += mass * float((a * b).sum()) / norm
                total += mass
    return found / total if total > 0 else float("nan")
