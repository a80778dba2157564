"""What attention in NATTEN's layout, heads after the axes of the tokens, shares: its checks, and its way to the op."""

from __future__ import annotations

from typing import Any, TypedDict

import torch
from torch import Tensor

from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn._empty import connected
from fractal_core.nn._functorch import attend

__all__ = [
    "LAYOUTS",
    "AttentionPerformance",
    "NeighborhoodPerformance",
    "attend_heads_last",
    "check_heads",
    "check_tensor",
    "nothing",
    "scale_of",
]


class Performance(TypedDict, total=False):
    """Keywords of NATTEN that choose how its kernels run, without effect here: those that all functions have."""

    backend: Any
    backward_kv_splits: Any
    backward_use_pt_reduction: Any
    run_persistent_kernel: Any
    kernel_schedule: Any
    torch_compile: Any


class AttentionPerformance(Performance, total=False):
    """Those of `attention`."""

    q_tile_size: Any
    kv_tile_size: Any
    backward_q_tile_size: Any
    backward_kv_tile_size: Any


class NeighborhoodPerformance(Performance, total=False):
    """Those of `na1d`, `na2d` and `na3d`."""

    q_tile_shape: Any
    kv_tile_shape: Any
    backward_q_tile_shape: Any
    backward_kv_tile_shape: Any


LAYOUTS = ("(B, N, H, D)", "(B, Y, X, H, D)", "(B, Z, Y, X, H, D)")


def check_tensor(name: str, value: Tensor, query: Tensor, axes: int, layout: str | None = None) -> None:
    """Refuse a tensor of another kind or number of dimensions, without features, or of another dtype than query."""
    value = checks.tensor(name, value)
    if value.ndim != axes + 3:
        raise ShapeError(name, tuple(value.shape), f"{axes + 3} dimensions: {layout or LAYOUTS[axes - 1]}")
    if value.shape[-1] == 0:
        raise ShapeError(name, tuple(value.shape), "a head size of at least 1")
    if value.dtype != query.dtype and not torch.is_autocast_enabled("cpu"):
        raise DTypeError(name, value.dtype, f"the dtype of query, {query.dtype}")
    checks.last_dim_contiguous(name, value)


def check_heads(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Refuse heads and head sizes that do not fit together."""
    heads, key_heads = query.shape[-2], key.shape[-2]
    if heads % key_heads if key_heads else heads:
        raise ShapeError("key", f"{key_heads} heads", f"a number of heads that divides the {heads} heads of query")
    if key.shape[-1] != query.shape[-1]:
        raise ShapeError("key", tuple(key.shape), f"the head size of query, {query.shape[-1]}")
    if value.shape[-2] != key_heads:
        raise ShapeError("value", tuple(value.shape), f"the heads of key, {key_heads}")


def scale_of(name: str, scale: float | None, head_dim: int) -> float:
    """The factor of the scores. 0 stands for the default in NATTEN: it is refused, as it would weigh all keys alike."""
    if scale is None:
        return head_dim**-0.5
    factor = checks.finite(name, scale)
    if factor == 0.0:
        raise InvalidArgumentError(name, factor, "a finite number other than 0, or None for 1 / sqrt(head size)")
    return factor


def nothing(query: Tensor, value: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Output 0 (B, ..., H, Dv) and lse -inf (B, H, N) of queries without keys, or none, with gradients of zeros."""
    out = query.new_zeros((*query.shape[:-1], value.shape[-1]))
    shape = (query.shape[0], query.shape[-2], query.shape[1:-2].numel())
    lse = query.new_full(shape, -torch.inf, dtype=accumulation_dtype(query.dtype))
    return connected(out, (query, value, *tensors)), connected(lse, (query, value, *tensors))


def attend_heads_last(  # noqa: PLR0917
    query: Tensor, key: Tensor, value: Tensor, handle: Tensor, scale: float, device: str
) -> tuple[Tensor, Tensor]:
    """Output (B, ..., H, Dv), contiguous, and lse (B, H, N), over the edges of a set."""
    last = query.ndim - 3
    q, k, v = (t.flatten(1, last).transpose(1, 2) for t in (query, key, value))
    out, lse = attend(q, k, v, handle, None, None, None, None, scale, 0.0, device)
    out = out.transpose(1, 2).contiguous().view(*query.shape[:-1], value.shape[-1])
    return out, lse
