"""Tensors as the kernels take them, and tensors for the kernels to write."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from fractal_core import _native
from fractal_core.errors import OutOfMemoryError
from fractal_core.nn import _travel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["NAMES", "array", "bits", "fresh", "in_autocast", "keys", "maybe", "with_room"]

Made = TypeVar("Made")

NAMES = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16", torch.float16: "f16"}
_HALVES = frozenset({torch.bfloat16, torch.float16})


def in_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors as torch's own attention casts them under CPU autocast: all but float64."""
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    half = torch.get_autocast_dtype("cpu")
    return tuple(t if t.dtype == torch.float64 else t.to(half) for t in tensors)


def array(tensor: Tensor) -> NDArray[Any]:
    """The tensor's own memory as an array; bfloat16 and float16 as their bits, uint16.

    Incoming gradients may be expanded or transposed: those are copied, as the kernel needs contiguous rows.
    """
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if tensor.ndim and tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.contiguous()
    return bits(tensor)


def bits(tensor: Tensor) -> NDArray[Any]:
    """`array` of a tensor that was allocated here."""
    return (tensor.view(torch.uint16) if tensor.dtype in _HALVES else tensor).numpy()


def maybe(tensor: Tensor | None) -> NDArray[Any] | None:
    """`array` of a contiguous copy where needed; None stays None."""
    return None if tensor is None else array(tensor.contiguous())


def keys(index_set: Tensor) -> Any:  # noqa: ANN401
    """What the kernels take for a set's handle or lists of keys."""
    return _travel.key(index_set) if index_set.ndim == 1 else array(index_set.contiguous())


def fresh(like: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor to be written, in huge pages if it is large (docs/decisions/0008-who-owns-memory.md)."""
    block = _native.huge_block(math.prod(shape) * like.itemsize)
    return like.new_empty(shape) if block is None else torch.from_numpy(block).view(like.dtype).view(shape)


def with_room(make: Callable[..., Made], *like: object) -> Made:
    """Tensors that `make` makes, or our word for what torch calls a RuntimeError."""
    try:
        return make(*like)
    except RuntimeError as error:
        size = re.search(r"allocate (\d+) bytes", str(error))
        if size is None:
            raise
        raise OutOfMemoryError("q, k, v", f"a size that takes {size[1]} bytes", "what memory has room for") from None
