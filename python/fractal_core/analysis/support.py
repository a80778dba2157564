"""The support of attention that comes without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.dimension.given import Support


def support_of(weights: npt.ArrayLike, given: Support | None) -> Support:
    """The support that was given, or the one that the weights show."""
    return shown_support(weights) if given is None else given


def shown_support(weights: npt.ArrayLike) -> str:
    """Causal where a square matrix has no weight at all behind any query, else full.

    Args:
        weights: Shape (..., N, M).
    """
    array: npt.NDArray[Any] = np.asarray(weights)
    square = array.ndim >= 2 and array.shape[-1] == array.shape[-2] > 1
    return "causal" if square and not np.triu(array, 1).any() else "full"
