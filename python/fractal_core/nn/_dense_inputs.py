"""Arguments of dense attention in torch's terms, refused by name or brought to the four dimensions of the kernels.

Letters: B batch, H query heads, Hkv key heads, L queries, S keys, E and Ev head sizes.
"""
# ruff: noqa: PLR0917  (torch's arguments are positional)

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

from fractal_core._arguments import flag
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn import _functorch
from fractal_core.nn._arrays import in_autocast

__all__ = ["DenseInputs", "dense_inputs", "elsewhere"]

_PLAIN = (Tensor, torch.nn.Parameter)


class DenseInputs(NamedTuple):
    """Checked, in four dimensions; the last one of q, k and v contiguous."""

    q: Tensor
    """(B, H, L, E)."""
    k: Tensor
    """(B, Hkv, S, E)."""
    v: Tensor
    """(B, Hkv, S, Ev)."""
    mask: Tensor | None
    """(B|1, H|1, L, S), bool or float."""
    scale: float
    shape: tuple[int, ...]
    """Of the output."""


def elsewhere(query: object, key: object, value: object, attn_mask: object) -> str | None:
    """Why tensors belong to torch's own attention, before anything is said of their shapes; None if they do not.

    Raises:
        DTypeError: something that is no tensor.
    """
    named = {"query": query, "key": key, "value": value}
    if attn_mask is not None:
        named["attn_mask"] = attn_mask
    plain = True
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor):
            raise DTypeError(name, type(tensor).__name__, "a torch.Tensor")
        if not tensor.is_cpu:
            return "not on the CPU"
        plain = plain and type(tensor) in _PLAIN
    if not plain and not torch.compiler.is_compiling():
        return "a subclass of Tensor"
    return None


def dense_inputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> DenseInputs | str:
    """Check the arguments of `scaled_dot_product_attention`; or the reason why torch's own must take them."""
    is_causal, enable_gqa = flag("is_causal", is_causal), flag("enable_gqa", enable_gqa)
    _probability(dropout_p)
    factor = None if scale is None else checks.finite("scale", scale)
    if is_causal and attn_mask is not None:
        raise InvalidArgumentError("attn_mask", "a mask with is_causal=True", "None, or is_causal=False")
    q, k, v = _one_dtype(query, key, value)
    if attn_mask is not None and attn_mask.dtype != torch.bool and attn_mask.dtype not in checks.FLOATS:
        raise DTypeError("attn_mask", attn_mask.dtype, "bool, float32, float64, bfloat16 or float16")
    if not (q.ndim == k.ndim == v.ndim == 4 and q.shape[0] == k.shape[0] == v.shape[0]):
        q, k, v, lead = _four(q, k, v)
    else:
        lead = tuple(q.shape[:1])
    ndim = max(query.ndim, key.ndim, value.ndim)
    q, k, v = _heads(q, k, v, enable_gqa)
    _sizes(q, k, v)
    shape = (*lead, *q.shape[1:3], v.shape[3]) if ndim > 2 else (q.shape[2], v.shape[3])
    mask = None if attn_mask is None else _mask(attn_mask, lead, ndim, (q.shape[1], q.shape[2], k.shape[2]))
    if 0 in q.shape or 0 in k.shape or 0 in v.shape:
        return "a size of 0"
    if k.shape[1] != v.shape[1]:
        return "key and value of different numbers of heads"
    if dropout_p == 1.0:
        return "dropout_p of 1"
    if mask is not None and (torch.compiler.is_compiling() or _functorch.is_active()):
        return "a mask under torch.func or a compiler"
    q, k, v = (t if t.stride(-1) == 1 or t.shape[-1] == 1 else t.contiguous() for t in (q, k, v))
    factor = 1.0 / math.sqrt(q.shape[3]) if factor is None else factor
    return DenseInputs(q, k, v, mask, factor, shape)


def _probability(dropout_p: object) -> None:
    if isinstance(dropout_p, bool) or not isinstance(dropout_p, (int, float)):
        raise DTypeError("dropout_p", type(dropout_p).__name__, "a float, 0 <= dropout_p <= 1")
    if not 0.0 <= dropout_p <= 1.0:
        raise InvalidArgumentError("dropout_p", dropout_p, "0 <= dropout_p <= 1")


