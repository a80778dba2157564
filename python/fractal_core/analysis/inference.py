"""Whether a number differs from its nulls: permutation tests, effect sizes, false discoveries, shares of variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from fractal_core._arguments import real
from fractal_core.dimension.given import finite
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = [
    "Discoveries",
    "NullTest",
    "VarianceShare",
    "auc",
    "cliffs_delta",
    "cohens_d",
    "false_discoveries",
    "permutation_test",
    "variance_shares",
]

Tail = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True, eq=False)
class NullTest:
    """Observed numbers against draws of a null; `...` are the axes of the observed ones."""

    observed: Floats
    """Shape (...)."""
    mean: Floats
    """Of the null, (...)."""
    std: Floats
    """Of the null, with one degree of freedom less, (...)."""
    z: Floats
    """`(observed - mean) / std`, (...): the effect in units of the null; NaN where the null does not vary."""
    p: Floats
    """`(1 + draws at least as far) / (1 + draws)`, (...): never 0."""
    draws: int
    """How many draws."""


def permutation_test(observed: npt.ArrayLike, null: npt.ArrayLike, *, tail: Tail = "two-sided") -> NullTest:
    """Tests numbers against draws of a null.

    Args:
        observed: Shape (...), finite.
        null: Shape (B, ...), finite, B at least 2.
        tail: What counts as far: a distance from the null's mean, or being greater or less.

    Returns:
        The test of every number.

    Raises:
        InvalidArgumentError: A number is not finite, or an unknown tail.
        ShapeError: The shapes do not fit, or fewer than two draws.
        DTypeError: An argument has no fitting type.

    The mathematics: B. Phipson and G. K. Smyth, "Permutation p-values should never be zero" (2010).
    """
    seen, drawn = finite("observed", observed), finite("null", null)
    if drawn.ndim != seen.ndim + 1 or drawn.shape[1:] != seen.shape or len(drawn) < 2:
        raise ShapeError("null", drawn.shape, f"(B, *{seen.shape}), B at least 2")
    mean, std = drawn.mean(0), drawn.std(0, ddof=1)
    if tail == "two-sided":
        far = np.abs(drawn - mean) >= np.abs(seen - mean)
    elif tail == "greater":
        far = drawn >= seen
    elif tail == "less":
        far = drawn <= seen
    else:
        raise InvalidArgumentError("tail", repr(tail), '"two-sided", "greater" or "less"')
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(std > 0, (seen - mean) / std, np.nan)
    return NullTest(seen, mean, std, z, (1 + far.sum(0)) / (1 + len(drawn)), len(drawn))


def _samples(a: npt.ArrayLike, b: npt.ArrayLike, least: int) -> tuple[Floats, Floats]:
    left, right = finite("a", a).ravel(), finite("b", b).ravel()
    for name, sample in (("a", left), ("b", right)):
        if len(sample) < least:
            raise ShapeError(name, sample.shape, f"{least} numbers or more")
    return left, right


def cohens_d(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Difference of two means over the pooled standard deviation; NaN where neither sample varies.

    Args:
        a: Two numbers or more, finite.
        b: Two numbers or more, finite.

    Raises:
        InvalidArgumentError: A number is not finite.
        ShapeError: A sample is too small.
        DTypeError: An argument has no fitting type.

    The mathematics: J. Cohen, "Statistical Power Analysis for the Behavioral Sciences" (1988).
    """
    left, right = _samples(a, b, 2)
    pooled = ((len(left) - 1) * left.var(ddof=1) + (len(right) - 1) * right.var(ddof=1)) / (len(left) + len(right) - 2)
    return float((left.mean() - right.mean()) / np.sqrt(pooled)) if pooled > 0 else float("nan")


