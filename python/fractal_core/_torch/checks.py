"""Refusals shared by the functions and layers of this sub-package."""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core._arguments import real
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "FLOATS",
    "above",
    "at_least",
    "boolean",
    "boolean_anywhere",
    "finite",
    "floating",
    "fraction",
    "last_dim_contiguous",
    "nonnegative",
    "on_cpu",
    "positive",
    "shaped",
    "share",
    "tensor",
]

FLOATS = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})


def tensor(name: str, value: object) -> Tensor:
    """`value` if it is a float tensor on the CPU."""
    found = floating(name, value)
    on_cpu(name, found)
    return found


def floating(name: str, value: object) -> Tensor:
    """`value` if it is a float tensor, on any device."""
    if not isinstance(value, Tensor):
        raise DTypeError(name, type(value).__name__, "a torch.Tensor")
    if value.dtype not in FLOATS:
        raise DTypeError(name, value.dtype, "float32, float64, bfloat16 or float16")
    return value


def on_cpu(name: str, value: Tensor) -> None:
    """Refuse tensors elsewhere; `meta` passes, as it holds no data."""
    if not (value.is_cpu or value.is_meta):
        raise InvalidArgumentError(name, f"device {value.device}", "a tensor on the CPU")


def last_dim_contiguous(name: str, value: Tensor) -> None:
    """Refuse rows that are not of one piece."""
    if value.stride(-1) != 1 and value.shape[-1] > 1:
        raise InvalidArgumentError(
            name,
            f"strides {tuple(value.stride())}",
            "a contiguous last dimension (stride 1), as .contiguous() makes it",
        )


def shaped(name: str, value: Tensor, *allowed: Sequence[int]) -> None:
    """Refuse a shape that none of `allowed` broadcasts to; all sizes must be equal, or 1 where 1 is listed."""
    if not any(tuple(value.shape) == tuple(shape) for shape in allowed):
        raise ShapeError(name, tuple(value.shape), " or ".join(str(tuple(shape)) for shape in allowed))


def boolean(name: str, value: object, shape: Sequence[int]) -> Tensor:
    """`value` if it is a bool tensor of that shape on the CPU."""
    found = boolean_anywhere(name, value, shape)
    on_cpu(name, found)
    return found


def boolean_anywhere(name: str, value: object, *allowed: Sequence[int]) -> Tensor:
    """`value` if it is a bool tensor of one of these shapes, on any device."""
    if not isinstance(value, Tensor):
        raise DTypeError(name, type(value).__name__, "a torch.Tensor of bool")
    if value.dtype != torch.bool:
        raise DTypeError(name, value.dtype, "torch.bool")
    shaped(name, value, *allowed)
    return value


def finite(name: str, value: object) -> float:
    """`value` as a finite float."""
    return _within(name, value, "a finite float", math.isfinite)


def above(name: str, value: object, bound: float) -> float:
    """`value` as a finite float above a bound."""
    return _within(name, value, f"a finite number above {bound:g}", lambda number: bound < number < math.inf)


def at_least(name: str, value: object, least: float) -> float:
    """`value` as a finite float that is not below a bound."""
    return _within(name, value, f"a finite number, {least:g} or more", lambda number: least <= number < math.inf)


def positive(name: str, value: object) -> float:
    """`value` as a finite float above 0."""
    return above(name, value, 0.0)


def nonnegative(name: str, value: object) -> float:
    """`value` as a finite float of 0 or more."""
    return at_least(name, value, 0.0)


def fraction(name: str, value: object) -> float:
    """`value` as a share that may be none, 0 <= value < 1."""
    return _within(name, value, "a float, 0 <= value < 1", lambda number: 0.0 <= number < 1.0)


def share(name: str, value: object, *, below: bool = False) -> float:
    """`value` as a share that may be all, 0 < value <= 1; with `below` less than 1."""
    allowed = f"a float, 0 < value {'<' if below else '<='} 1"
    return _within(name, value, allowed, lambda number: 0.0 < number < 1.0 or (number == 1.0 and not below))


def _within(name: str, value: object, allowed: str, holds: Callable[[float], bool]) -> float:
    """`value` as a float that holds: any real number of Python or NumPy, no bool and no tensor."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise DTypeError(name, type(value).__name__, allowed)
    number = real(name, value)
    if not holds(number):
        raise InvalidArgumentError(name, number, allowed)
    return number
