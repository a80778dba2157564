"""Rotations in the planes of two coordinates, and products of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from fractal_core._arguments import INT32_MAX, integer
from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn.rotary.angles import without_autocast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["compose", "givens_apply", "planes", "stages"]

Pairs = tuple[tuple[int, int], ...]


def givens_apply(x: Tensor, pairs: Sequence[tuple[int, int]] | Tensor, theta: Tensor) -> Tensor:
    """Rotate x in the planes of pairs of coordinates, one plane after the other.

    A positive angle turns coordinate i towards j: `x_i' = x_i cos t - x_j sin t`, `x_j' = x_i sin t + x_j cos t`. The
    result is `G_m ... G_1 x`, where G_1 is the first pair. Pairs that share no coordinate run together; a chain that
    does share some is composed into one matrix first.

    Source: W. Givens (1958); G. Golub and C. Van Loan, "Matrix Computations", section 5.1.8.

    Args:
        x: (..., d), any float dtype.
        pairs: m pairs (i, j) of different coordinates below d, as a sequence or as an integer tensor (m, 2).
        theta: (m,), radians.

    Returns:
        (..., d), the dtype of x; computed in float32, or float64 for float64.

    Raises:
        DTypeError: x or theta is no float tensor, or an index no integer.
        ShapeError: theta has not one angle for each pair, or x no axis.
        InvalidArgumentError: a coordinate that x does not have, or a pair of one coordinate with itself.
    """
    x, theta = checks.floating("x", x), checks.floating("theta", theta)
    if x.ndim == 0:
        raise ShapeError("x", (), "(..., d)")
    chosen = planes(pairs, x.shape[-1])
    if tuple(theta.shape) != (len(chosen),):
        raise ShapeError("theta", tuple(theta.shape), f"({len(chosen)},), an angle for each pair")
    dtype = accumulation_dtype(x.dtype)
    given, angles, cuts = x.to(dtype), theta.to(x.device, dtype), stages(chosen)
    if not cuts:
        return x.clone()
    if len(cuts) == 1:
        return _stage(given, chosen, angles).to(x.dtype)
    with without_autocast(x.device):
        turned: Tensor = given @ compose(cuts, angles, x.shape[-1]).T
    return turned.to(x.dtype)


def planes(pairs: Iterable[Sequence[int]] | Tensor, dim: int, argument: str = "pairs") -> Pairs:
    """Checked pairs of coordinates of vectors of `dim` entries.

    Raises:
        ShapeError: not two coordinates in each.
        DTypeError: what is no sequence of pairs of integers.
        InvalidArgumentError: a coordinate out of range, or a pair of one with itself.
    """
    listed = cast("list[list[int]]", pairs.tolist()) if isinstance(pairs, Tensor) else pairs
    found: list[tuple[int, int]] = []
    try:
        rows = [tuple(pair) for pair in listed]
    except TypeError:
        raise DTypeError(argument, type(pairs).__name__, "a sequence of pairs of integers") from None
    for pair in rows:
        if len(pair) != 2:
            raise ShapeError(argument, pair, "two coordinates in each")
        i, j = (integer(argument, index, 0, min(dim - 1, INT32_MAX)) for index in pair)
        if i == j:
            raise InvalidArgumentError(argument, pair, "two different coordinates")
        found.append((i, j))
    return tuple(found)


def stages(pairs: Pairs) -> tuple[Pairs, ...]:
    """Runs of pairs, in order, within which no coordinate comes twice."""
    cuts: list[list[tuple[int, int]]] = []
    seen: set[int] = set()
    for pair in pairs:
        if not cuts or seen & set(pair):
            cuts.append([])
            seen = set()
        cuts[-1].append(pair)
        seen |= set(pair)
    return tuple(tuple(cut) for cut in cuts)


def _stage(x: Tensor, pairs: Pairs, theta: Tensor) -> Tensor:
    """Rotations of pairs that share no coordinate; (..., d) to (..., d)."""
    first, second = (torch.tensor(side, device=x.device) for side in zip(*pairs, strict=True))
    a, b = x.index_select(-1, first), x.index_select(-1, second)
    cos, sin = theta.cos(), theta.sin()
    turned = torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
    return x.index_copy(-1, torch.cat((first, second)), turned)


def compose(cuts: tuple[Pairs, ...], theta: Tensor, dim: int) -> Tensor:
    """The matrix `G_m ... G_1` of the pairs of all stages, (dim, dim) of theta's dtype, with gradients to theta."""
    rows = torch.eye(dim, dtype=theta.dtype, device=theta.device)
    used = 0
    for cut in cuts:
        rows = _stage(rows, cut, theta[used : used + len(cut)])
        used += len(cut)
    # Row r holds what became of unit vector r, which is column r of the matrix.
    return rows.T