def auc(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Chance that a number of `a` exceeds one of `b`, ties counting half: 1 where all do, 0.5 where it says nothing.

    Args:
        a: One number or more, finite.
        b: One number or more, finite.

    Raises:
        InvalidArgumentError: A number is not finite.
        ShapeError: A sample is empty.
        DTypeError: An argument has no fitting type.

    The mathematics: H. B. Mann and D. R. Whitney (1947).
    """
    left, right = _samples(a, b, 1)
    right = np.sort(right)
    below, upto = np.searchsorted(right, left, "left"), np.searchsorted(right, left, "right")
    return float((below + upto).sum() / (2 * len(left) * len(right)))


def cliffs_delta(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """`2 auc - 1`, in -1 .. 1: how much more often a number of `a` exceeds one of `b` than falls below.

    The arguments and errors are those of `auc`.

    The mathematics: N. Cliff, "Dominance statistics" (1993).
    """
    return 2 * auc(a, b) - 1


class Discoveries(NamedTuple):
    """Which of many tests are discoveries."""

    rejected: npt.NDArray[np.bool_]
    """Shape of the p-values."""
    q: Floats
    """Smallest level at which each would be rejected, of the same shape."""


def false_discoveries(p: npt.ArrayLike, *, level: float = 0.05) -> Discoveries:
    """Rejects so that of all discoveries at most a share `level` is false, on average.

    Args:
        p: p-values of any shape, 0 to 1.
        level: Above 0, below 1.

    Returns:
        What is rejected, and the adjusted values.

    Raises:
        InvalidArgumentError: A number is outside of its range.
        DTypeError: An argument has no fitting type.

    The mathematics: Y. Benjamini and Y. Hochberg (1995); valid for independent or positively dependent tests.
    """
    values, bound = finite("p", p), real("level", level)
    if not ((values >= 0) & (values <= 1)).all():
        raise InvalidArgumentError("p", "a number outside", "0 ..= 1")
    if not 0 < bound < 1:
        raise InvalidArgumentError("level", bound, "above 0, below 1")
    flat = values.ravel()
    order = np.argsort(flat)
    scaled = flat[order] * len(flat) / np.arange(1, len(flat) + 1)
    adjusted = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    q = np.empty_like(flat)
    q[order] = adjusted
    return Discoveries((q <= bound).reshape(values.shape), q.reshape(values.shape))


class VarianceShare(NamedTuple):
    """What one factor explains of the variance of a number."""

    factor: str
    """Its name."""
    levels: int
    """Different values."""
    alone: float
    """Share that it explains by itself."""
    added: float
    """Share that it explains beyond the factors named before it."""


def variance_shares(values: npt.ArrayLike, factors: Mapping[str, npt.ArrayLike]) -> tuple[VarianceShare, ...]:
    """Which factors a number varies with: sequential sums of squares of a linear model with a term for every level.

    Args:
        values: Shape (n,), finite, not all equal.
        factors: Labels of each value, (n,), by name, in the order in which they enter.

    Returns:
        One entry a factor, in order, and a last one named "rest": `added` sums to 1. Shares describe; levels that hold
        one value each explain everything.

    Raises:
        InvalidArgumentError: A number is not finite, all values are equal, or there are no factors.
        ShapeError: The lengths differ.
        DTypeError: An argument has no fitting type.

    The mathematics: R. A. Fisher's analysis of variance, type I.
    """
    y = finite("values", values)
    if y.ndim != 1 or len(y) < 2:
        raise ShapeError("values", y.shape, "(n,), n at least 2")
    if not factors:
        raise InvalidArgumentError("factors", {}, "one factor or more")
    y = y - y.mean()
    total = float(y @ y)
    if not total > 0:
        raise InvalidArgumentError("values", "equal numbers", "numbers that vary")
    columns, explained = [np.ones((len(y), 1))], 0.0
    found: list[VarianceShare] = []
    for name, labels in factors.items():
        given: npt.NDArray[Any] = np.asarray(labels)
        if given.shape != y.shape:
            raise ShapeError(f"factors[{name!r}]", given.shape, y.shape)
        _, level = np.unique(given, return_inverse=True)
        count = int(level.max()) + 1
        means = np.bincount(level, y) / np.bincount(level)
        columns.append(np.eye(count)[level])
        so_far = _explained(np.concatenate(columns, axis=1), y)
        found.append(VarianceShare(name, count, float((means[level] ** 2).sum()) / total, (so_far - explained) / total))
        explained = max(explained, so_far)
    rest = max(0.0, total - explained) / total
    return (*found, VarianceShare("rest", len(y), rest, rest))


def _explained(design: Floats, y: Floats) -> float:
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(fitted @ fitted)
