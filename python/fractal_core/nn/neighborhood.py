"""Neighbourhood attention with NATTEN's names, layout and borders, on the CPU and with gradients."""
# ruff: noqa: PLR0917  (NATTEN's arguments are positional)

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from fractal_core._torch import checks
from fractal_core.errors import DTypeError, ShapeError
from fractal_core.gpu import route
from fractal_core.nn import _travel
from fractal_core.nn._empty import connected
from fractal_core.nn._functorch import attend
from fractal_core.patterns.neighborhood import Neighborhood

if TYPE_CHECKING:
    from fractal_core.index_sets import IndexSet

__all__ = ["na1d", "na2d", "na3d"]

_LAYOUTS = ("(B, N, H, D)", "(B, Y, X, H, D)", "(B, Z, Y, X, H, D)")


def na1d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] = 1,
    dilation: int | tuple[int, ...] = 1,
    is_causal: bool | tuple[bool, ...] = False,
    scale: float | None = None,
    *,
    device: str = "cpu",
) -> Tensor:
    """Neighbourhood attention along a line; see `na2d`.

    Args:
        query: (B, N, H, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        key: (B, N, Hkv, D), the dtype of query; H is a multiple of Hkv.
        value: (B, N, Hkv, Dv), the dtype of query.
        kernel_size: as for `na2d`, and so are the others.
        stride: see kernel_size.
        dilation: see kernel_size.
        is_causal: see kernel_size.
        scale: see kernel_size.
        device: see kernel_size.

    Returns:
        (B, N, H, Dv) in the dtype of query, contiguous.

    Raises:
        DTypeError, ShapeError, InvalidArgumentError: as `na2d`.
    """
    return _attend(1, query, key, value, kernel_size, stride, dilation, is_causal, scale, device)


def na2d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] = 1,
    dilation: int | tuple[int, ...] = 1,
    is_causal: bool | tuple[bool, ...] = False,
    scale: float | None = None,
    *,
    device: str = "cpu",
) -> Tensor:
    """Neighbourhood attention in an image: each query attends to the window around its cell.

    The result is that of `natten.na2d`, with its borders, dilation, stride and causal axes; the rules and their sources
    are those of the pattern `neighborhood`. Each query has kernel_size keys along an axis, also at the borders. A
    window of one key is allowed. Query head h reads key head h // (H // Hkv). Index sets of recent sizes are kept.
    Batch, heads and axes may be 0: the result is empty then, and an axis of 0 fits every window.

    Args:
        query: (B, Y, X, H, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        key: (B, Y, X, Hkv, D), the dtype of query; H is a multiple of Hkv.
        value: (B, Y, X, Hkv, Dv), the dtype of query.
        kernel_size: keys of a window, 1 to the axis; one int, or one for each axis.
        stride: queries that share the window of the one in their middle, 1 to kernel_size; an int, or one for each
            axis.
        dilation: distance of the keys of a window; kernel_size * dilation is at most the axis; an int, or one for each
            axis.
        is_causal: whether an axis is causal; a bool, or one for each axis.
        scale: factor of the scores, finite; 1 / sqrt(D) where None.
        device: where the kernels run, "cpu", "gpu" or "auto", as for `sparse_attention`.

    Returns:
        (B, Y, X, H, Dv) in the dtype of query, contiguous.

    Raises:
        DTypeError: a tensor is of another dtype, or an argument of another type, than listed.
        ShapeError: shapes do not fit together, a head size is 0, or a rule has another number of entries than axes.
        InvalidArgumentError: a window that does not fit, a stride above kernel_size, another value out of its range, or
            a tensor that is not on the CPU or whose last dimension is not contiguous.
    """
    return _attend(2, query, key, value, kernel_size, stride, dilation, is_causal, scale, device)


def na3d(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] = 1,
    dilation: int | tuple[int, ...] = 1,
    is_causal: bool | tuple[bool, ...] = False,
    scale: float | None = None,
    *,
    device: str = "cpu",
) -> Tensor:
    """Neighbourhood attention in a volume or a video; see `na2d`.

    Args:
        query: (B, Z, Y, X, H, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        key: (B, Z, Y, X, Hkv, D), the dtype of query; H is a multiple of Hkv.
        value: (B, Z, Y, X, Hkv, Dv), the dtype of query.
        kernel_size: as for `na2d`, and so are the others.
        stride: see kernel_size.
        dilation: see kernel_size.
        is_causal: see kernel_size.
        scale: see kernel_size.
        device: see kernel_size.

    Returns:
        (B, Z, Y, X, H, Dv) in the dtype of query, contiguous.

    Raises:
        DTypeError, ShapeError, InvalidArgumentError: as `na2d`.
    """
    return _attend(3, query, key, value, kernel_size, stride, dilation, is_causal, scale, device)


