"""Rotations by unit quaternions: of vectors of three entries, and of four."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import ShapeError

__all__ = ["isoclinic", "quaternion_rotate", "spread_axes", "turn_around", "unit"]


def quaternion_rotate(x: Tensor, theta: float | Tensor, axis: Tensor) -> Tensor:
    """Rotate vectors of three entries by an angle around an axis, right-handed: `q v q*` for a unit quaternion q.

    With `a = cos(theta / 2)` and `r = sin(theta / 2) axis / |axis|` that is `v + 2 a (r × v) + 2 r × (r × v)`.

    Source: W. R. Hamilton; O. Rodrigues (1840).

    Args:
        x: (..., 3), any float dtype.
        theta: radians, any number, or a tensor that broadcasts to the leading axes of x.
        axis: (3,) or what broadcasts to x; its length does not count, but is not 0.

    Returns:
        (..., 3), the dtype of x.

    Raises:
        ShapeError: x or the axis has not three entries.
        DTypeError: x or the axis is no float tensor.
    """
    x, axis = checks.floating("x", x), checks.floating("axis", axis)
    for name, given in (("x", x), ("axis", axis)):
        if given.ndim == 0 or given.shape[-1] != 3:
            raise ShapeError(name, tuple(given.shape), "(..., 3)")
    dtype = accumulation_dtype(x.dtype)
    v, u = x.to(dtype), unit(axis.to(x.device, dtype))
    half = torch.as_tensor(theta, dtype=dtype, device=x.device)[..., None] / 2
    r = half.sin() * u
    across = _cross(r, v)
    return (v + 2 * half.cos() * across + 2 * _cross(r, across)).to(x.dtype)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Vectors along an axis, divided by their lengths."""
    return vectors / cast("Tensor", torch.linalg.vector_norm(vectors, dim=dim, keepdim=True))


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return cast("Tensor", torch.linalg.cross(*torch.broadcast_tensors(a, b), dim=-1))


def turn_around(v: Tensor, cos: Tensor, sin: Tensor, axes: Tensor) -> Tensor:
    """Vectors (..., 3) turned around unit axes (..., 3) by angles of the cosine and sine (...)."""
    across = _cross(axes, v)
    return v + sin[..., None] * across + (1 - cos[..., None]) * _cross(axes, across)


def isoclinic(v: Tensor, cos: Tensor, sin: Tensor, axes: Tensor) -> Tensor:
    """Vectors (..., 4) as quaternions, multiplied from the left by `cos + sin * axis` for unit axes (..., 3)."""
    real, imaginary = v[..., :1], v[..., 1:]
    turned = torch.cat((-(axes * imaginary).sum(-1, keepdim=True), axes * real + _cross(axes, imaginary)), -1)
    return cos[..., None] * v + sin[..., None] * turned


def spread_axes(count: int) -> Tensor:
    """`count` unit vectors spread over the sphere along a golden spiral, (count, 3), float64."""
    place = torch.arange(count, dtype=torch.float64)
    height = 1 - (2 * place + 1) / max(count, 1)
    around = place * (math.pi * (3 - math.sqrt(5)))
    radius = (1 - height.square()).sqrt()
    return torch.cat(((radius * around.cos())[:, None], (radius * around.sin())[:, None], height[:, None]), 1)
