"""Sparse attention as a function: the public entry to the op, which refuses every mistake by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

import torch
from torch import Tensor

from fractal_core._arguments import flag
from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import InvalidArgumentError
from fractal_core.gpu import route
from fractal_core.index_sets import IndexSet, IndexSetStack
from fractal_core.nn._empty import attention_of_nothing
from fractal_core.nn._functorch import attend
from fractal_core.nn._inputs import inputs
from fractal_core.nn._modifiers import Modified, modified, with_sinks, without_distances
from fractal_core.nn.statistics import AttentionStats, statistics_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fractal_core.nn.modifiers import Modifier

__all__ = ["sparse_attention"]


@overload
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index_set: IndexSet | IndexSetStack | Tensor,
    *,
    bias: Tensor | None = None,
    edge_bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    q_offset: int | None = None,
    dropout_p: float = 0.0,
    return_lse: Literal[False] = False,
    return_stats: Literal[False] = False,
    device: str = "cpu",
    modifiers: Sequence[Modifier] = (),
) -> Tensor: ...


@overload
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index_set: IndexSet | IndexSetStack | Tensor,
    *,
    bias: Tensor | None = None,
    edge_bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    q_offset: int | None = None,
    dropout_p: float = 0.0,
    return_lse: Literal[True],
    return_stats: Literal[False] = False,
    device: str = "cpu",
    modifiers: Sequence[Modifier] = (),
) -> tuple[Tensor, Tensor]: ...


@overload
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index_set: IndexSet | IndexSetStack | Tensor,
    *,
    bias: Tensor | None = None,
    edge_bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    q_offset: int | None = None,
    dropout_p: float = 0.0,
    return_lse: Literal[False] = False,
    return_stats: Literal[True],
    device: str = "cpu",
    modifiers: Sequence[Modifier] = (),
) -> tuple[Tensor, AttentionStats]: ...


@overload
def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index_set: IndexSet | IndexSetStack | Tensor,
    *,
    bias: Tensor | None = None,
    edge_bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    q_offset: int | None = None,
    dropout_p: float = 0.0,
    return_lse: Literal[True],
    return_stats: Literal[True],
    device: str = "cpu",
    modifiers: Sequence[Modifier] = (),
) -> tuple[Tensor, Tensor, AttentionStats]: ...


def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index_set: IndexSet | IndexSetStack | Tensor,
    *,
    bias: Tensor | None = None,
    edge_bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    q_offset: int | None = None,
    dropout_p: float = 0.0,
    return_lse: bool = False,
    return_stats: bool = False,
    device: str = "cpu",
    modifiers: Sequence[Modifier] = (),
) -> Tensor | tuple[Tensor, Tensor] | tuple[Tensor, AttentionStats] | tuple[Tensor, Tensor, AttentionStats]:
    """softmax(scale * q k^T + bias) v over the edges of an index set, with gradients for q, k, v and both biases.

    Equal to `torch.nn.functional.scaled_dot_product_attention` with `index_set.to_mask()` as its mask, at the cost of
    the edges. A query without any key gives output 0, gradient 0 and lse -inf. NaN and Inf propagate as they do there.
    Batch, heads, queries, keys and edges may be 0 in number: the result is empty or 0, and so are the gradients.
    Inputs are read in place, whatever their strides. Query head h reads key head h // (H // Hkv).
    Under CPU autocast, q, k and v are cast to the autocast dtype as they are for `scaled_dot_product_attention`.

    Args:
        q: (B, H, Nq, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        k: (B, Hkv, Nk, D), the dtype of q, last dimension contiguous; H is a multiple of Hkv.
        v: (B, Hkv, Nk, Dv), the dtype of q, last dimension contiguous.
        index_set: which keys each query attends to; n_keys is Nk, n_queries is at least Nq. In its place (B|1, Hkv|1,
            Nq, K) int32 or int64 lists of keys, -1 a pad, that may change at every call: they run directly, without
            a plan. Their keys may be in any order; one that is listed twice counts twice. Or `IndexSet.stack`, sets
            that differ by batch entry or by head, of shape (B|1, H|1).
        bias: added to the scores of each key: (Nk,), (H|1, Nk) or (B|1, H|1, Nk), any float dtype.
        edge_bias: added to the score of each edge: (E,), (H|1, E) or (B|1, H|1, E), E = index_set.nnz edges in row
            order.
        key_padding_mask: (B, Nk) bool, True where a key is to be ignored.
        scale: factor of the scores, finite; 1 / sqrt(D) where None.
        q_offset: query i takes row i + q_offset of the index set; n_queries - Nq where None, so that the last query
            takes the last row.
        dropout_p: probability that an attention weight is dropped, 0 <= dropout_p < 1; the others grow by
            1 / (1 - dropout_p). Drawn from torch's default generator, so `torch.manual_seed` repeats it.
        return_lse: also give the natural log-sum-exp of the scores, which takes part in the gradient.
        return_stats: also give what `attention_stats` gives, on the CPU only; dropout has no part in it.
        device: where the kernels run, forward and backward; the tensors are the CPU's. "gpu" is any GPU through
            Vulkan, Metal or Direct3D 12, with float32, float16 or bfloat16; "auto" the one that is expected to take
            less time (`fractal_core.gpu.explain_route`), never a software adapter.
        modifiers: of `fractal_core.nn.modifiers`, in any order: a soft cap, biases by distance or displacement, a
            sink. Without `return_stats`. On the GPU biases by distance become a bias of each edge, which stacks and
            lists of keys do not have; with "auto" all but a soft cap run on the CPU.

    Returns:
        (B, H, Nq, Dv) in the dtype of q, contiguous; with return_lse also (B, H, Nq), float32 (float64 for float64);
        with return_stats, last, `AttentionStats`.

    Raises:
        DTypeError: a tensor is of another dtype, or an argument of another type, than listed.
        ShapeError: shapes do not fit together, or a head size is 0.
        InvalidArgumentError: a value is out of its range, a tensor is not on the CPU, or its last dimension is not
            contiguous.
        GpuError: with device="gpu": there is none that may be used, or it failed. The CPU does not take over then.
    """
    return_lse, return_stats = flag("return_lse", return_lse), flag("return_stats", return_stats)
    device = route.checked(device)
    if return_stats and isinstance(index_set, IndexSetStack):
        raise InvalidArgumentError("return_stats", True, "False with a stack of index sets")
    if return_stats and device != "cpu":
        raise InvalidArgumentError("device", device, '"cpu" with return_stats')
    dropout_p = checks.fraction("dropout_p", dropout_p)
    given = inputs(
        q,
        k,
        v,
        index_set,
        bias=bias,
        edge_bias=edge_bias,
        key_padding_mask=key_padding_mask,
        scale=scale,
        q_offset=q_offset,
    )
    if given.empty:
        out, lse = attention_of_nothing(given, modifiers)
    else:
        changed = Modified()
        if modifiers != ():
            if return_stats:
                raise InvalidArgumentError("modifiers", "modifiers with return_stats", "none")
            changed = modified(
                modifiers,
                heads=given.q.shape[1],
                first_position=given.first_position,
                n_queries=given.q.shape[2],
                n_keys=given.k.shape[2],
                dtype=accumulation_dtype(given.q.dtype),
            )
        if device == "auto" and (changed.distances is not None or changed.sinks is not None):
            device = "cpu"
        sinks = None
        if device == "gpu":
            edges, changed = without_distances(changed, given)
            given = given._replace(edge_bias=edges)
            sinks, changed = changed.sinks, changed._replace(sinks=None)
        seed = torch.randint(0, 2**63 - 1, (1,)) if dropout_p > 0.0 else None
        biases = (given.key_bias, given.edge_bias, given.key_padding_mask)
        settings = (given.scale, dropout_p, device)
        out, lse = attend(given.q, given.k, given.v, given.keys, *biases, seed, *settings, *changed)
        if sinks is not None:
            out, lse = with_sinks(out, lse, sinks)
    if return_stats:
        stats = statistics_of(given)
        return (out, lse, stats) if return_lse else (out, stats)
    return (out, lse) if return_lse else out
