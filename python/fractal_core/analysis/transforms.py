"""Transformations of one attention matrix, under the names of Fractal-Attention Analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from fractal_core import dimension
from fractal_core._arguments import integer, real
from fractal_core.analysis.support import support_of
from fractal_core.dimension import PHI, Partition, Slope
from fractal_core.dimension.given import Support, on_support
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["FractalTransforms"]


class FractalTransforms:
    """Dimension, interpolation, scales and scores of a matrix of attention, (N, M).

    Where no support is given, a square matrix without any weight behind its queries counts as causal.
    """

    def __init__(self, phi: float | None = None, support: Support | None = None) -> None:
        """Choose.

        Args:
            phi: Ratio of partitions and base of scores, above 1; the golden ratio by default.
            support: Of all matrices.

        Raises:
            InvalidArgumentError: `phi` is not above 1.
        """
        self.phi = PHI if phi is None else real("phi", phi)
        if not 1 < self.phi < float("inf"):
            raise InvalidArgumentError("phi", self.phi, "a finite number above 1")
        self.support = support

    def _matrix(self, weights: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
        if np.ndim(weights) != 2:
            raise ShapeError("weights", np.shape(weights), "(N, M)")
        _, cells, values = on_support("weights", weights, support_of(weights, self.support))
        return values[0], cells[0]

    def golden_ratio_partition(self, weights: npt.ArrayLike) -> Partition:
        """Four blocks and the mass of each; see `fractal_core.dimension.golden_partition`."""
        return dimension.golden_partition(weights, support_of(weights, self.support), ratio=self.phi)

    def fractal_interpolation_function(self, weights: npt.ArrayLike, scale_factor: float = 0.5) -> Floats:
        """Attention whose cumulative rows are fractal interpolations with this vertical factor.

        See `fractal_core.dimension.interpolated_rows`.
        """
        return dimension.interpolated_rows(weights, support_of(weights, self.support), factor=scale_factor)

    def information_dimension(self, weights: npt.ArrayLike, scales: Iterable[int] | None = None) -> Slope:
        """The information dimension with its error, scales, counts, baseline and the reasons not to trust it."""
        self._matrix(weights)
        return dimension.renyi_dimension(weights, support_of(weights, self.support), q=1, scales=scales)

    def compute_fractal_dimension(self, weights: npt.ArrayLike, scales: Iterable[int] | None = None) -> float:
        """The information dimension of attention as a measure on its support; NaN below 32 tokens.

        Args:
            weights: Shape (N, M), 0 or more.
            scales: Sides of boxes; by default powers up to a quarter of the shorter side.

        Returns:
            0 to 2: what uniform attention would show depends on the support; `information_dimension` has both.

        Raises:
            InvalidArgumentError: Weights that are negative, not finite or outside of the support, or scales that do not
                increase.
            ShapeError: No matrix.
            DTypeError: No real dtype.
        """
        return float(self.information_dimension(weights, scales))

    def multi_scale_analysis(self, weights: npt.ArrayLike, num_scales: SupportsIndex = 5) -> list[tuple[int, Floats]]:
        """The matrix through ever larger boxes: the mean weight of the support's cells in each.

        Args:
            weights: Shape (N, M), 0 or more.
            num_scales: How many, 1 or more; it ends where one box holds all.

        Returns:
            Sides 1, 2, 4, … with matrices of (⌈N / side⌉, ⌈M / side⌉).

        Raises:
            InvalidArgumentError: A weight is negative, not finite or outside of the support.
            ShapeError: No matrix.
            DTypeError: An argument has no fitting type.
        """
        values, cells = self._matrix(weights)
        found: list[tuple[int, Floats]] = []
        total, count = values, cells.astype(np.float64)
        for k in range(integer("num_scales", num_scales, 1, 64)):
            if k:
                if total.size == 1:
                    break
                total, count = _halved(total), _halved(count)
            found.append((1 << k, np.divide(total, count, out=np.zeros_like(total), where=count > 0)))
        return found

    def compute_self_similarity(self, weights: npt.ArrayLike, scale_factor: SupportsIndex = 2) -> float:
        """How much the parts look like the whole seen from afar.

        The matrix is cut into `scale_factor`² blocks; each is correlated with the whole, averaged over boxes of that
        side. The mean over blocks is 1 for a multiplicative cascade and near 0 for noise.

        Args:
            weights: Shape (N, M), 0 or more; rows and columns beyond a multiple of the factor are left out.
            scale_factor: 2 or more, at most half of the shorter side.

        Returns:
            Pearson's correlation, in -1 .. 1; NaN where nothing varies.

        Raises:
            InvalidArgumentError: A weight is negative, not finite or outside of the support, or a factor too large.
            ShapeError: No matrix.
            DTypeError: An argument has no fitting type.
        """
        values, cells = self._matrix(weights)
        factor = integer("scale_factor", scale_factor, 2, max(2, min(values.shape) // 2))
        n, m = (side // factor for side in values.shape)
        if n < 2 or m < 2:
            raise ShapeError("weights", values.shape, f"at least {2 * factor} queries and keys")
        values, cells = values[: n * factor, : m * factor], cells[: n * factor, : m * factor]
        boxes = values.reshape(n, factor, m, factor).sum((1, 3))
        counts = cells.reshape(n, factor, m, factor).sum((1, 3))
        whole = np.divide(boxes, counts, out=np.zeros_like(boxes), where=counts > 0)
        found: list[float] = []
        for i in range(factor):
            for j in range(factor):
                block = np.s_[i * n : (i + 1) * n, j * m : (j + 1) * m]
                both = cells[block] & (counts > 0)
                a, b = values[block][both], whole[both]
                if len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0:
                    found.append(float(np.corrcoef(a, b)[0, 1]))
        return float(np.mean(found)) if found else float("nan")

    def golden_ratio_scoring(self, weights: npt.ArrayLike) -> Floats:
        """Rows weighed by `phi^(-i / N)`, of sum N: a position weighting that changes no order within a row.

        `fractal_core.dimension.position_scores` compares it with other bases.
        """
        values, _ = self._matrix(weights)
        return values * (dimension.position_weights(len(values), self.phi) * len(values))[:, None]


def _halved(values: Floats) -> Floats:
    n, m = values.shape
    even = np.pad(values, ((0, n % 2), (0, m % 2)))
    rows, columns = even.shape
    return np.asarray(even.reshape(rows // 2, 2, columns // 2, 2).sum((1, 3)))


def as_dict(slope: Slope) -> dict[str, Any]:
    """A single slope as plain values for JSON; NaN as None."""

    def plain(value: npt.NDArray[Any] | None) -> Any:  # noqa: ANN401
        if value is None:
            return None
        return np.where(np.isfinite(value), value.astype(object), np.array(None)).tolist()

    return {
        "method": slope.method,
        "support": slope.support,
        "value": plain(slope.value),
        "stderr": plain(slope.stderr),
        "interval": plain(slope.interval),
        "r2": plain(slope.r2),
        "baseline": plain(slope.baseline),
        "scales": slope.scales.tolist(),
        "counts": plain(slope.counts),
        "log_y": plain(slope.log_y),
        "local_slopes": plain(slope.local_slopes),
        "reliable": bool(slope.reliable.all()),
        "reasons": list(slope.reasons),
    }