@lru_cache(maxsize=32)
def _index_set(pattern: Neighborhood) -> IndexSet:
    """The set of a whole box. It keeps its plan, so that a model's layers and steps share both."""
    return pattern.index_set(pattern.length or 0)


def _handle(
    shape: tuple[int, ...],
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...],
    dilation: int | tuple[int, ...],
    is_causal: bool | tuple[bool, ...],
) -> Tensor:
    """The key of the box's index set for the op; sizes and rules are constants of a compiled graph."""
    return _travel.handle(_index_set(Neighborhood(shape, kernel_size, stride, dilation, is_causal)))


# What `torch.compiler.assume_constant_result` does, without importing the compiler, which takes seconds.
vars(_handle)["_dynamo_marked_constant"] = True


def _check_rules(
    shape: tuple[int, ...],
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...],
    dilation: int | tuple[int, ...],
    is_causal: bool | tuple[bool, ...],
) -> None:
    """Refuse rules that no box has, or that do not fit along the axes that are not 0."""
    rules = Neighborhood((1,) * len(shape), kernel_size, stride, dilation, is_causal)
    windows = zip(cast("tuple[int, ...]", rules.kernel_size), cast("tuple[int, ...]", rules.dilation), strict=True)
    box = tuple(n or kernel * apart for n, (kernel, apart) in zip(shape, windows, strict=True))
    replace(rules, shape=box).index_set(1, prod(box))


def _attend(
    axes: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...],
    dilation: int | tuple[int, ...],
    is_causal: bool | tuple[bool, ...],
    scale: float | None,
    device: str,
) -> Tensor:
    _check_tensors(axes, query, key, value)
    shape = tuple(query.shape[1 : 1 + axes])
    if torch.is_autocast_enabled("cpu"):
        half = torch.get_autocast_dtype("cpu")
        query, key, value = (t if t.dtype == torch.float64 else t.to(half) for t in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else checks.finite("scale", scale)
    device = route.checked(device)
    if query.numel() == 0:
        _check_rules(shape, kernel_size, stride, dilation, is_causal)
        return connected(query.new_zeros((*query.shape[:-1], value.shape[-1])), (query, key, value))
    handle = _handle(shape, kernel_size, stride, dilation, is_causal)
    q, k, v = (tensor.flatten(1, axes).transpose(1, 2) for tensor in (query, key, value))
    out, _ = attend(q, k, v, handle, None, None, None, None, scale, 0.0, device)
    return out.transpose(1, 2).contiguous().view(*query.shape[:-1], value.shape[-1])


def _check_tensors(axes: int, query: Tensor, key: Tensor, value: Tensor) -> None:
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        checks.tensor(name, tensor)
        if tensor.ndim != axes + 3:
            raise ShapeError(name, tuple(tensor.shape), f"{axes + 3} dimensions: {_LAYOUTS[axes - 1]}")
        if tensor.shape[-1] == 0:
            raise ShapeError(name, tuple(tensor.shape), "a head size of at least 1")
        if tensor.dtype != query.dtype and not torch.is_autocast_enabled("cpu"):
            raise DTypeError(name, tensor.dtype, f"the dtype of query, {query.dtype}")
        if tensor.shape[: axes + 1] != query.shape[: axes + 1]:
            raise ShapeError(name, tuple(tensor.shape), f"batch and box of query, {tuple(query.shape[: axes + 1])}")
        checks.last_dim_contiguous(name, tensor)
    heads, key_heads = query.shape[-2], key.shape[-2]
    if heads % key_heads if key_heads else heads:
        raise ShapeError("key", f"{key_heads} heads", f"a number of heads that divides the {heads} heads of query")
    if key.shape[-1] != query.shape[-1]:
        raise ShapeError("key", tuple(key.shape), f"the head size of query, {query.shape[-1]}")
    if value.shape[-2] != key_heads:
        raise ShapeError("value", tuple(value.shape), f"the heads of key, {key_heads}")
