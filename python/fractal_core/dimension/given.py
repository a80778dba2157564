"""Matrices, supports and scales as callers give them, in the one form that the extension takes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from fractal_core._arguments import INT32_MAX, integer, real
from fractal_core.dimension.edges import EdgeWeights
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.index_sets import IndexSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

Support: TypeAlias = "str | tuple[str, int] | npt.NDArray[np.bool_] | IndexSet"
"""The cells that there are; the module says how they are named."""

Weights: TypeAlias = "npt.ArrayLike | EdgeWeights"
"""Matrices, or the cells of sparse ones."""

NativeSupport: TypeAlias = (
    "tuple[str, int, npt.NDArray[np.bool_] | tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]] | None]"
)

SMALLEST = 32
"""Shorter sides have too few scales for a dimension."""

_ALLOWED = '"full", "causal", ("window", r), ("causal_window", r), a boolean array or an IndexSet'
_WINDOWS = {"window": "near", "causal_window": "causal_near"}


@dataclass(frozen=True)
class Given:
    """Matrices in the form of the extension, with the shape they came in."""

    values: npt.NDArray[Any]
    """Shape (matrices, N, M), or (matrices, nnz) of edges; float32 or float64, contiguous."""
    lead: tuple[int, ...]
    """The leading axes."""
    support: NativeSupport
    label: str
    """The support in words."""
    shape: tuple[int, int]
    """Queries and keys."""

    @property
    def sparse(self) -> bool:
        """Whether the values are of edges."""
        return self.support[0] == "edges"

    @property
    def shorter(self) -> int:
        """The shorter side."""
        return min(self.shape)

    def with_values(self, values: npt.NDArray[Any], lead: tuple[int, ...]) -> Given:
        """The same support under other values."""
        return Given(values, lead, self.support, self.label, self.shape)


def floats(argument: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """`value` as float32 or float64, contiguous."""
    array: npt.NDArray[Any] = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise DTypeError(argument, array.dtype, "a real dtype")
    narrow = array.dtype in {np.dtype(np.float16), np.dtype(np.float32)}
    return np.ascontiguousarray(array, dtype=np.float32 if narrow else np.float64)


def matrices(argument: str, value: Weights, support: Support, *, boolean: bool = False, edges: bool = False) -> Given:
    """Matrices of shape (..., N, M) on a support; booleans as 0 and 1, and edges, where they are allowed."""
    if isinstance(value, EdgeWeights):
        if not edges:
            raise DTypeError(argument, "EdgeWeights", "an array of shape (..., N, M)")
        return _edges(argument, value, support, boolean=boolean)
    array: npt.NDArray[Any] = np.asarray(value)
    if boolean and array.dtype == np.bool_:
        array = array.astype(np.float32)
    array = floats(argument, array)
    if array.ndim < 2 or 0 in array.shape:
        raise ShapeError(argument, array.shape, "(..., N, M), no axis of length 0")
    lead, shape = array.shape[:-2], array.shape[-2:]
    native, label = _support(support, lead, (shape[0], shape[1]))
    return Given(array.reshape(-1, *shape), lead, native, label, (shape[0], shape[1]))


def _edges(argument: str, value: EdgeWeights, support: Support, *, boolean: bool) -> Given:
    own = value.index_set
    if support is not own and not (isinstance(support, str) and support == "full"):
        raise InvalidArgumentError("support", repr(support), '"full": EdgeWeights bring their own, the index set')
    array = value.values
    if boolean and array.dtype == np.bool_:
        array = array.astype(np.float32)
    array = floats(argument, array)
    if 0 in array.shape or 0 in own.shape:
        raise ShapeError(argument, value.shape, "at least one cell, and no axis of length 0")
    parts = (np.ascontiguousarray(own.indptr), np.ascontiguousarray(own.indices))
    native: NativeSupport = ("edges", own.n_keys, parts)
    return Given(array.reshape(-1, own.nnz), array.shape[:-1], native, "index set", own.shape)


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
