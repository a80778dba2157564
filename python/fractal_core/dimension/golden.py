"""Geometric weights of positions and partitions by a ratio, of which the golden one is one choice among others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex

import numpy as np

from fractal_core._arguments import integer, real
from fractal_core.dimension.given import Support, on_support
from fractal_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

PHI = (1 + math.sqrt(5)) / 2
"""The golden ratio."""

BASES = (1.0, math.e / 2, math.sqrt(2), PHI, 2.0)
"""Bases to compare a base with: 1 weighs nothing."""


class Partition(NamedTuple):
    """Four blocks of matrices; `k` and `l` are the places of the cuts."""

    cuts: tuple[int, int]
    """First row and first column of the lower right block."""
    blocks: tuple[tuple[Floats, Floats], tuple[Floats, Floats]]
    """Upper left and right, lower left and right: views of the weights, (..., k, l) and so on."""
    shares: Floats
    """Share of the mass in each block, (..., 2, 2), of sum 1; NaN for matrices without mass."""
    area: Floats
    """Share of the support's cells in each block, (..., 2, 2): what uniform weights would show."""


def golden_partition(weights: npt.ArrayLike, support: Support = "full", *, ratio: float = PHI) -> Partition:
    """Cut queries and keys at `side / ratio`, and say where the mass is.

    Args:
        weights: Shape (..., N, M), 0 or more.
        support: The cells that there are, as the module says.
        ratio: More than 1; the golden ratio unless said otherwise.

    Returns:
        All four blocks, whose shares sum to 1, beside the shares that the support alone has.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support, or the ratio not above 1.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    cut = real("ratio", ratio)
    if not (1 < cut < math.inf):
        raise InvalidArgumentError("ratio", cut, "a finite number above 1")
    given, cells, values = on_support("weights", weights, support)
    values = values.reshape(*given.lead, *given.shape)
    rows, columns = (int(side / cut) for side in given.shape)
    halves = [slice(None, rows), slice(rows, None)], [slice(None, columns), slice(columns, None)]
    blocks = tuple(tuple(values[..., r, c] for c in halves[1]) for r in halves[0])

    def shares(of: npt.NDArray[np.float64]) -> Floats:
        sums = np.stack([of[..., r, c].sum(axis=(-2, -1)) for r in halves[0] for c in halves[1]], axis=-1)
        with np.errstate(invalid="ignore"):
            return (sums / sums.sum(axis=-1, keepdims=True)).reshape(*sums.shape[:-1], 2, 2)

    area = shares(cells.astype(np.float64).reshape(*given.lead, *given.shape))
    return Partition((rows, columns), blocks, shares(values), area)  # type: ignore[arg-type]


def position_weights(n: SupportsIndex, base: float = PHI) -> Floats:
    """`base^(-rank / n)` for ranks 0 to n - 1, scaled to sum 1.

    The first weighs `base` times what one past the last would.

    Args:
        n: How many, 1 or more.
        base: Above 0; 1 gives equal weights.

    Returns:
        Shape (n,), float64.

    Raises:
        InvalidArgumentError: A number is outside of its range.
        DTypeError: An argument has no fitting type.
    """
    count, b = integer("n", n, 1, 2**31 - 1), real("base", base)
    if not (0 < b < math.inf):
        raise InvalidArgumentError("base", b, "a finite number above 0")
    found = b ** (-np.arange(count) / count)
    return found / found.sum()


class PositionScores(NamedTuple):
    """How much each key is attended to, with queries weighed by position, for several bases."""

    bases: tuple[float, ...]
    """The bases, 1 among them."""
    scores: Floats
    """Shape (..., bases, M); each row sums to the mass of an average query."""
    agreement: Floats
    """Spearman's rank correlation of each base's scores with those of base 1, (..., bases)."""


def position_scores(
    weights: npt.ArrayLike, support: Support = "full", *, bases: Sequence[float] = BASES
) -> PositionScores:
    """Scores of keys, `sum_i w_i A_ij` with geometric weights of queries, for several bases side by side.

    If a base were special, its ranking of keys would stand out; `agreement` shows how little any changes.

    Args:
        weights: Shape (..., N, M), 0 or more.
        support: The cells that there are, as the module says.
        bases: Above 0; base 1 is added where it is missing.

    Returns:
        Scores and their agreement with equal weights.

    Raises:
        InvalidArgumentError: A weight is negative, not finite or outside of the support, or a base not above 0.
        ShapeError: An array has the wrong shape.
        DTypeError: An argument has no fitting type.
    """
    given, _, values = on_support("weights", weights, support)
    chosen = tuple(bases) if 1.0 in bases else (1.0, *bases)
    factors = np.stack([position_weights(given.shape[0], base) for base in chosen])
    scores = factors @ values
    ranks = _ranks(scores)
    centred = ranks - ranks.mean(axis=-1, keepdims=True)
    equal = centred[:, [chosen.index(1.0)]]
    with np.errstate(invalid="ignore"):
        agreement = (centred * equal).sum(-1) / np.sqrt((centred**2).sum(-1) * (equal**2).sum(-1))
    shape = (*given.lead, len(chosen))
    return PositionScores(chosen, scores.reshape(*shape, given.shape[1]), agreement.reshape(shape))


def _ranks(values: Floats) -> Floats:
    """Ranks along the last axis, equal values sharing the mean of theirs."""
    order = np.argsort(values, axis=-1, kind="stable")
    sorted_ = np.take_along_axis(values, order, axis=-1)
    n = values.shape[-1]
    place = np.arange(n, dtype=np.float64)
    new = np.concatenate([np.ones((*values.shape[:-1], 1), bool), sorted_[..., 1:] != sorted_[..., :-1]], axis=-1)
    last = np.concatenate([new[..., 1:], np.ones((*values.shape[:-1], 1), bool)], axis=-1)
    first = np.maximum.accumulate(np.where(new, place, 0.0), axis=-1)
    end = np.flip(np.minimum.accumulate(np.flip(np.where(last, place, np.inf), -1), axis=-1), -1)
    found = np.empty(values.shape)
    np.put_along_axis(found, order, (first + end) / 2, axis=-1)
    return found
