"""The claim that attention has one fractal dimension, 2.0295, made testable: the number, what it follows, a verdict.

The number is that of `fractal-attention-analysis` 1.0.0, re-implemented from its description: pixels above the global
median of a matrix, counted in boxes of sides 2, 4, 8, 16 and 32 that are cut off at the edge. On a causal matrix more
than half of the cells are zeros above or near the diagonal, so that what is counted is the mask, and the number is a
function of the length. `fractal_core.dimension` measures attention on its support instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex

import numpy as np

from fractal_core._arguments import integer
from fractal_core.analysis.inference import auc, variance_shares
from fractal_core.dimension.given import finite
from fractal_core.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

__all__ = ["CLAIM", "SCALES", "Verdict", "mask_dimension", "median_box_dimension", "nearest_lengths", "verdict"]

CLAIM = 2.0295
"""The claimed dimension."""

SCALES = (2, 4, 8, 16, 32)
"""The peer's sides of boxes."""


def median_box_dimension(weights: npt.ArrayLike) -> float:
    """The peer's number of a matrix: for comparison, never as a dimension.

    Args:
        weights: Shape (N, M), finite.

    Returns:
        Minus the slope of the logarithm of counts over that of sides; NaN where fewer than two sides have a count, for
        which the peer returns 1.309.

    Raises:
        InvalidArgumentError: A weight is not finite.
        ShapeError: Not a matrix.
        DTypeError: No real dtype.
    """
    array = finite("weights", weights)
    if array.ndim != 2:
        raise ShapeError("weights", array.shape, "(N, M)")
    pixels = array > np.median(array)
    counts: list[int] = []
    for side in SCALES:
        rows, columns = (n // side for n in pixels.shape)
        whole = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side)
        counts.append(int(whole.any(axis=(1, 3)).sum()))
    return _slope(counts)


def mask_dimension(n: SupportsIndex) -> float:
    """The peer's number of a causal mask of `n` tokens without its smallest cells, in closed form.

    `k (k + 1) / 2` boxes of side `s` meet the triangle, `k = n // s`.

    Raises:
        InvalidArgumentError: `n` is not 1 or more.
        DTypeError: `n` is no integer.
    """
    length = integer("n", n, 1, 2**31 - 1)
    return _slope([(length // s) * (length // s + 1) // 2 for s in SCALES])


def _slope(counts: list[int]) -> float:
    kept = [(side, count) for side, count in zip(SCALES, counts, strict=True) if count > 0]
    if len(kept) < 2:
        return float("nan")
    logs: npt.NDArray[np.float64] = np.log(np.array(kept, np.float64))
    x = logs[:, 0] - logs[:, 0].mean()
    return float(-(x @ logs[:, 1]) / (x @ x))


def nearest_lengths(lengths: Iterable[int], target: float = CLAIM) -> list[tuple[int, float]]:
    """Lengths with the number of their bare mask, nearest to a target first."""
    found = [(n, mask_dimension(n)) for n in lengths]
    return sorted(found, key=lambda pair: abs(pair[1] - target))


class _Criterion(NamedTuple):
    holds: bool
    what: str


@dataclass(frozen=True)
class Verdict:
    """Whether a number of heads may be called universal."""

    stable: _Criterion
    """It is the same at every length."""
    beyond_nulls: _Criterion
    """It differs from those of the null models."""
    between_models: _Criterion
    """It varies less between models than within them."""
    learned: _Criterion
    """Random weights do not give it."""
    length_share: float
    """Share of the variance that the length explains by itself."""

    @property
    def universal(self) -> bool:
        """All four hold."""
        return all(c.holds for c in (self.stable, self.beyond_nulls, self.between_models, self.learned))

    def __str__(self) -> str:
        """Four lines and the verdict."""
        lines = [
            f"{'holds' if c.holds else 'fails'}: {c.what}"
            for c in (self.stable, self.beyond_nulls, self.between_models, self.learned)
        ]
        return "\n".join([*lines, "universal" if self.universal else "not universal"])


def verdict(
    values: npt.ArrayLike,
    lengths: npt.ArrayLike,
    models: npt.ArrayLike,
    *,
    random: npt.ArrayLike,
    nulls: npt.ArrayLike,
) -> Verdict:
    """Judge a number by four criteria, from measurements of heads.

    Args:
        values: Of trained heads, (n,), finite.
        lengths: The length of each, (n,).
        models: The model of each, (n,).
        random: The number of heads of the same architectures with random weights, any shape.
        nulls: The number of null models of the trained heads, any shape.

    Returns:
        Which criteria hold: the length explains less than half of the variance; nulls and random weights are told from
        trained heads with an AUC of at least 0.9, either way; models differ less than heads do within one.

    Raises:
        InvalidArgumentError: A number is not finite, or all values are equal.
        ShapeError: The lengths differ.
        DTypeError: An argument has no fitting type.
    """
    of_length, of_model, _ = variance_shares(values, {"length": lengths, "model": models})
    apart = [
        (name, abs(2 * auc(values, other) - 1) / 2 + 0.5) for name, other in (("nulls", nulls), ("random", random))
    ]
    (_, from_nulls), (_, from_random) = apart
    return Verdict(
        stable=_Criterion(of_length.alone < 0.5, f"the length explains {of_length.alone:.2%} of its variance"),
        beyond_nulls=_Criterion(from_nulls >= 0.9, f"it tells heads from their nulls with AUC {from_nulls:.3f}"),
        between_models=_Criterion(
            of_model.alone < 1 - of_model.alone, f"models explain {of_model.alone:.2%} of its variance"
        ),
        learned=_Criterion(from_random >= 0.9, f"it tells trained weights from random ones with AUC {from_random:.3f}"),
        length_share=of_length.alone,
    )
