"""Arguments converted to the one form that the extension takes, or refused by name."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import numpy as np

from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

INT64_MAX = 2**63 - 1
INT32_MAX = 2**31 - 1
UINT32_MAX = 2**32 - 1


def integer(argument: str, value: SupportsIndex, low: int, high: int) -> int:
    """`value` as an int in `low ..= high`: the one rule of all arguments.

    Accepts Python's and NumPy's integers, and whatever else has `__index__`; no bool of any kind and no float.
    """
    if isinstance(value, (bool, np.bool_)) or str(getattr(value, "dtype", "")) in {"bool", "torch.bool"}:
        raise DTypeError(argument, repr(value), "an integer")
    try:
        number = operator.index(value)
    except TypeError:
        raise DTypeError(argument, repr(value), "an integer") from None
    if not low <= number <= high:
        raise InvalidArgumentError(argument, number, f"{low} ..= {high}")
    return number


def flag(argument: str, value: object) -> bool:
    """`value` as a bool: accepts only bool and NumPy's bool, since every string is true, even "False"."""
    if not isinstance(value, (bool, np.bool_)):
        raise DTypeError(argument, repr(value), "a bool")
    return bool(cast("object", value))


def _no_text(value: object) -> object:
    """`value`, if it is not a number in words: `float` would read it."""
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError
    return value


def real(argument: str, value: object) -> float:
    """`value` as a float; integers too large for a float are refused by name."""
    try:
        return float(cast("float", _no_text(value)))
    except (TypeError, ValueError):
        raise DTypeError(argument, repr(value), "a real number") from None
    except OverflowError:
        raise InvalidArgumentError(argument, "an integer beyond float64", "a real number") from None


def complex_number(argument: str, value: object) -> complex:
    """`value` as a complex number; integers too large for a float are refused by name."""
    try:
        return complex(cast("complex", _no_text(value)))
    except (TypeError, ValueError):
        raise DTypeError(argument, repr(value), "a complex number") from None
    except OverflowError:
        raise InvalidArgumentError(argument, "an integer beyond float64", "a complex number") from None


def integers(argument: str, value: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """`value` as an int64 or uint64 array (typed as the first); no copy if it is one."""
    array: npt.NDArray[Any] = np.asarray(value)
    if array.size == 0 and not isinstance(value, np.ndarray):
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise DTypeError(argument, array.dtype, "an integer dtype")
    return array if array.dtype == np.uint64 else array.astype(np.int64, copy=False)


def vector(argument: str, value: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """`value` as a vector of int64."""
    array = signed(argument, value)
    if array.ndim != 1:
        raise ShapeError(argument, array.shape, "one dimension")
    return array


def signed(argument: str, value: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """`value` as an int64 array of any shape; unsigned values beyond int64 are refused, never wrapped."""
    array = integers(argument, value)
    if array.dtype == np.uint64:
        if array.size and array.max() > INT64_MAX:
            raise InvalidArgumentError(argument, array.max(), "values that fit into int64")
        array = array.astype(np.int64)
    return array


def pair(argument: str, value: SupportsIndex | tuple[int, int], high: int) -> tuple[int, int]:
    """Two integers in `1 ..= high`, from one for both or two."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ShapeError(argument, value, "an integer, or one for queries and one for keys")
        return integer(argument, value[0], 1, high), integer(argument, value[1], 1, high)
    number = integer(argument, value, 1, high)
    return number, number


def last_axis(argument: str, shape: tuple[int, ...], allowed: str) -> int:
    """Length of the last axis; refuses an array without axes."""
    if not shape:
        raise ShapeError(argument, shape, allowed)
    return shape[-1]


def digit_set(argument: str, value: Iterable[SupportsIndex], base: int) -> tuple[int, ...]:
    """`value` as digits of base `base`: integers that increase from 0 and stay below base."""
    try:
        digits = tuple(integer(argument, digit, 0, base - 1) for digit in value)
    except TypeError as error:
        if isinstance(error, DTypeError):
            raise
        raise DTypeError(argument, repr(value), "a sequence of integers") from None
    if not digits or digits[0] != 0 or any(a >= b for a, b in itertools.pairwise(digits)):
        raise InvalidArgumentError(argument, digits, f"increasing, from 0, below base = {base}")
    return digits
