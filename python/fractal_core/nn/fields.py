"""The torch op over the soft Julia field: `torch.ops.fractal_core.julia_soft_escape`, with gradients.

A second derivative is not registered.
"""
# ruff: noqa: PLR0917  (the schema of an op that autograd is registered for is positional)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from fractal_core import _native
from fractal_core._torch import library, threads
from fractal_core.nn import _functorch
from fractal_core.nn.ops import refuse_tangents

__all__ = ["julia_soft_escape", "julia_soft_escape_backward", "soft_escape"]


def _flat(tensor: Tensor) -> Any:  # noqa: ANN401
    return tensor.detach().resolve_conj().resolve_neg().reshape(-1).numpy()


def _escape(points: Tensor, c: Tensor, radius: Tensor, smoothness: Tensor, max_iter: int) -> Tensor:
    """`fractal_core.fields.julia_soft_escape` for tensors, with gradients for all four.

    Args:
        points: (...), complex64 or complex128.
        c: () complex.
        radius: () real.
        smoothness: () real.
        max_iter: iterates.

    Returns:
        (...), float32 or float64 as the points are, from 0 to max_iter.
    """
    values = _native.julia_soft_escape(
        _flat(points),
        c.item(),
        max_iter,
        float(radius),
        float(smoothness),
        executor=threads.executor(),
        threads=torch.get_num_threads(),
    )
    return torch.from_numpy(values).reshape(points.shape)


def _escape_fake(points: Tensor, c: Tensor, radius: Tensor, smoothness: Tensor, max_iter: int) -> Tensor:
    return points.new_empty(points.shape, dtype=points.dtype.to_real())


julia_soft_escape = library.define("julia_soft_escape", _escape, _escape_fake)


def _escape_backward(
    grad: Tensor, points: Tensor, c: Tensor, radius: Tensor, smoothness: Tensor, max_iter: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vector-Jacobian product of `julia_soft_escape`: gradients by points, c, radius and smoothness.

    Args:
        grad: (...), gradient of the field.
        points: as given to `julia_soft_escape`; so are c, radius, smoothness and max_iter.
        c: see points.
        radius: see points.
        smoothness: see points.
        max_iter: see points.
    """
    by_points, by_c, by_radius, by_smoothness = _native.julia_soft_escape_vjp(
        _flat(grad),
        _flat(points),
        c.item(),
        max_iter,
        float(radius),
        float(smoothness),
        executor=threads.executor(),
        threads=torch.get_num_threads(),
    )
    return (
        torch.from_numpy(by_points).reshape(points.shape),
        torch.tensor(by_c, dtype=c.dtype),
        torch.tensor(by_radius, dtype=radius.dtype),
        torch.tensor(by_smoothness, dtype=smoothness.dtype),
    )


def _escape_backward_fake(
    grad: Tensor, points: Tensor, c: Tensor, radius: Tensor, smoothness: Tensor, max_iter: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return points.new_empty(points.shape), torch.empty_like(c), torch.empty_like(radius), torch.empty_like(smoothness)


julia_soft_escape_backward = library.define("julia_soft_escape_backward", _escape_backward, _escape_backward_fake)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
    *tensors, ctx.max_iter = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    return (*julia_soft_escape_backward(grad, *ctx.saved_tensors, ctx.max_iter), None)


library.register_autograd("julia_soft_escape", _backward, _setup_context)
library.refuse_autograd("julia_soft_escape_backward")


class _Backward(Function):
    """The backward op under `torch.func`; the gradients by the numbers are sums, so each slice has its own call."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        return julia_soft_escape_backward(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:  # noqa: ANN401
        raise RuntimeError("fractal_core::julia_soft_escape has no second derivatives")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:  # noqa: ANN401
        return _functorch.each(_Backward.apply, info.batch_size, in_dims, args)


class _Escape(Function):
    """The op under `torch.func`."""

    @staticmethod
    def forward(*args: Any) -> Tensor:  # noqa: ANN401
        return julia_soft_escape(*args)

    setup_context = staticmethod(_setup_context)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # noqa: ANN401
        return (*_Backward.apply(grad_outputs[0], *ctx.saved_tensors, ctx.max_iter), None)  # pyright: ignore[reportGeneralTypeIssues]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:  # noqa: ANN401
        if any(dim is not None for dim in in_dims[1:]):
            (field,), (dim,) = _functorch.each(lambda *a: (_Escape.apply(*a),), info.batch_size, in_dims, args)
            return field, dim
        return _Escape.apply(*args), in_dims[0]


def soft_escape(points: Tensor, c: Tensor, radius: Tensor, smoothness: Tensor, max_iter: int) -> Tensor:
    """`julia_soft_escape`, also for tensors that a transform of `torch.func` wraps.

    Raises:
        NotImplementedError: forward-mode differentiation (`jvp`).
    """
    refuse_tangents((points, c, radius, smoothness))
    op = _Escape.apply if _functorch.is_active() else julia_soft_escape
    return op(points, c, radius, smoothness, max_iter)  # pyright: ignore[reportReturnType]
