"""The attention op under `torch.func`: grad, vjp, jacrev, vmap, and vmap of those.

An op that autograd is registered for by `torch.library` has no rule for them, so there the same kernels run within an
`autograd.Function`. A mapped dimension becomes part of the batch where each of its slices can have what belongs to it;
the slices run one after the other where edge biases, dropout or the sets themselves differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from fractal_core.nn import ops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["attend", "each", "is_active"]


InDims = tuple[int | None, ...]


def is_active() -> bool:
    """Whether a transform of `torch.func` is at work; a compiler has rules of its own."""
    return torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling()  # pyright: ignore[reportPrivateUsage]


def attend(*args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """`ops.attend`, also for tensors that a transform wraps.

    Raises:
        NotImplementedError: forward-mode differentiation (`jvp`, `jacfwd`, `hessian`).
    """
    if not is_active():
        return ops.attend(*args)
    ops.refuse_tangents([t for t in (*args[:3], *args[4:6]) if t is not None])
    return _Attention.apply(*args)[:2]  # pyright: ignore[reportReturnType, reportOptionalSubscript]


def each(call: Callable[..., tuple[Tensor, ...]], size: int, in_dims: InDims, args: Sequence[Any]) -> Any:  # noqa: ANN401
    """The slices of the mapped dimension one after the other."""
    results = [
        call(*(a if dim is None else a.select(dim, i) for a, dim in zip(args, in_dims, strict=True)))
        for i in range(size)
    ]
    return tuple(torch.stack(outputs) for outputs in zip(*results, strict=True)), (0,) * len(results[0])


def _folded(tensor: Tensor | None, dim: int | None, size: int, batch: int) -> Tensor | None:
    """(V, B|1, ...) as (V B, ...), where the mapped dimension V may stand anywhere or be missing."""
    if tensor is None:
        return None
    mapped = tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
    return mapped.expand(size, batch, *mapped.shape[2:]).reshape(size * batch, *mapped.shape[2:])


def _folds(
    in_dims: InDims, index_set: Tensor, edge_bias: Tensor | None, dropout_p: float, places: Sequence[int]
) -> bool:
    """Whether every slice can keep what is its own as a part of the batch."""
    of_set, of_edge_bias, of_seed = (in_dims[place] for place in places)
    handle = index_set.ndim - (of_set is not None) == 1
    return (
        edge_bias is None
        and of_edge_bias is None
        and dropout_p == 0.0
        and of_seed is None
        and not (handle and of_set is not None)
    )


class _Attention(Function):
    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        return ops.attention(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
        ctx.mark_non_differentiable(output[2])
        *tensors, ctx.scale, ctx.dropout_p = inputs
        ctx.save_for_backward(*output, *tensors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # noqa: ANN401
        dout, dlse, _ = grad_outputs
        out, lse, lse_rest, q, k, v, index_set, key_bias, edge_bias, padding, seed = ctx.saved_tensors
        dq, dk, dv, dkey_bias, dedge_bias = _Backward.apply(
            dout,
            dlse,
            q,
            k,
            v,
            out,
            lse,
            lse_rest,
            index_set,
            key_bias,
            edge_bias,
            padding,
            seed,
            ctx.scale,
            ctx.dropout_p,
        )  # pyright: ignore[reportGeneralTypeIssues]
        biases = (None if key_bias is None else dkey_bias, None if edge_bias is None else dedge_bias)
        return dq, dk, dv, None, *biases, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: InDims, *args: Any) -> Any:  # noqa: ANN401
        size = info.batch_size
        q, k, v, index_set, key_bias, edge_bias, padding, seed, scale, dropout_p = args
        if not _folds(in_dims, index_set, edge_bias, dropout_p, (3, 5, 7)):
            return each(_Attention.apply, size, in_dims, args)
        batch = q.shape[0 if in_dims[0] is None or in_dims[0] > 0 else 1]
        q, k, v, key_bias, padding = (
            _folded(t, dim, size, batch)
            for t, dim in zip((q, k, v, key_bias, padding), (*in_dims[:3], in_dims[4], in_dims[6]), strict=True)
        )
        if index_set.ndim > 1:
            index_set = _folded(index_set, in_dims[3], size, batch)
        outputs = _Attention.apply(q, k, v, index_set, key_bias, None, padding, seed, scale, dropout_p)  # pyright: ignore[reportGeneralTypeIssues]
        return tuple(output.unflatten(0, (size, batch)) for output in outputs), (0, 0, 0)


class _Backward(Function):
    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        return ops.attention_backward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:  # noqa: ANN401
        raise RuntimeError("fractal_core::attention has no second derivatives")

    @staticmethod
    def vmap(info: Any, in_dims: InDims, *args: Any) -> Any:  # noqa: ANN401
        size = info.batch_size
        dout, dlse, q, k, v, out, lse, rest, index_set, key_bias, edge_bias, padding, seed, scale, dropout_p = args
        if not _folds(in_dims, index_set, edge_bias, dropout_p, (8, 10, 12)):
            return each(_Backward.apply, size, in_dims, args)
        batch = q.shape[0 if in_dims[2] is None or in_dims[2] > 0 else 1]
        tensors = (dout, dlse, q, k, v, out, lse, rest, key_bias, padding)
        dims = (*in_dims[:8], in_dims[9], in_dims[11])
        dout, dlse, q, k, v, out, lse, rest, bias, padding = (
            _folded(t, dim, size, batch) for t, dim in zip(tensors, dims, strict=True)
        )
        if index_set.ndim > 1:
            index_set = _folded(index_set, in_dims[8], size, batch)
        *grads, dbias, dedge_bias = _Backward.apply(
            dout, dlse, q, k, v, out, lse, rest, index_set, bias, None, padding, seed, scale, dropout_p
        )  # pyright: ignore[reportGeneralTypeIssues]
        dq, dk, dv = (grad.unflatten(0, (size, batch)) for grad in grads)
        if key_bias is None:
            return (dq, dk, dv, dbias, dedge_bias), (0, 0, 0, None, None)
        dbias = dbias.unflatten(0, (size, batch))
        of_bias = in_dims[9]
        if key_bias.shape[0 if of_bias is None or of_bias > 0 else 1] == 1:
            dbias = dbias.sum(1, keepdim=True)
        return (dq, dk, dv, dbias, dedge_bias), (0, 0, 0, 0, None)
