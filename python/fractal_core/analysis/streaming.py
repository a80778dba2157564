"""Dimensions of attention while it grows: one row for every new token, in time of the order of its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from fractal_core._arguments import integer
from fractal_core.dimension import RowStatistics, Slope, row_statistics
from fractal_core.dimension.given import SMALLEST, floats
from fractal_core.dimension.slope import fitted
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["StreamingDimensions"]

_SIDES = 20


class StreamingDimensions:
    """D0, D1 and D2 of causal attention, row by row, equal to those of the whole matrix.

    A new row is summed into boxes of sides 1, 2, 4, …, each from the one before: twice its length in all. The matrix is
    not kept.

    Attributes:
        heads: H.
        tokens: Rows so far.

    Example:
        >>> import numpy as np
        >>> stream = StreamingDimensions(heads=1)
        >>> for n in range(1, 65):
        ...     _ = stream.add(np.full((1, n), 1 / n))
        >>> found = stream.dimensions()
        >>> bool(abs(found.value - found.baseline).max() < 1e-12)
        True
    """

    def __init__(self, heads: SupportsIndex) -> None:
        """Begin without a token.

        Raises:
            InvalidArgumentError: `heads` is not 1 or more.
            DTypeError: `heads` is no integer.
        """
        self.heads = integer("heads", heads, 1, 2**31 - 1)
        self.tokens = 0
        self._mass = np.zeros(self.heads + 1)
        # By side: sums over the boxes of complete rows, and the row of boxes that still grows. The last head is uniform
        # attention, the baseline.
        self._done = np.zeros((_SIDES, 3, self.heads + 1))
        self._open: list[Floats] = [np.zeros((self.heads + 1, 0)) for _ in range(_SIDES)]

    def add(self, row: npt.ArrayLike) -> RowStatistics:
        """One more query.

        Args:
            row: Shape (H, n), the weights of the n-th token over all n so far, itself included; 0 or more.

        Returns:
            The statistics of the row, each of shape (H, 1).

        Raises:
            InvalidArgumentError: A weight is negative or not finite, or there are 2^20 tokens.
            ShapeError: Another number of heads, or of keys than one more than before.
            DTypeError: No real dtype.
        """
        weights = floats("row", row).astype(np.float64, copy=False)
        n = self.tokens + 1
        if weights.shape != (self.heads, n):
            raise ShapeError("row", weights.shape, (self.heads, n))
        if n > 1 << _SIDES:
            raise InvalidArgumentError("row", f"token {n}", f"at most {1 << _SIDES} tokens")
        found = row_statistics(weights[:, None, :])
        summed = np.concatenate([weights, np.full((1, n), 1.0 / n)])
        self._mass += summed.sum(-1)
        for k in range(_SIDES):
            if k and summed.shape[1] > 1:
                summed = np.add.reduceat(summed, np.arange(0, int(summed.shape[1]), 2), axis=1)
            grown = np.zeros_like(summed)
            grown[:, : self._open[k].shape[1]] = self._open[k]
            grown += summed
            if n % (1 << k) == 0:
                self._done[k] += _sums(grown)
                grown = grown[:, :0]
            self._open[k] = grown
        self.tokens = n
        return found

    def dimensions(self) -> Slope:
        """D0, D1 and D2 of all heads so far, from sides up to a quarter of the tokens.

        Returns:
            Shape (H, 3), with those of uniform attention as baseline; NaN below 32 tokens.

        Raises:
            InvalidArgumentError: Fewer than 8 tokens: no two sides.
        """
        if self.tokens < 8:
            raise InvalidArgumentError("tokens", self.tokens, "8 or more")
        sides = [1 << k for k in range(_SIDES) if 1 << k <= self.tokens // 4]
        sums = np.stack([self._done[k] + _sums(self._open[k]) for k in range(len(sides))], axis=-1)
        boxes, plogp, squares = sums
        mass = self._mass[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.stack([-np.log(boxes), plogp / mass - np.log(mass), np.log(squares / mass**2)], axis=1)
        counts = np.repeat(boxes[:, None], 3, axis=1)
        small = self.tokens < SMALLEST
        even = fitted("Renyi", "", sides, logs[-1:], counts[-1:], lead=(1, 3)).value
        return fitted("Renyi", "causal", sides, logs[:-1], counts[:-1], lead=(self.heads, 3), small=small,
                      baseline=np.broadcast_to(even, (self.heads, 3)))  # fmt: skip


def _sums(masses: Floats) -> Floats:
    """Boxes with mass, and the sums of m ln m and of m² over them, (3, heads)."""
    logs = np.log(masses, out=np.zeros_like(masses), where=masses > 0)
    return np.stack([(masses > 0).sum(-1), (masses * logs).sum(-1), (masses**2).sum(-1)])
