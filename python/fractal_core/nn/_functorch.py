"""The attention op under `torch.func`: grad, vjp, jacrev, vmap, and vmap of those.

An op with autograd registered through `torch.library` has no rule for them, so under them the same kernels run within
an `autograd.Function`. A mapped dimension becomes part of the batch where the batch can hold everything that differs
between its slices; the slices run one after the other where there are biases of edges, tables of distances, sinks or
stacks of sets, or where dropout or the sets differ.
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
    """Whether a transform of `torch.func` is active; a compiler has rules of its own."""
    return torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling()  # pyright: ignore[reportPrivateUsage]


def attend(*args: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """`ops.attend`, also for tensors that a transform wraps.

    Raises:
        NotImplementedError: forward-mode differentiation (`jvp`, `jacfwd`, `hessian`).
    """
    if not is_active():
        return ops.attend(*args)
    ops.refuse_tangents(ops.Call(*args).differentiable())
    return _Attention.apply(*ops.Call(*args))[:2]  # pyright: ignore[reportReturnType, reportOptionalSubscript]


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


def _calls(args: Sequence[Any], in_dims: Sequence[Any]) -> Any:  # noqa: ANN401
    """The call, and its mapped dimensions by the same names."""
    return ops.Call(*args), ops.Call(*in_dims)


def _folds(dims: Any, call: ops.Call) -> bool:  # noqa: ANN401
    """Whether the batch can hold everything that differs between the slices."""
    handle = call.index_set.ndim - (dims.index_set is not None) == 1
    return (
        all(given is None for given in (call.edge_bias, call.distances, call.sinks))
        and dims.edge_bias is None
        and call.dropout_p == 0.0
        and dims.seed is None
        and not (handle and dims.index_set is not None)
        and call.index_set.ndim != 2
    )


def _fold(call: ops.Call, dims: Any, size: int, batch: int) -> ops.Call:  # noqa: ANN401
    """The call with the mapped dimension as a part of the batch."""
    mapped = ("q", "k", "v", "key_bias", "key_padding_mask", *(("index_set",) if call.index_set.ndim > 1 else ()))
    return call._replace(**{name: _folded(getattr(call, name), getattr(dims, name), size, batch) for name in mapped})


class _Attention(Function):
    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        return ops.attention(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
        ops.setup_context(ctx, inputs, output)
        ctx.set_materialize_grads(True)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # noqa: ANN401
        dout, dlse, _ = grad_outputs
        out, lse, rest, *tensors = ctx.saved_tensors
        call = ops.saved_call(tensors, ctx.settings)
        return ops.input_gradients(call, _Backward.apply(dout, dlse, out, lse, rest, *call))  # pyright: ignore[reportGeneralTypeIssues, reportArgumentType]

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:  # noqa: ANN401
        size = info.batch_size
        call, dims = _calls(args, in_dims)
        if not _folds(dims, call):
            return each(_Attention.apply, size, in_dims, args)
        batch = call.q.shape[0 if dims.q is None or dims.q > 0 else 1]
        outputs = _Attention.apply(*_fold(call, dims, size, batch))  # pyright: ignore[reportGeneralTypeIssues]
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
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:  # noqa: ANN401
        size = info.batch_size
        dout, dlse, out, lse, rest, *of_call = args
        call, dims = _calls(of_call, in_dims[5:])
        if not _folds(dims, call):
            return each(_Backward.apply, size, in_dims, args)
        batch = call.q.shape[0 if dims.q is None or dims.q > 0 else 1]
        dout, dlse, out, lse, rest = (
            _folded(t, dim, size, batch) for t, dim in zip((dout, dlse, out, lse, rest), in_dims[:5], strict=True)
        )
        *grads, dbias, dedge_bias, ddistances, dsinks = _Backward.apply(
            dout, dlse, out, lse, rest, *_fold(call, dims, size, batch)
        )  # pyright: ignore[reportGeneralTypeIssues]
        dq, dk, dv = (grad.unflatten(0, (size, batch)) for grad in grads)
        if call.key_bias is None:
            return (dq, dk, dv, dbias, dedge_bias, ddistances, dsinks), (0, 0, 0, None, None, None, None)
        dbias = dbias.unflatten(0, (size, batch))
        if call.key_bias.shape[0 if dims.key_bias is None or dims.key_bias > 0 else 1] == 1:
            dbias = dbias.sum(1, keepdim=True)
        return (dq, dk, dv, dbias, dedge_bias, ddistances, dsinks), (0, 0, 0, 0, None, None, None)
