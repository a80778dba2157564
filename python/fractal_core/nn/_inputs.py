"""Refusals of what sparse attention and its statistics take, by name, and the arguments of their ops."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fractal_core._arguments import integer
from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.index_sets import IndexSet, IndexSetStack
from fractal_core.nn import _travel
from fractal_core.nn._arrays import in_autocast

__all__ = ["Inputs", "inputs", "keys_of"]


class Inputs(NamedTuple):
    """What the ops take, checked."""

    q: Tensor
    k: Tensor
    v: Tensor | None
    rows: IndexSet | None
    """The rows of the index set that the queries take; None for a stack of sets and for lists of keys."""
    keys: Tensor
    """The handle of the rows, one dimension; those of a stack, two; or lists of keys, four."""
    key_bias: Tensor | None
    edge_bias: Tensor | None
    key_padding_mask: Tensor | None
    scale: float
    first_position: int
    """Query i stands at key first_position + i."""
    empty: bool
    """Whether there is nothing to compute: a size is 0, or no key is listed."""


def inputs(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    index_set: IndexSet | IndexSetStack | Tensor,
    *,
    bias: Tensor | None,
    edge_bias: Tensor | None,
    key_padding_mask: Tensor | None,
    scale: float | None,
    q_offset: int | None,
) -> Inputs:
    """Check the arguments of `sparse_attention`; v is None where there are no values."""
    q, k = checks.tensor("q", q), checks.tensor("k", k)
    if v is None:
        q, k = in_autocast(q, k)
    else:
        q, k, v = in_autocast(q, k, checks.tensor("v", v))
    batch, heads, n_queries, head_dim, kv_heads, n_keys = _sizes(q, k, v)
    factor: float = head_dim**-0.5 if scale is None else checks.finite("scale", scale)
    if bias is not None:
        bias = _bias("bias", bias, (batch, heads, n_keys)).to(accumulation_dtype(q.dtype))
    if key_padding_mask is not None:
        key_padding_mask = checks.boolean("key_padding_mask", key_padding_mask, (batch, n_keys))
    first_position = n_keys - n_queries
    if isinstance(index_set, IndexSetStack):
        rows, keys = None, _stack(index_set, edge_bias, q_offset, (batch, heads, n_queries, n_keys))
        if q_offset is not None:
            first_position = int(q_offset) + n_keys - index_set.n_queries
    elif isinstance(index_set, Tensor):
        rows, keys = None, _lists(index_set, edge_bias, q_offset, (batch, kv_heads, n_queries))
    else:
        rows, edge_bias = _set(index_set, edge_bias, q_offset, (batch, heads, n_queries, n_keys))
        keys = _travel.handle(rows)
        if q_offset is not None:
            first_position = int(q_offset) + n_keys - index_set.n_queries
    if edge_bias is not None:
        edge_bias = edge_bias.to(accumulation_dtype(q.dtype))
    empty = 0 in (batch, heads, n_queries, n_keys) or (keys.ndim == 4 and keys.shape[3] == 0)
    return Inputs(q, k, v, rows, keys, bias, edge_bias, key_padding_mask, factor, first_position, empty)


def _sizes(q: Tensor, k: Tensor, v: Tensor | None) -> tuple[int, int, int, int, int, int]:
    """Batch, heads, queries, head size, key heads and keys."""
    for name, t in (("q", q), ("k", k), *(() if v is None else (("v", v),))):
        if t.ndim != 4:
            raise ShapeError(name, tuple(t.shape), "4 dimensions: (batch, heads, length, head size)")
        if t.dtype != q.dtype:
            raise DTypeError(name, t.dtype, f"the dtype of q, {q.dtype}")
        if t.shape[3] == 0:
            raise ShapeError(name, tuple(t.shape), "a head size of at least 1")
        checks.last_dim_contiguous(name, t)
    batch, heads, n_queries, head_dim = q.shape
    k_batch, kv_heads, n_keys, k_dim = k.shape
    if k_batch != batch:
        raise ShapeError("k", tuple(k.shape), f"the batch of q, {batch}")
    if k_dim != head_dim:
        raise ShapeError("k", tuple(k.shape), f"the head size of q, {head_dim}")
    if v is not None and v.shape[:3] != (batch, kv_heads, n_keys):
        raise ShapeError("v", tuple(v.shape), f"batch, heads and length of k, {(batch, kv_heads, n_keys)}")
    if heads % kv_heads if kv_heads else heads:
        raise ShapeError("k", f"{kv_heads} heads", f"a number of heads that divides the {heads} heads of q")
    return batch, heads, n_queries, head_dim, kv_heads, n_keys


def _bias(argument: str, bias: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    """A bias of (n,), (H|1, n) or (B|1, H|1, n), in the last of these shapes; `sizes` are B, H and n."""
    bias = checks.tensor(argument, bias)
    shape, (batch, heads, n) = tuple(bias.shape), sizes
    fits = 1 <= len(shape) <= 3 and all(
        size in (full, one) for size, full, one in zip(shape[::-1], (n, heads, batch), (n, 1, 1), strict=False)
    )
    if not fits:
        raise ShapeError(argument, shape, f"({n},), ({heads}|1, {n}) or ({batch}|1, {heads}|1, {n})")
    return bias.reshape((1,) * (3 - len(shape)) + shape)


def _lists(index_set: Tensor, edge_bias: Tensor | None, q_offset: int | None, sizes: tuple[int, int, int]) -> Tensor:
    """Lists of keys in place of an index set, checked except for their values, which the kernel checks."""
    batch, kv_heads, n_queries = sizes
    if index_set.dtype not in {torch.int32, torch.int64}:
        raise DTypeError("index_set", index_set.dtype, "torch.int32 or torch.int64")
    if index_set.device.type != "cpu":
        raise InvalidArgumentError("index_set", f"a tensor on {index_set.device}", "a tensor on the CPU")
    shape = tuple(index_set.shape)
    if len(shape) != 4 or shape[0] not in {1, batch} or shape[1] not in {1, kv_heads} or shape[2] != n_queries:
        raise ShapeError("index_set", shape, f"({batch}|1, {kv_heads}|1, {n_queries}, any number of keys)")
    if edge_bias is not None:
        raise InvalidArgumentError("edge_bias", "a tensor", "None where index_set holds lists of keys")
    if q_offset is not None:
        raise InvalidArgumentError("q_offset", q_offset, "None where index_set holds lists of keys")
    return index_set


def _stack(
    index_set: IndexSetStack, edge_bias: Tensor | None, q_offset: int | None, sizes: tuple[int, int, int, int]
) -> Tensor:
    """The handles of the rows that the queries take of each set."""
    batch, heads, n_queries, n_keys = sizes
    if index_set.shape[0] not in {1, batch} or index_set.shape[1] not in {1, heads}:
        raise ShapeError("index_set", f"a stack of shape {index_set.shape}", f"({batch}|1, {heads}|1)")
    if edge_bias is not None:
        raise InvalidArgumentError("edge_bias", "a tensor", "None with a stack of index sets, whose edges differ")
    if index_set.n_keys != n_keys:
        raise ShapeError("index_set", f"n_keys {index_set.n_keys}", f"the length of k, {n_keys}")
    for one in index_set.sets:
        _rows(one, None, n_queries, q_offset)
    spare = index_set.n_queries - n_queries
    if spare:
        first = spare if q_offset is None else int(q_offset)
        index_set = index_set.rows(first, first + n_queries)
    return _travel.stack(index_set)


def _set(
    index_set: IndexSet, edge_bias: Tensor | None, q_offset: int | None, sizes: tuple[int, int, int, int]
) -> tuple[IndexSet, Tensor | None]:
    """The rows of an index set that the queries take, with their part of the edge bias."""
    batch, heads, n_queries, n_keys = sizes
    if not isinstance(index_set, IndexSet):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("index_set", type(index_set).__name__, "a fractal_core.IndexSet or a tensor of keys")
    if index_set.n_keys != n_keys:
        raise ShapeError("index_set", f"n_keys {index_set.n_keys}", f"the length of k, {n_keys}")
    if edge_bias is not None:
        edge_bias = _bias("edge_bias", edge_bias, (batch, heads, index_set.nnz))
        # The op takes one that differs by entry as such, others by head alone.
        edge_bias = edge_bias[0] if edge_bias.shape[0] == 1 else edge_bias
    return _rows(index_set, edge_bias, n_queries, q_offset)


def _rows(
    index_set: IndexSet, edge_bias: Tensor | None, n_queries: int, q_offset: int | None
) -> tuple[IndexSet, Tensor | None]:
    """The rows q_offset..q_offset + n_queries of the set, with their part of the edge bias."""
    spare = index_set.n_queries - n_queries
    if spare < 0:
        raise ShapeError("index_set", f"n_queries {index_set.n_queries}", f"at least the length of q, {n_queries}")
    q_offset = spare if q_offset is None else integer("q_offset", q_offset, 0, spare)
    if spare == 0:
        return index_set, edge_bias
    if edge_bias is not None:
        first, last = int(index_set.indptr[q_offset]), int(index_set.indptr[q_offset + n_queries])
        edge_bias = edge_bias[..., first:last]
    return index_set.rows(q_offset, q_offset + n_queries), edge_bias


def keys_of(index_set: IndexSet | Tensor, q_offset: int | None, sizes: tuple[int, int, int, int]) -> Tensor:
    """The handle of the rows that the queries take, or lists of keys; `sizes` are batch, key heads, queries, keys.

    Raises:
        DTypeError: Neither an index set nor integers; a stack of sets.
        ShapeError: Sizes do not fit.
    """
    batch, kv_heads, n_queries, n_keys = sizes
    if isinstance(index_set, Tensor):
        return _lists(index_set, None, q_offset, (batch, kv_heads, n_queries))
    return _travel.handle(_set(index_set, None, q_offset, (batch, kv_heads, n_queries, n_keys))[0])
