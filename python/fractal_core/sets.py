"""Cantor sets: points of the middle-thirds set, and integers whose digits come from a set."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

from fractal_core import _native
from fractal_core._arguments import INT64_MAX, UINT32_MAX, integer

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

__all__ = ["cantor_points", "digit_offsets"]


def cantor_points(depth: SupportsIndex) -> npt.NDArray[np.float64]:
    """Left ends of the intervals after `depth` steps of the middle-thirds construction.

    These are the numbers of [0, 1) with `depth` ternary digits that are all 0 or 2. With `s = 3**-depth` the set is its
    own mirror image under `x -> 1 - x - s`, and the set of the next depth is `C / 3` and `2 / 3 + C / 3`.

    Args:
        depth: Number of steps, 0 to 26.

    Returns:
        Shape (2**depth,), float64, ascending, in [0, 1); each the exact number rounded once.

    Raises:
        InvalidArgumentError: `depth` is outside of 0 ..= 26.
        DTypeError: `depth` is no integer.

    The mathematics: G. Cantor, "Über unendliche, lineare Punktmannigfaltigkeiten" V (1883).
    """
    return _native.cantor_points(integer("depth", depth, 0, UINT32_MAX))


def digit_offsets(
    n: SupportsIndex, base: SupportsIndex = 3, digits: Iterable[SupportsIndex] = (0, 1)
) -> npt.NDArray[np.int64]:
    """Integers below `n` whose digits in `base` are all in `digits`.

    With 0 among the digits there are exactly `len(digits)**k` of them below `base**k`. As offsets of a causal attention
    pattern, digits (0, 1) reach every earlier token in exactly `base - 1` layers, since every integer is a sum of
    `base - 1` members; digits (0, 2) in base 3, the classical Cantor set, are all even.

    Args:
        n: Upper bound, exclusive.
        base: At least 2.
        digits: Different integers in 0 .. base - 1, in any order. Leading zeros do not count as digits.

    Returns:
        Shape (members,), int64, ascending.

    Raises:
        InvalidArgumentError: `n` is negative, `base < 2`, or `digits` are none, repeated or outside of the base.
        DTypeError: An argument is no integer.

    The mathematics: N. G. de Bruijn, "Some direct decompositions of the set of integers" (1964), for base 4.
    """
    chosen = [integer("digits", d, 0, INT64_MAX) for d in digits]
    return _native.digit_offsets(integer("n", n, 0, INT64_MAX), integer("base", base, 2, INT64_MAX), chosen)
