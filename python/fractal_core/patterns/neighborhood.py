"""Neighbourhood attention: sliding windows in a box, shifted inward at its borders."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, SupportsIndex, cast

from fractal_core import _native
from fractal_core._arguments import flag, integer
from fractal_core.errors import DTypeError, ShapeError
from fractal_core.index_sets import IndexSet
from fractal_core.patterns.base import PatternBase
from fractal_core.patterns.protocol import check_span

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Neighborhood"]

_MAX = 2**31 - 1


@dataclass(frozen=True)
class Neighborhood(PatternBase):
    """Keys in the window around the query's cell in a raster box, by NATTEN's rules; each axis has its own.

    Every query has `kernel_size` keys along an axis: at a border the window is shifted inward. An even window has one
    more key before the query than after it. With `dilation` d, the cells whose coordinates agree modulo d are a grid of
    their own. With `stride` s, queries of that grid are taken in groups of s, and a group has the window of the cell
    s // 2 after its first one (at most the grid's last cell). On a causal axis windows end at the query, begin
    kernel_size - 1 cells before the last cell of the group, and are cut off at the start.

    A plan takes the queries in blocks of 16 cells along a Hilbert curve; tensors stay in raster layout.

    Definitions: Hassani et al., Neighborhood Attention Transformer (2023); Hassani and Shi, Dilated Neighborhood
    Attention Transformer (2022); Hassani et al., Generalized Neighborhood Attention (2025); NATTEN 0.20 and later.

    Args:
        shape: (W,), (H, W) or (D, H, W) of the box whose cells the keys are, last axis fastest.
        kernel_size: keys of a window, 1 to the axis; one number, or one for each axis, as are the others.
        stride: queries that share a window, 1 to kernel_size.
        dilation: distance of the keys of a window, 1 or more; kernel_size * dilation is at most the axis.
        is_causal: whether the axis is causal.

    Raises:
        InvalidArgumentError: a value below 1; `index_set` checks the windows against the box.
        ShapeError: not 1 to 3 axes, or another number of entries than axes.
        DTypeError: values that are no integers, or no bool.
    """

    shape: tuple[int, ...] = (16, 16)
    kernel_size: int | tuple[int, ...] = 7
    stride: int | tuple[int, ...] = 1
    dilation: int | tuple[int, ...] = 1
    is_causal: bool | tuple[bool, ...] = False

    name = "neighborhood"
    length_dependent = True
    symmetric = False

    def __post_init__(self) -> None:
        shape = _integers("shape", self.shape)
        if not 1 <= len(shape) <= 3 or prod(shape) > _MAX:
            raise ShapeError("shape", shape, "1 to 3 axes and at most 2^31 - 1 cells")
        object.__setattr__(self, "shape", shape)
        for argument in ("kernel_size", "stride", "dilation"):
            object.__setattr__(self, argument, _each(argument, getattr(self, argument), len(shape)))
        object.__setattr__(self, "is_causal", _flags("is_causal", self.is_causal, len(shape)))
        object.__setattr__(self, "length", prod(shape))

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """The keys of the last `n_queries` of `n_keys` positions; see `Pattern.index_set`.

        Raises:
            InvalidArgumentError: a window that does not fit into the box, or a stride above kernel_size.
        """
        n_queries, n_keys = check_span(n_queries, n_keys)
        native = _native.neighborhood_set(
            n_queries,
            n_keys,
            flag("causal", causal),
            list(self.shape),
            kernel_size=list(cast("tuple[int, ...]", self.kernel_size)),
            stride=list(cast("tuple[int, ...]", self.stride)),
            dilation=list(cast("tuple[int, ...]", self.dilation)),
            is_causal=list(cast("tuple[bool, ...]", self.is_causal)),
        )
        return IndexSet(native)


def _integers(argument: str, value: Sequence[SupportsIndex]) -> tuple[int, ...]:
    try:
        return tuple(integer(argument, entry, 1, _MAX) for entry in value)
    except TypeError as error:
        if isinstance(error, DTypeError):
            raise
        raise DTypeError(argument, repr(value), "a sequence of integers") from None


def _each(argument: str, value: int | tuple[int, ...] | list[int], axes: int) -> tuple[int, ...]:
    """One integer for each axis, from one for all or a sequence."""
    if isinstance(value, (tuple, list)):
        entries = _integers(argument, value)
        if len(entries) != axes:
            raise ShapeError(argument, entries, f"an integer, or one for each of the {axes} axes")
        return entries
    return (integer(argument, value, 1, _MAX),) * axes


def _flags(argument: str, value: bool | Sequence[bool], axes: int) -> tuple[bool, ...]:
    each = value if isinstance(value, (tuple, list)) else (value,) * axes
    flags = tuple(flag(argument, entry) for entry in each)
    if len(flags) != axes:
        raise ShapeError(argument, flags, f"a bool, or one for each of the {axes} axes")
    return flags