def _one_dtype(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    tensors = (query, key, value)
    for name, tensor in zip(("query", "key", "value"), tensors, strict=True):
        if tensor.dtype not in checks.FLOATS:
            raise DTypeError(name, tensor.dtype, "float32, float64, bfloat16 or float16")
        if tensor.ndim < 2:
            raise ShapeError(name, tuple(tensor.shape), "at least 2 dimensions: (..., length, head size)")
    query, key, value = in_autocast(*tensors)
    for name, tensor in (("key", key), ("value", value)):
        if tensor.dtype != query.dtype:
            raise DTypeError(name, tensor.dtype, f"the dtype of query, {query.dtype}")
    return query, key, value


def _four(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """Leading dimensions broadcast against each other and joined to one, and their shape."""
    named = {"query": q, "key": k, "value": v}
    lead: tuple[int, ...] = ()
    for name, tensor in named.items():
        try:
            lead = cast("tuple[int, ...]", torch.broadcast_shapes(lead, tensor.shape[:-3]))
        except RuntimeError:
            allowed = f"leading dimensions that broadcast to {lead}"
            raise ShapeError(name, tuple(tensor.shape), allowed) from None
    joined: list[Tensor] = []
    for tensor in named.values():
        last = tensor if tensor.ndim > 2 else tensor.unsqueeze(0)
        joined.append(last.expand(*lead, *last.shape[-3:]).reshape(-1, *last.shape[-3:]) if 0 not in lead else last)
    return joined[0], joined[1], joined[2], lead


def _heads(q: Tensor, k: Tensor, v: Tensor, enable_gqa: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Heads as the kernels take them: those of q a multiple of those of k and v."""
    if enable_gqa:
        for name, tensor in (("key", k), ("value", v)):
            if tensor.shape[1] == 0 or q.shape[1] % tensor.shape[1]:
                heads = f"a number of heads that divides the {q.shape[1]} heads of query"
                raise ShapeError(name, f"{tensor.shape[1]} heads", heads)
        return q, k, v
    heads = max(t.shape[1] for t in (q, k, v))
    for name, tensor in (("query", q), ("key", k), ("value", v)):
        if tensor.shape[1] not in {1, heads}:
            allowed = f"{heads} heads, or enable_gqa=True and a number that divides those of query"
            raise ShapeError(name, f"{tensor.shape[1]} heads", allowed)
    q = q.expand(-1, heads, -1, -1)
    if k.shape[1] != v.shape[1]:
        k, v = (t.expand(-1, heads, -1, -1) for t in (k, v))
    return q, k, v


def _sizes(q: Tensor, k: Tensor, v: Tensor) -> None:
    if k.shape[3] != q.shape[3]:
        raise ShapeError("key", tuple(k.shape), f"the head size of query, {q.shape[3]}")
    if v.shape[2] != k.shape[2]:
        raise ShapeError("value", tuple(v.shape), f"the length of key, {k.shape[2]}")


def _mask(mask: Tensor, lead: tuple[int, ...], ndim: int, last: tuple[int, int, int]) -> Tensor:
    """(B|1, H|1, L, S), a view where dimensions need not be joined."""
    full = (*lead, *(last if ndim > 2 else last[1:]))
    shape = tuple(mask.shape)
    if len(shape) > len(full) or any(
        size not in {1, whole} for size, whole in zip(shape[::-1], full[::-1], strict=False)
    ):
        raise ShapeError("attn_mask", shape, f"a shape that broadcasts to {full}")
    if mask.ndim < 4:
        mask = mask[(None,) * (4 - mask.ndim)]
    elif len(lead) > 1:
        one = all(size == 1 for size in mask.shape[:-3])
        mask = (mask if one else mask.expand(*lead, *mask.shape[-3:])).reshape(-1, *mask.shape[-3:])
    return mask.expand(-1, -1, *last[1:])
