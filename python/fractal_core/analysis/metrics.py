"""Numbers of one attention matrix, under the names of Fractal-Attention Analysis, each relative to the support."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from fractal_core._arguments import integer, real
from fractal_core.analysis.support import support_of
from fractal_core.dimension import RowStatistics, column_statistics, row_statistics
from fractal_core.dimension.given import Support, on_support
from fractal_core.errors import ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["AttentionMetrics"]


class AttentionMetrics:
    """Metrics of a matrix of attention, (N, M): means over rows, each on the keys that the row has.

    Where no support is given, a square matrix without any weight behind its queries counts as causal.
    """

    def __init__(self, support: Support | None = None) -> None:
        """Choose the support of all matrices."""
        self.support = support

    def _rows(self, weights: npt.ArrayLike, *, below: float = 0.5) -> RowStatistics:
        return row_statistics(self._checked(weights), support_of(weights, self.support), below=below)

    def _checked(self, weights: npt.ArrayLike) -> npt.ArrayLike:
        if np.ndim(weights) != 2:
            raise ShapeError("weights", np.shape(weights), "(N, M)")
        return weights

    def compute_entropy(self, weights: npt.ArrayLike) -> float:
        """Mean entropy of a row, in nats: 0 to the logarithm of the number of its keys."""
        return _mean(self._rows(weights).entropy)

    def compute_sparsity(self, weights: npt.ArrayLike, threshold: float = 0.5) -> float:
        """Mean share of a row's keys below `threshold` times the row's uniform weight, in 0 .. 1."""
        return _mean(self._rows(weights, below=real("threshold", threshold)).below)

    def compute_concentration(self, weights: npt.ArrayLike, top_k: SupportsIndex = 5) -> float:
        """How much of all mass the `top_k` most used keys have: 0 where all are used alike, 1 where they have all.

        It is NaN where there are no more keys than that.
        """
        columns = column_statistics(self._checked(weights), support_of(weights, self.support)).mass
        k = integer("top_k", top_k, 1, 2**31 - 1)
        if k >= len(columns) or not columns.sum() > 0:
            return float("nan")
        share, even = np.sort(columns)[-k:].sum() / columns.sum(), k / len(columns)
        return float((share - even) / (1 - even))

    def compute_uniformity(self, weights: npt.ArrayLike) -> float:
        """Mean share of its keys that a row spreads over, `exp(entropy) / keys`: 1 for uniform attention."""
        rows = self._rows(weights)
        return _mean(np.exp(rows.entropy) / rows.keys)

    def compute_entropy_reduction(self, original: npt.ArrayLike, transformed: npt.ArrayLike) -> float:
        """Share of the entropy that a transformation takes away: negative where it adds some, NaN of none."""
        before, after = self.compute_entropy(original), self.compute_entropy(transformed)
        return (before - after) / before if before > 0 else float("nan")

    def compute_sparsity_improvement(
        self, original: npt.ArrayLike, transformed: npt.ArrayLike, threshold: float = 0.5
    ) -> float:
        """Difference of `compute_sparsity`: scaling all weights changes nothing."""
        return self.compute_sparsity(transformed, threshold) - self.compute_sparsity(original, threshold)

    def compute_interpretability_score(self, weights: npt.ArrayLike, fractal_dimension: float | None = None) -> float:
        """How focused rows are: the mean of 1 - normalised entropy, of Gini's index and of Hoyer's sparseness.

        It is 0 for uniform rows and nears 1 for rows with one key. The name is the original's; nothing shows that
        focused heads are easier to interpret, and the dimension, which callers may pass, has no part in it.
        """
        del fractal_dimension
        rows = self._rows(weights)
        return _mean((1 - rows.normalized_entropy + rows.gini + rows.hoyer) / 3)

    def compute_attention_flow(self, weights: npt.ArrayLike) -> dict[str, float]:
        """Shares of the mass that go to later positions, to earlier ones, and to the query's own; of sum 1."""
        given, _, values = on_support("weights", self._checked(weights), support_of(weights, self.support))
        n, m = given.shape
        distance = np.arange(n)[:, None] + m - n - np.arange(m)[None, :]
        total = values.sum()
        parts = {"forward_flow": distance < 0, "backward_flow": distance > 0, "self_attention": distance == 0}
        return {name: float(values[0][part].sum() / total) if total > 0 else float("nan")
                for name, part in parts.items()}  # fmt: skip

    def compute_all_metrics(self, weights: npt.ArrayLike, fractal_dimension: float | None = None) -> dict[str, float]:
        """All of the above that take one matrix, by name, with the dimension if one is given."""
        found = {
            "entropy": self.compute_entropy(weights),
            "sparsity": self.compute_sparsity(weights),
            "concentration": self.compute_concentration(weights),
            "uniformity": self.compute_uniformity(weights),
            **self.compute_attention_flow(weights),
            "interpretability_score": self.compute_interpretability_score(weights),
        }
        return found if fractal_dimension is None else {**found, "fractal_dimension": float(fractal_dimension)}


def _mean(values: npt.NDArray[np.float64]) -> float:
    good = values[np.isfinite(values)]
    return float(good.mean()) if len(good) else float("nan")
