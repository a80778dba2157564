"""The information dimension of a head against those of its shuffled rows, the null that keeps every row's entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.analysis.inference import NullTest, permutation_test
from fractal_core.analysis.nulls import row_shuffled
from fractal_core.dimension import renyi_dimension

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.analysis.maps import LayerMaps


def shuffle_test(
    layer: LayerMaps, head: int, draws: int, rng: np.random.Generator
) -> tuple[NullTest, npt.NDArray[np.float64]] | None:
    """The test of one head, and the dimensions that were drawn, (draws,); None where the head has no dimension."""
    weights: Any = layer.head(head)
    observed = renyi_dimension(weights, layer.support, q=1).value
    if not np.isfinite(observed):
        return None
    shuffles: list[Any] = [row_shuffled(weights, layer.support, rng=rng) for _ in range(draws)]
    drawn = np.array([renyi_dimension(shuffled, layer.support, q=1).value for shuffled in shuffles])
    return permutation_test(observed, drawn), drawn
