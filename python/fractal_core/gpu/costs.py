"""How long a call takes on a device, as a model that is fitted to a few measured calls.

A call is described by what it has much of: bytes that move, iterations, edges in tiles, edges in rows. Its time is a
constant and a rate for each of these, all of them non-negative. The rates minimise the squared *relative* error of the
measured calls, so that small ones count as much as large ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Cost", "Features", "fit"]

Features = Mapping[str, float]
"""What a call has much of, by name: counts, 0 or more."""

FIXED = "fixed"


@dataclass(frozen=True)
class Cost:
    """Seconds of a call: `fixed`, and so many for one of each feature."""

    fixed: float
    rates: Mapping[str, float] = field(default_factory=dict[str, float])

    def seconds(self, features: Features) -> float:
        """The time of a call; a feature without a rate costs nothing."""
        return self.fixed + sum(self.rates.get(name, 0.0) * count for name, count in features.items())


def fit(calls: Sequence[Features], seconds: Sequence[float]) -> Cost:
    """The cost that explains measured calls best.

    Args:
        calls: The features of each, one call at least.
        seconds: The time of each, above 0.

    Returns:
        Non-negative rates; 0 for what does not explain anything.
    """
    names = sorted({name for features in calls for name in features})
    counts = np.array([[1.0, *(float(features.get(name, 0.0)) for name in names)] for features in calls])
    scale = counts.max(axis=0)
    scale[scale == 0.0] = 1.0
    relative = counts / scale / np.asarray(seconds, dtype=np.float64)[:, None]
    rates = _non_negative(relative) / scale
    return Cost(float(rates[0]), dict(zip(names, map(float, rates[1:]), strict=True)))


def _non_negative(matrix: np.ndarray) -> np.ndarray:
    """X >= 0 that minimises |matrix x - 1|: the best of the least-squares solutions on every set of columns.

    There are a handful of columns, so all sets are tried, which finds the optimum exactly.
    """
    columns = range(matrix.shape[1])
    best, least = np.zeros(matrix.shape[1]), np.inf
    for size in range(1, matrix.shape[1] + 1):
        for chosen in itertools.combinations(columns, size):
            part = matrix[:, chosen]
            found, *_ = np.linalg.lstsq(part, np.ones(len(matrix)), rcond=None)
            if (found < 0).any():
                continue
            error = float(((part @ found - 1.0) ** 2).sum())
            if error < least * (1 - 1e-9):
                best, least = np.zeros(matrix.shape[1]), error
                best[list(chosen)] = found
    return best
