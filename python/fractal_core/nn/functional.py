"""Sparse attention as a function: the public entry to the op, which refuses every mistake by name."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from fractal_core._arguments import flag, integer
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.gpu import route
from fractal_core.index_sets import IndexSet
from fractal_core.nn import _travel
from fractal_core.nn._functorch import attend
from fractal_core.nn.ops import accumulation_dtype

__all__ = ["sparse_attention"]


@overload
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index_set: IndexSet | Tensor,
    *,
    bias: Tensor | None = None,
    edge_bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    q_offset: int | None = None,
    dropout_p: float = 0.0,
    return_lse: Literal[False] = False,
    device: str = "cpu",
) -> Tensor: ...


@overload
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index_set: IndexSet | Tensor,
    *,
    bias: Tensor | None = None,
    edge_bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    q_offset: int | None = None,
    dropout_p: float = 0.0,
    return_lse: Literal[True],
    device: str = "cpu",
) -> tuple[Tensor, Tensor]: ...


def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index_set: IndexSet | Tensor,
    *,
    bias: Tensor | None = None,
    edge_bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    q_offset: int | None = None,
    dropout_p: float = 0.0,
    return_lse: bool = False,
    device: str = "cpu",
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(scale * q k^T + bias) v over the edges of an index set, with gradients for q, k, v and both biases.

    Equal to `torch.nn.functional.scaled_dot_product_attention` with `index_set.to_mask()` as its mask, at the cost of
    the edges. A query without any key gives output 0, gradient 0 and lse -inf. NaN and Inf propagate as they do there.
    Inputs are read in place, whatever their strides. Query head h reads key head h // (H // Hkv).
    Under CPU autocast, q, k and v are cast to the autocast dtype as they are for `scaled_dot_product_attention`.

    Args:
        q: (B, H, Nq, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        k: (B, Hkv, Nk, D), the dtype of q, last dimension contiguous; H is a multiple of Hkv.
        v: (B, Hkv, Nk, Dv), the dtype of q, last dimension contiguous.
        index_set: which keys each query attends to; n_keys is Nk, n_queries is at least Nq. In its place (B|1, Hkv|1,
            Nq, K) int32 or int64 lists of keys, -1 a pad, that may change at every call: they run directly, without
            a plan. Their keys may be in any order; one that is listed twice counts twice.
        bias: added to the scores of each key: (Nk,), (H|1, Nk) or (B|1, H|1, Nk), any float dtype.
        edge_bias: added to the score of each edge: (E,) or (H|1, E), E = index_set.nnz edges in row order.
        key_padding_mask: (B, Nk) bool, True where a key is to be ignored.
        scale: factor of the scores, finite; 1 / sqrt(D) where None.
        q_offset: query i takes row i + q_offset of the index set; n_queries - Nq where None, so that the last query
            takes the last row.
        dropout_p: probability that an attention weight is dropped, 0 <= dropout_p < 1; the others grow by
            1 / (1 - dropout_p). Drawn from torch's default generator, so `torch.manual_seed` repeats it.
        return_lse: also give the natural log-sum-exp of the scores, which takes part in the gradient.
        device: where the kernels run, forward and backward; the tensors are the CPU's. "gpu" is any GPU through
            Vulkan, Metal or Direct3D 12, with float32, float16 or bfloat16; "auto" the one that is expected to take
            less time (`fractal_core.gpu.explain_route`), never a software adapter.

    Returns:
        (B, H, Nq, Dv) in the dtype of q, contiguous; with return_lse also (B, H, Nq), float32 (float64 for float64).

    Raises:
        DTypeError: a tensor is of another dtype, or an argument of another type, than listed.
        ShapeError: shapes do not fit together, or a size is 0.
        InvalidArgumentError: a value is out of its range, a tensor is not on the CPU, or its last dimension is not
            contiguous.
        GpuError: with device="gpu": there is none that may be used, or it failed. The CPU does not take over then.
    """
    return_lse, device = flag("return_lse", return_lse), route.checked(device)
    q, k, v = checks.tensor("q", q), checks.tensor("k", k), checks.tensor("v", v)
    if torch.is_autocast_enabled("cpu"):
        half = torch.get_autocast_dtype("cpu")
        q, k, v = (t if t.dtype == torch.float64 else t.to(half) for t in (q, k, v))
    batch, heads, n_queries, head_dim, kv_heads, n_keys = _check_inputs(q, k, v)
    scale = head_dim**-0.5 if scale is None else checks.finite("scale", scale)
    dropout_p = checks.fraction("dropout_p", dropout_p)
    if bias is not None:
        bias = _key_bias(bias, batch, heads, n_keys).to(accumulation_dtype(q.dtype))
    if key_padding_mask is not None:
        key_padding_mask = checks.boolean("key_padding_mask", key_padding_mask, (batch, n_keys))
    if isinstance(index_set, Tensor):
        keys = _lists(index_set, edge_bias, q_offset, (batch, kv_heads, n_queries))
    else:
        index_set, edge_bias = _set(index_set, edge_bias, q_offset, (heads, n_queries, n_keys))
        keys = _travel.handle(index_set)
    if edge_bias is not None:
        edge_bias = edge_bias.to(accumulation_dtype(q.dtype))
    seed = torch.randint(0, 2**63 - 1, (1,)) if dropout_p > 0.0 else None
    out, lse = attend(q, k, v, keys, bias, edge_bias, key_padding_mask, seed, scale, dropout_p, device)
    return (out, lse) if return_lse else out


