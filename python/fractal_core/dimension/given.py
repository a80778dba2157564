"""Matrices, supports and scales as callers give them, in the one form that the extension takes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from fractal_core import _native
from fractal_core._arguments import INT32_MAX, flag, integer, real
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.index_sets import IndexSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

Support: TypeAlias = "str | tuple[str, int] | npt.NDArray[np.bool_] | IndexSet"
"""The cells that there are; the module says how they are named."""

NativeSupport: TypeAlias = "tuple[str, int, npt.NDArray[np.bool_] | None]"

SMALLEST = 32
"""Shorter sides have too few scales for a dimension."""

_ALLOWED = '"full", "causal", ("window", r), ("causal_window", r), a boolean array or an IndexSet'
_WINDOWS = {"window": "near", "causal_window": "causal_near"}


@dataclass(frozen=True)
class Given:
    """Matrices in the form of the extension, with the shape they came in."""

    values: npt.NDArray[Any]
    """Shape (matrices, N, M), float32 or float64, contiguous."""
    lead: tuple[int, ...]
    """The leading axes."""
    support: NativeSupport
    label: str
    """The support in words."""

    @property
    def shape(self) -> tuple[int, int]:
        """Queries and keys."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def shorter(self) -> int:
        """The shorter side."""
        return min(self.shape)

    @property
    def cells(self) -> npt.NDArray[np.bool_]:
        """The support, (1 or matrices, N, M)."""
        return _native.support_cells(self.support, (len(self.values), *self.shape))

    def small(self, force: object) -> bool:
        """Whether a side is too short for a dimension, and none is forced."""
        return too_short(self.shape, force)

    def with_values(self, values: npt.NDArray[Any], lead: tuple[int, ...]) -> Given:
        """The same support under other values."""
        return Given(values, lead, self.support, self.label)


def too_short(shape: tuple[int, int], force: object) -> bool:
    """Whether a side is too short for a dimension, and none is forced."""
    return min(shape) < SMALLEST and not flag("force", force)


def floats(argument: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """`value` as float32 or float64, contiguous, in its own shape, () included."""
    array: npt.NDArray[Any] = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise DTypeError(argument, array.dtype, "a real dtype")
    narrow = array.dtype in {np.dtype(np.float16), np.dtype(np.float32)}
    return np.asarray(array, dtype=np.float32 if narrow else np.float64, order="C")


def finite(argument: str, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`value` as float64 in its own shape, without NaN and infinity."""
    array = floats(argument, value).astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise InvalidArgumentError(argument, "NaN or infinity", "finite numbers")
    return array


def matrices(
    argument: str, value: npt.ArrayLike, support: Support, *, boolean: bool = False, sets: bool = False
) -> Given:
    """Matrices of shape (..., N, M) on a support; booleans as 0 and 1 where they are allowed.

    With `sets`, booleans on the full support stay what they are.
    """
    array: npt.NDArray[Any] = np.asarray(value)
    if sets and array.dtype == np.bool_ and isinstance(support, str) and support == "full":
        array = np.asarray(array, order="C")
    elif boolean and array.dtype == np.bool_:
        array = floats(argument, array.astype(np.float32))
    else:
        array = floats(argument, array)
    if array.ndim < 2 or 0 in array.shape:
        raise ShapeError(argument, array.shape, "(..., N, M), no axis of length 0")
    lead, shape = array.shape[:-2], array.shape[-2:]
    native, label = _support(support, lead, (shape[0], shape[1]))
    return Given(array.reshape(-1, *shape), lead, native, label)


def on_support(
    argument: str, value: npt.ArrayLike, support: Support
) -> tuple[Given, npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """What was given, the cells and the weights.

    Both are of shape (matrices, N, M), the weights checked to be finite, 0 or more, and 0 elsewhere.
    """
    given = matrices(argument, value, support)
    cells = given.cells
    values = given.values.astype(np.float64)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise InvalidArgumentError(argument, "a weight that is negative or not finite", "finite weights, 0 or more")
    if values[np.broadcast_to(~cells, values.shape)].any():
        raise InvalidArgumentError(argument, "a weight outside of the support", "0 outside of the support")
    return given, np.broadcast_to(cells, values.shape), values


def _support(support: object, lead: tuple[int, ...], shape: tuple[int, int]) -> tuple[NativeSupport, str]:
    if isinstance(support, str):
        if support not in {"full", "causal"}:
            raise InvalidArgumentError("support", repr(support), _ALLOWED)
        return (support, 0, None), support
    if isinstance(support, tuple):
        pair = cast("tuple[Any, ...]", support)
        if len(pair) != 2 or not isinstance(pair[0], str) or pair[0] not in _WINDOWS:
            raise InvalidArgumentError("support", repr(pair), _ALLOWED)
        radius = integer("support", pair[1], 0, INT32_MAX)
        return (_WINDOWS[pair[0]], radius, None), f"{pair[0]} of {radius}"
    if isinstance(support, IndexSet):
        if support.shape != shape:
            raise ShapeError("support", support.shape, f"the queries and keys of the matrices, {shape}")
        return ("listed", 0, np.ascontiguousarray(support.to_mask())[None]), "index set"
    if isinstance(support, np.ndarray) and support.dtype == np.bool_:
        cells = cast("npt.NDArray[np.bool_]", support)
        shared = all(side == 1 for side in cells.shape[:-2])
        try:
            whole = np.broadcast_to(cells, (*lead, *shape))
            cells = np.broadcast_to(cells.reshape(cells.shape[-2:]), shape)[None] if shared else whole
        except ValueError:
            raise ShapeError("support", cells.shape, f"a shape that broadcasts to {(*lead, *shape)}") from None
        return ("listed", 0, np.ascontiguousarray(cells.reshape(-1, *shape))), "boolean array"
    raise DTypeError("support", type(cast("object", support)).__name__, _ALLOWED)


def powers(most: int, side: int, least: int = 1) -> list[int]:
    """Powers of a base from `least` to `most`: of 3 where the side is one, else of 2."""
    base = 3 if is_power(side, 3) else 2
    found, power = [], 1
    while power <= max(most, 1):
        if power >= least:
            found.append(power)
        power *= base
    return found or [least]


def is_power(n: int, base: int) -> bool:
    """Whether n is a power of the base, 1 included."""
    while n > 1 and n % base == 0:
        n //= base
    return n == 1


def sides(argument: str, value: Iterable[Any], longest: int) -> list[int]:
    """Scales as increasing integers."""
    try:
        found = [integer(argument, side, 1, longest) for side in value]
    except TypeError as error:
        if isinstance(error, DTypeError):
            raise
        raise DTypeError(argument, repr(value), "a sequence of integers") from None
    if len(found) < 2 or any(a >= b for a, b in itertools.pairwise(found)):
        raise InvalidArgumentError(argument, found, "two or more integers, increasing")
    return found


def orders(argument: str, value: object) -> tuple[list[float], bool]:
    """Orders of moments, and whether there is but one that came without an axis."""
    array: npt.NDArray[Any] = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise DTypeError(argument, repr(value), "a number or a sequence of numbers")
    if array.ndim > 1 or array.size == 0:
        raise ShapeError(argument, array.shape, "a number or a sequence of them")
    return [real(argument, q) for q in array.reshape(-1).tolist()], array.ndim == 0
