"""The seed's metrics of one matrix of attention, each relative to the keys that a row has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from fractal_core._arguments import INT32_MAX, integer, real
from fractal_core.analysis.supports import supported
from fractal_core.dimension import RowStatistics, row_statistics
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from fractal_core.dimension.given import Support


class AttentionMetrics:
    """Numbers of one attention matrix (N, M), each a Python float.

    Rows count as divided by their mass, on the keys that the support gives them, so that numbers of different lengths
    can be compared. NaN says that no row has the number, as in a matrix of one key.

    Args:
        support: The cells that matrices have, as `fractal_core.dimension` takes them; say "causal" for a causal model,
            or its mask counts as attention that is 0.

    Raises:
        InvalidArgumentError: Every method: a weight that is negative, not finite or outside of the support.
        ShapeError: Every method: a matrix that is not (N, M).
        DTypeError: Every method: an argument has no fitting type.
    """

    def __init__(self, support: Support = "full") -> None:
        self.support = support

    def compute_entropy(self, attention_matrix: npt.ArrayLike) -> float:
        """Mean entropy of the rows, in nats, 0 to ln M."""
        return _mean(self._rows(attention_matrix).entropy)

    def compute_sparsity(self, attention_matrix: npt.ArrayLike, threshold: float = 0.5) -> float:
        """Mean share of a row's keys whose weight is under `threshold` times the uniform one, 0 to 1.

        Uniform attention is 0 for every length and every threshold up to 1.
        """
        return _mean(self._rows(attention_matrix, below=real("threshold", threshold)).below)

    def compute_concentration(self, attention_matrix: npt.ArrayLike, top_k: SupportsIndex = 5) -> float:
        """Mean share of the `top_k` largest weights of a row, over the rows that have more keys, 0 to 1."""
        k = integer("top_k", top_k, 1, INT32_MAX)
        rows = self._rows(attention_matrix, top_k=k)
        return _mean(np.where(rows.keys > k, rows.top_k_mass, np.nan))

    def compute_uniformity(self, attention_matrix: npt.ArrayLike) -> float:
        """Mean entropy of the rows over that of uniform attention, 0 to 1; rows with one key do not count."""
        return _mean(self._rows(attention_matrix).normalized_entropy)

    def compute_entropy_reduction(self, original: npt.ArrayLike, transformed: npt.ArrayLike) -> float:
        """Mean row entropy of the first less that of the second, in nats."""
        return self.compute_entropy(original) - self.compute_entropy(transformed)

    def compute_sparsity_improvement(
        self, original: npt.ArrayLike, transformed: npt.ArrayLike, threshold: float = 0.5
    ) -> float:
        """Sparsity of the second less that of the first; a factor on all weights changes neither."""
        return self.compute_sparsity(transformed, threshold) - self.compute_sparsity(original, threshold)

    def compute_interpretability_score(
        self,
        attention_matrix: npt.ArrayLike,
        fractal_dimension: float | None = None,
        *,
        weights: Mapping[str, float] | None = None,
    ) -> float:
        """A weighted sum of metrics, by weights of your own.

        No weights are known that say how interpretable attention is, so there are none by default.

        Args:
            attention_matrix: Shape (N, M).
            fractal_dimension: The value of "fractal_dimension", where it has a weight.
            weights: Metric to weight; metrics as in `compute_all_metrics`.

        Returns:
            The sum.

        Raises:
            InvalidArgumentError: No weights, or one of an unknown metric.
        """
        if not weights:
            raise InvalidArgumentError(
                "weights", weights, "a weight for each metric that counts; none are validated, so none are built in"
            )
        found = self.compute_all_metrics(attention_matrix, fractal_dimension)
        unknown = sorted(set(weights) - set(found))
        if unknown:
            raise InvalidArgumentError("weights", unknown, ", ".join(found))
        return float(sum(real("weights", weight) * found[name] for name, weight in weights.items()))

    def compute_attention_flow(self, attention_matrix: npt.ArrayLike) -> dict[str, float]:
        """Shares of the mass on later keys (`forward_flow`), earlier ones (`backward_flow`) and the own position.

        The last query stands at the last key. The three sum to 1.
        """
        array = self._matrix(attention_matrix)
        self._rows(array)
        n, m = array.shape
        away: npt.NDArray[Any] = np.arange(m, dtype=np.int64) - (np.arange(n, dtype=np.int64)[:, None] + m - n)
        total = array.sum(dtype=np.float64)

        def share(cells: npt.NDArray[np.bool_]) -> float:
            return float(array[cells].sum(dtype=np.float64) / total) if total > 0 else float("nan")

        return {
            "forward_flow": share(away > 0),
            "backward_flow": share(away < 0),
            "self_attention": share(away == 0),
        }

    def compute_all_metrics(
        self, attention_matrix: npt.ArrayLike, fractal_dimension: float | None = None
    ) -> dict[str, float]:
        """Entropy, sparsity, concentration, uniformity, the three flows, more of `row_statistics`, by name.

        Args:
            attention_matrix: Shape (N, M).
            fractal_dimension: Returned as "fractal_dimension" where it is given; nothing is computed from it.

        Returns:
            Name to value.
        """
        rows = self._rows(attention_matrix)
        found = {
            "entropy": _mean(rows.entropy),
            "sparsity": _mean(rows.below),
            "concentration": self.compute_concentration(attention_matrix),
            "uniformity": _mean(rows.normalized_entropy),
            **self.compute_attention_flow(attention_matrix),
            "effective_support": _mean(rows.effective_support),
            "gini": _mean(rows.gini),
            "sink": _mean(rows.sink),
            "previous_token": _mean(rows.previous),
            "mean_distance": _mean(rows.distance),
        }
        if fractal_dimension is not None:
            found["fractal_dimension"] = real("fractal_dimension", fractal_dimension)
        return found

    def _matrix(self, value: npt.ArrayLike) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.asarray(value)
        if array.ndim != 2 or 0 in array.shape:
            raise ShapeError("attention_matrix", array.shape, "(N, M), no axis of length 0")
        if array.dtype.kind not in "iuf":
            raise DTypeError("attention_matrix", array.dtype, "a real dtype")
        supported(self.support, array.shape)
        return array

    def _rows(self, value: npt.ArrayLike, **settings: Any) -> RowStatistics:  # noqa: ANN401
        return row_statistics(self._matrix(value), self.support, **settings)


def _mean(values: npt.NDArray[np.float64]) -> float:
    good = values[np.isfinite(values)]
    return float(good.mean()) if good.size else float("nan")
