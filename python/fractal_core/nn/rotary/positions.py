"""Positions of tokens that lie on a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fractal_core import curves
from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["grid_positions"]

_ORDERS = {"hilbert": curves.hilbert_order, "morton": curves.morton_order}


def grid_positions(shape: Sequence[int], curve: str | None = None) -> Tensor:
    """The cell of each token of a grid, as positions for an embedding with an axis for each of the grid's.

    Args:
        shape: sides of the grid, such as (height, width); for a curve two or three of them.
        curve: the order of the tokens: None for row after row, "hilbert" or "morton" for the order of
            `fractal_core.curves.hilbert_order` or `morton_order`.

    Returns:
        (n, n_axes), int64, n the number of cells.

    Raises:
        ShapeError: no sides, or a curve on a grid that it does not fill.
        InvalidArgumentError: a side below 1, or another curve.
        DTypeError: a side that is no integer.
    """
    try:
        sides = tuple(integer("shape", side, 1, INT32_MAX) for side in shape)
    except TypeError as error:
        if isinstance(error, DTypeError):
            raise
        raise DTypeError("shape", repr(shape), "a sequence of integers") from None
    if not sides:
        raise ShapeError("shape", sides, "at least one side")
    if curve is not None and curve not in _ORDERS:
        raise InvalidArgumentError("curve", repr(curve), "None, 'hilbert' or 'morton'")
    cells = np.arange(int(np.prod(sides))) if curve is None else _ORDERS[curve](sides)
    return torch.from_numpy(np.column_stack(np.unravel_index(cells, sides)).astype(np.int64))
