"""Dense attention with NATTEN's name, arguments and layout: whole, causal, or within packed sequences."""
# ruff: noqa: PLR0917  (NATTEN's arguments are positional, and have their names)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.gpu import route
from fractal_core.nn import _full_sets, _travel
from fractal_core.nn._arrays import in_autocast
from fractal_core.nn._heads_last import (
    AttentionPerformance,
    attend_heads_last,
    check_heads,
    check_tensor,
    nothing,
    scale_of,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["PERFORMANCE", "attend_to_all", "attention"]

PERFORMANCE = frozenset(AttentionPerformance.__annotations__)
"""The keywords of `attention` that are without effect."""


@overload
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    seqlens_Q: Tensor | None = None,
    seqlens_KV: Tensor | None = None,
    cumulative_seqlen_Q: Tensor | None = None,
    cumulative_seqlen_KV: Tensor | None = None,
    max_seqlen_Q: int | None = None,
    max_seqlen_KV: int | None = None,
    *,
    return_lse: Literal[False] = False,
    device: str = "cpu",
    **performance: Unpack[AttentionPerformance],
) -> Tensor: ...


@overload
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    seqlens_Q: Tensor | None = None,
    seqlens_KV: Tensor | None = None,
    cumulative_seqlen_Q: Tensor | None = None,
    cumulative_seqlen_KV: Tensor | None = None,
    max_seqlen_Q: int | None = None,
    max_seqlen_KV: int | None = None,
    *,
    return_lse: Literal[True],
    device: str = "cpu",
    **performance: Unpack[AttentionPerformance],
) -> tuple[Tensor, Tensor]: ...


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    seqlens_Q: Tensor | None = None,
    seqlens_KV: Tensor | None = None,
    cumulative_seqlen_Q: Tensor | None = None,
    cumulative_seqlen_KV: Tensor | None = None,
    max_seqlen_Q: int | None = None,
    max_seqlen_KV: int | None = None,
    backend: Any = None,
    q_tile_size: Any = None,
    kv_tile_size: Any = None,
    backward_q_tile_size: Any = None,
    backward_kv_tile_size: Any = None,
    backward_kv_splits: Any = None,
    backward_use_pt_reduction: Any = False,
    run_persistent_kernel: Any = True,
    kernel_schedule: Any = None,
    torch_compile: Any = False,
    return_lse: bool = False,
    *,
    device: str = "cpu",
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention of all queries to all keys, as `natten.attention`.

    With lengths of sequences, all are packed into one batch row, and a query attends to the keys of its own. Gradients
    are those of `sparse_attention`. Sizes may be 0.

    Args:
        query: (B, N, H, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        key: (B, M, Hkv, D), the dtype of query; H is a multiple of Hkv.
        value: (B, M, Hkv, Dv), the dtype of query.
        is_causal: query i attends to the keys 0 .. i, also where N and M differ; counted within each packed sequence.
        scale: factor of the scores, finite and not 0; 1 / sqrt(D) where None.
        seqlens_Q: (S,) integers, the number of queries of each of S packed sequences, N in all; B is 1 then.
        seqlens_KV: (S,) integers, the same for the keys, M in all.
        cumulative_seqlen_Q: (S + 1,) integers in place of seqlens_Q: where each sequence starts, from 0 to N.
        cumulative_seqlen_KV: (S + 1,) integers, the same for the keys, from 0 to M.
        max_seqlen_Q: the longest sequence of queries, or more; checked where it is given, and needed for nothing.
        max_seqlen_KV: the same for the keys.
        backend: without effect, as all that follow but the last two (docs/attention.md).
        q_tile_size: see backend.
        kv_tile_size: see backend.
        backward_q_tile_size: see backend.
        backward_kv_tile_size: see backend.
        backward_kv_splits: see backend.
        backward_use_pt_reduction: see backend.
        run_persistent_kernel: see backend.
        kernel_schedule: see backend.
        torch_compile: see backend.
        return_lse: also give the natural log-sum-exp of the scores, which takes part in the gradient.
        device: where the kernels run, "cpu", "gpu" or "auto", as for `sparse_attention`.

    Returns:
        (B, N, H, Dv) in the dtype of query, contiguous; with return_lse also (B, N, H), float32 (float64 for float64).

    Raises:
        DTypeError: a tensor is of another dtype, or an argument of another type, than listed.
        ShapeError: shapes do not fit together, a head size is 0, or lengths do not add up to N or M.
        InvalidArgumentError: a scale of 0, lengths that are negative or given in part, another value out of its range,
            or a tensor that is not on the CPU or whose last dimension is not contiguous.
    """
    del backend, q_tile_size, kv_tile_size, backward_q_tile_size, backward_kv_tile_size, backward_kv_splits
    del backward_use_pt_reduction, run_persistent_kernel, kernel_schedule, torch_compile
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_tensor(name, tensor, query, 1)
        if tensor.shape[0] != query.shape[0]:
            raise ShapeError(name, tuple(tensor.shape), f"the batch of query, {query.shape[0]}")
    check_heads(query, key, value)
    if value.shape[1] != key.shape[1]:
        raise ShapeError("value", tuple(value.shape), f"the length of key, {key.shape[1]}")
    is_causal, return_lse, device = flag("is_causal", is_causal), flag("return_lse", return_lse), route.checked(device)
    factor = scale_of("scale", scale, query.shape[-1])
    query, key, value = in_autocast(query, key, value)
    lengths = (query.shape[1], key.shape[1])
    starts = tuple(
        _starts(*given, length)
        for given, length in zip(
            (
                ("Q", seqlens_Q, cumulative_seqlen_Q, max_seqlen_Q, seqlens_KV, cumulative_seqlen_KV),
                ("KV", seqlens_KV, cumulative_seqlen_KV, max_seqlen_KV, seqlens_Q, cumulative_seqlen_Q),
            ),
            lengths,
            strict=True,
        )
    )
    if starts[0] is None or starts[1] is None:
        out, lse = attend_to_all(query, key, value, is_causal, factor, device)
        return (out, lse.transpose(1, 2).contiguous()) if return_lse else out
    if query.shape[0] != 1:
        raise ShapeError("query", tuple(query.shape), "a batch of 1 where sequences are packed")
    if len(starts[0]) != len(starts[1]):
        name = "seqlens_KV" if cumulative_seqlen_KV is None else "cumulative_seqlen_KV"
        raise ShapeError(name, f"{len(starts[1]) // 8 - 1} sequences", f"{len(starts[0]) // 8 - 1}, as of the queries")
    if 0 in lengths or query.numel() == 0:
        out, lse = nothing(query, value, key)
    else:
        handle = _travel.handle(_full_sets.packed(starts[0], starts[1], is_causal))
        out, lse = attend_heads_last(query, key, value, handle, factor, device)
    return (out, lse.transpose(1, 2).contiguous()) if return_lse else out


def attend_to_all(
    query: Tensor, key: Tensor, value: Tensor, is_causal: bool, scale: float, device: str
) -> tuple[Tensor, Tensor]:
    """Output (B, N, H, Dv) and lse (B, H, N) of checked tensors."""
    if query.numel() == 0 or key.numel() == 0:
        return nothing(query, value, key)
    handle = _full_sets.handle(query.shape[1], key.shape[1], is_causal)
    return attend_heads_last(query, key, value, handle, scale, device)


def _starts(
    side: str,
    lengths: Tensor | None,
    starts: Tensor | None,
    longest: int | None,
    other_lengths: Tensor | None,
    other_starts: Tensor | None,
    total: int,
) -> bytes | None:
    """Where the sequences of one side start, as the bytes of int64; None where none are packed."""
    by_length, by_start, by_longest = f"seqlens_{side}", f"cumulative_seqlen_{side}", f"max_seqlen_{side}"
    for name, given, other in ((by_length, lengths, other_lengths), (by_start, starts, other_starts)):
        if given is None and other is not None:
            raise InvalidArgumentError(name, None, "lengths of the sequences of queries and of keys, or of neither")
    if lengths is not None and starts is not None:
        raise InvalidArgumentError(by_start, "a tensor", f"None beside {by_length}")
    if longest is not None:
        longest = integer(by_longest, longest, 0, INT32_MAX)
    if lengths is None and starts is None:
        if longest:
            raise InvalidArgumentError(by_longest, longest, "None or 0 where no sequences are packed")
        return None
    if starts is None:
        sizes = _integers(by_length, lengths)
        ends = np.concatenate([[0], sizes.cumsum()])
    else:
        ends = _integers(by_start, starts)
        if ends.size == 0 or ends[0] != 0:
            raise InvalidArgumentError(by_start, "no first entry 0", "starts of sequences, from 0")
        sizes = np.diff(ends)
    name = by_length if starts is None else by_start
    if (sizes < 0).any():
        raise InvalidArgumentError(name, int(sizes.min()), "lengths of at least 0")
    if ends[-1] != total:
        raise ShapeError(name, f"{ends[-1]} tokens", f"{total}, the length of {'query' if side == 'Q' else 'key'}")
    if longest and longest < sizes.max(initial=0):
        raise InvalidArgumentError(by_longest, longest, f"at least {sizes.max()}, the longest sequence")
    return ends.tobytes()


def _integers(name: str, given: object) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if not isinstance(given, Tensor):
        raise DTypeError(name, type(given).__name__, "a torch.Tensor of integers")
    if given.dtype not in {torch.int32, torch.int64}:
        raise DTypeError(name, given.dtype, "torch.int32 or torch.int64")
    checks.on_cpu(name, given)
    if given.ndim != 1:
        raise ShapeError(name, tuple(given.shape), "one dimension")
    return given.to(torch.int64).numpy()