def _check_inputs(q: Tensor, k: Tensor, v: Tensor) -> tuple[int, int, int, int, int, int]:
    """Batch, heads, queries, head size, key heads and keys."""
    for name, t in (("q", q), ("k", k), ("v", v)):
        if t.ndim != 4:
            raise ShapeError(name, tuple(t.shape), "4 dimensions: (batch, heads, length, head size)")
        if t.dtype != q.dtype:
            raise DTypeError(name, t.dtype, f"the dtype of q, {q.dtype}")
        if 0 in t.shape:
            raise ShapeError(name, tuple(t.shape), "sizes of at least 1")
        checks.last_dim_contiguous(name, t)
    batch, heads, n_queries, head_dim = q.shape
    k_batch, kv_heads, n_keys, k_dim = k.shape
    if k_batch != batch:
        raise ShapeError("k", tuple(k.shape), f"the batch of q, {batch}")
    if k_dim != head_dim:
        raise ShapeError("k", tuple(k.shape), f"the head size of q, {head_dim}")
    if v.shape[:3] != (batch, kv_heads, n_keys):
        raise ShapeError("v", tuple(v.shape), f"batch, heads and length of k, {(batch, kv_heads, n_keys)}")
    if heads % kv_heads:
        raise ShapeError("k", f"{kv_heads} heads", f"a number of heads that divides the {heads} heads of q")
    return batch, heads, n_queries, head_dim, kv_heads, n_keys


def _key_bias(bias: Tensor, batch: int, heads: int, n_keys: int) -> Tensor:
    bias = checks.tensor("bias", bias)
    shape = tuple(bias.shape)
    fits = 1 <= len(shape) <= 3 and all(
        size in (full, one)
        for size, full, one in zip(shape[::-1], (n_keys, heads, batch), (n_keys, 1, 1), strict=False)
    )
    if not fits:
        allowed = f"({n_keys},), ({heads}|1, {n_keys}) or ({batch}|1, {heads}|1, {n_keys})"
        raise ShapeError("bias", shape, allowed)
    return bias.reshape((1,) * (3 - len(shape)) + shape)


def _edge_bias(edge_bias: Tensor, heads: int, n_edges: int) -> Tensor:
    edge_bias = checks.tensor("edge_bias", edge_bias)
    checks.shaped("edge_bias", edge_bias, (n_edges,), (1, n_edges), (heads, n_edges))
    return edge_bias.unsqueeze(0) if edge_bias.ndim == 1 else edge_bias


def _lists(index_set: Tensor, edge_bias: Tensor | None, q_offset: int | None, sizes: tuple[int, int, int]) -> Tensor:
    """Lists of keys in place of an index set, checked except for their values, which the kernel checks."""
    batch, kv_heads, n_queries = sizes
    if index_set.dtype not in {torch.int32, torch.int64}:
        raise DTypeError("index_set", index_set.dtype, "torch.int32 or torch.int64")
    if index_set.device.type != "cpu":
        raise InvalidArgumentError("index_set", f"a tensor on {index_set.device}", "a tensor on the CPU")
    shape = tuple(index_set.shape)
    if (
        len(shape) != 4
        or shape[0] not in {1, batch}
        or shape[1] not in {1, kv_heads}
        or shape[2] != n_queries
        or shape[3] == 0
    ):
        raise ShapeError("index_set", shape, f"({batch}|1, {kv_heads}|1, {n_queries}, at least 1)")
    if edge_bias is not None:
        raise InvalidArgumentError("edge_bias", "a tensor", "None where index_set holds lists of keys")
    if q_offset is not None:
        raise InvalidArgumentError("q_offset", q_offset, "None where index_set holds lists of keys")
    return index_set


def _set(
    index_set: IndexSet, edge_bias: Tensor | None, q_offset: int | None, sizes: tuple[int, int, int]
) -> tuple[IndexSet, Tensor | None]:
    """The rows of an index set that the queries take, with their part of the edge bias."""
    heads, n_queries, n_keys = sizes
    if not isinstance(index_set, IndexSet):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("index_set", type(index_set).__name__, "a fractal_core.IndexSet or a tensor of keys")
    if index_set.n_keys != n_keys:
        raise ShapeError("index_set", f"n_keys {index_set.n_keys}", f"the length of k, {n_keys}")
    if edge_bias is not None:
        edge_bias = _edge_bias(edge_bias, heads, index_set.nnz)
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
        edge_bias = edge_bias[:, first:last]
    return index_set.rows(q_offset, q_offset + n_queries), edge_bias
