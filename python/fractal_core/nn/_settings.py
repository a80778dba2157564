"""Refusals of what routers and layers are made with and given."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fractal_core._arguments import real
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

__all__ = ["positive", "share", "token_mask", "tokens"]


def share(name: str, value: float, *, below: bool = False) -> float:
    """`value` as a share, 0 < value <= 1; with `below` less than 1."""
    if isinstance(value, bool):
        raise DTypeError(name, repr(value), "a real number")
    number = real(name, value)
    if not (0 < number < 1 or (number == 1 and not below)):
        raise InvalidArgumentError(name, number, f"0 < {name} {'<' if below else '<='} 1")
    return number


def positive(name: str, value: float) -> float:
    """`value` as a finite number above 0."""
    if isinstance(value, bool):
        raise DTypeError(name, repr(value), "a real number")
    number = real(name, value)
    if not 0 < number < math.inf:
        raise InvalidArgumentError(name, number, "a finite number above 0")
    return number


def tokens(name: str, value: object, dims: int) -> Tensor:
    """`value` if it is a float tensor (B, N, dims), on any device."""
    if not isinstance(value, Tensor):
        raise DTypeError(name, type(value).__name__, "a torch.Tensor")
    if not value.is_floating_point():
        raise DTypeError(name, value.dtype, "a float dtype")
    if value.ndim != 3 or value.shape[2] != dims:
        raise ShapeError(name, tuple(value.shape), f"(batch, length, {dims})")
    return value


def token_mask(name: str, value: object, x: Tensor) -> Tensor:
    """`value` if it is bool of (B, N), the tokens of x, on any device."""
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        given = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise DTypeError(name, given, "a tensor of torch.bool")
    if value.shape != x.shape[:2]:
        raise ShapeError(name, tuple(value.shape), tuple(x.shape[:2]))
    return value
