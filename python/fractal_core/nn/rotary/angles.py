"""From positions to cosines and sines: angles in float64, whatever the dtype of the tokens."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from fractal_core._arguments import INT64_MAX, integer
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

__all__ = [
    "Decay",
    "Turns",
    "checked_offset",
    "checked_positions",
    "consecutive",
    "turns",
    "without_autocast",
]


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Products in the dtype that their factors have."""
    return contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


class Decay(NamedTuple):
    """xPos: `zeta ** (p / length)` with `zeta = (i / count + smoothing) / (1 + smoothing)` for frequency i."""

    smoothing: float
    length: float


class Turns(NamedTuple):
    """Cosines and sines of angles, (..., n, count) each; with xPos the factors of queries, the inverse of the keys'."""

    cos: Tensor
    sin: Tensor
    scale: Tensor | None = None


def turns(positions: Tensor, frequencies: Tensor, dtype: torch.dtype, decay: Decay | None = None) -> Turns:
    """Cosines and sines of `sum_a positions[..., a] * frequencies[a]`.

    Args:
        positions: (..., n, n_axes), integers or floats.
        frequencies: (n_axes, count) in the wide dtype.
        dtype: of the result; angles are in the wide dtype.
        decay: xPos along the first axis, or None.
    """
    places = positions.to(frequencies.dtype)
    angles = places[..., :1] * frequencies[0]
    for axis in range(1, frequencies.shape[0]):
        angles = angles + places[..., axis : axis + 1] * frequencies[axis]
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    if decay is None:
        return Turns(cos, sin)
    count = frequencies.shape[1]
    steps = torch.arange(count, dtype=frequencies.dtype, device=frequencies.device) / count
    growth = ((steps + decay.smoothing) / (1 + decay.smoothing)).log() * (places[..., :1] / decay.length)
    return Turns(cos, sin, growth.exp().to(dtype))


def checked_positions(positions: Tensor, n_axes: int, leading: Sequence[int], device: torch.device) -> Tensor:
    """`positions` as (..., n, n_axes), if they fit tokens of the shape `leading` = (..., n).

    Raises:
        ShapeError: they do not broadcast to the tokens, or have another number of axes.
        DTypeError: no tensor, bools, or floats of 16 bits, which do not tell positions above 256 apart.
        InvalidArgumentError: on another device than the tokens.
    """
    if not isinstance(positions, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("positions", type(positions).__name__, "a torch.Tensor or None")
    dtype = positions.dtype
    if dtype == torch.bool or dtype.is_complex or (dtype.is_floating_point and dtype.itemsize < 4):
        raise DTypeError("positions", dtype, "an integer dtype, float32 or float64")
    if positions.device != device:
        raise InvalidArgumentError("positions", f"device {positions.device}", f"{device}, as the tokens")
    given = tuple(positions.shape)
    if positions.ndim == 1 and n_axes == 1:
        positions = positions[:, None]
    fits = 2 <= positions.ndim <= len(leading) + 1 and positions.shape[-1] == n_axes
    if fits:
        shape = positions.shape[:-1]
        sizes = zip(shape, leading[len(leading) - len(shape) :], strict=True)
        fits = shape[-1] == leading[-1] and all(size in {1, wanted} for size, wanted in sizes)
    if not fits:
        one = f"({leading[-1]},) or " if n_axes == 1 else ""
        allowed = f"{one}what broadcasts to {(*leading, n_axes)}: a batch of its own is (batch, 1, length, {n_axes})"
        raise ShapeError("positions", given, allowed)
    return positions


def checked_offset(offset: int | Tensor) -> int | Tensor:
    """`offset` as an int, or as it is if it is a tensor of integers.

    Raises:
        DTypeError: neither an integer nor a tensor of integers.
        InvalidArgumentError: beyond int64.
    """
    if type(offset) is int and torch.compiler.is_compiling():
        return offset  # may be symbolic: a graph for many offsets
    if not isinstance(offset, Tensor):
        return integer("offset", offset, -INT64_MAX, INT64_MAX)
    if offset.dtype == torch.bool or offset.dtype.is_floating_point or offset.dtype.is_complex:
        raise DTypeError("offset", offset.dtype, "an integer, or a tensor of an integer dtype")
    return offset


def consecutive(offset: int | Tensor, leading: Sequence[int], device: torch.device) -> Tensor:
    """Positions `offset + 0, 1, 2, ...` of tokens of the shape `leading` = (..., n).

    They are (n, 1), or with an offset for each row of the batch (B, 1, ..., n, 1).

    Raises:
        ShapeError: not one offset for each row of the batch.
        InvalidArgumentError: on another device than the tokens.
    """
    steps = torch.arange(leading[-1], device=device)
    if not isinstance(offset, Tensor):
        return (steps + offset)[:, None]
    if offset.device != device:
        raise InvalidArgumentError("offset", f"device {offset.device}", f"{device}, as the tokens")
    if offset.ndim == 0:
        return (steps + offset)[:, None]
    if len(leading) < 2 or tuple(offset.shape) != (leading[0],):
        rows = f" or ({leading[0]},), one for each row of the batch" if len(leading) > 1 else ""
        raise ShapeError("offset", tuple(offset.shape), f"(){rows}")
    return steps[:, None] + offset.reshape(-1, *[1] * len(leading))
