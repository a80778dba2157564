"""In-place arithmetic on lists of tensors: one tensor after the other, or torch's multi-tensor kernels.

Both have the same functions, so that an update is written once.
"""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.optim.optimizer import _default_to_fused_or_foreach

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Foreach", "Loop", "arithmetic"]

Scalars: TypeAlias = "float | Tensor | Sequence[float] | Sequence[Tensor]"
"""One number for all tensors, or one for each; tensors of no axes stay where they are."""


def _each(value: Scalars, count: int) -> Sequence[float | Tensor]:
    return value if isinstance(value, (list, tuple)) else [value] * count  # pyright: ignore[reportReturnType]


class Loop:
    """One tensor after the other."""

    @staticmethod
    def mul_(xs: list[Tensor], y: Scalars) -> None:
        """`x *= y`."""
        for x, by in zip(xs, _each(y, len(xs)), strict=True):
            x.mul_(by)

    @staticmethod
    def lerp_(xs: list[Tensor], ends: list[Tensor], weight: Scalars) -> None:
        """`x += weight * (end - x)`."""
        for x, end, w in zip(xs, ends, _each(weight, len(xs)), strict=True):
            x.lerp_(end, w)

    @staticmethod
    def add_scaled_(xs: list[Tensor], ys: list[Tensor], scale: Scalars) -> None:
        """`x += scale * y`."""
        for x, y, by in zip(xs, ys, _each(scale, len(xs)), strict=True):
            if isinstance(by, Tensor):
                x.addcmul_(y, by)
            else:
                x.add_(y, alpha=by)

    @staticmethod
    def add_square_(xs: list[Tensor], ys: list[Tensor], scale: float) -> None:
        """`x += scale * y * y`."""
        for x, y in zip(xs, ys, strict=True):
            x.addcmul_(y, y, value=scale)

    @staticmethod
    def adam_directions(
        ms: list[Tensor], vs: list[Tensor], roots: Sequence[float | Tensor], eps: float
    ) -> list[Tensor]:
        """`m / (sqrt(v) / root + eps)`."""
        return [m / (v.sqrt() / root + eps) for m, v, root in zip(ms, vs, roots, strict=True)]


class Foreach:
    """torch's multi-tensor kernels: fewer launches, and temporary memory of the size of the list."""

    @staticmethod
    def mul_(xs: list[Tensor], y: Scalars) -> None:
        """`x *= y`."""
        torch._foreach_mul_(xs, y)  # pyright: ignore[reportArgumentType, reportCallIssue]

    @staticmethod
    def lerp_(xs: list[Tensor], ends: list[Tensor], weight: Scalars) -> None:
        """`x += weight * (end - x)`."""
        torch._foreach_lerp_(xs, ends, weight)  # pyright: ignore[reportArgumentType, reportCallIssue]

    @staticmethod
    def add_scaled_(xs: list[Tensor], ys: list[Tensor], scale: Scalars) -> None:
        """`x += scale * y`."""
        if isinstance(scale, (int, float)):
            torch._foreach_add_(xs, ys, alpha=scale)
        else:
            torch._foreach_addcmul_(xs, ys, list(_each(scale, len(xs))))  # pyright: ignore[reportArgumentType]

    @staticmethod
    def add_square_(xs: list[Tensor], ys: list[Tensor], scale: float) -> None:
        """`x += scale * y * y`."""
        torch._foreach_addcmul_(xs, ys, ys, scale)

    @staticmethod
    def adam_directions(
        ms: list[Tensor], vs: list[Tensor], roots: Sequence[float | Tensor], eps: float
    ) -> list[Tensor]:
        """`m / (sqrt(v) / root + eps)`."""
        found = list(torch._foreach_sqrt(vs))
        torch._foreach_div_(found, list(roots))  # pyright: ignore[reportArgumentType, reportCallIssue]
        torch._foreach_add_(found, eps)
        torch._foreach_reciprocal_(found)
        torch._foreach_mul_(found, ms)
        return found


def arithmetic(wanted: bool | None, tensors: list[Tensor], *, differentiable: bool) -> type[Loop] | type[Foreach]:
    """What is asked for; when nothing is, what torch's own optimizers would take for these tensors."""
    if wanted is None:
        wanted = _default_to_fused_or_foreach(tensors, differentiable, use_fused=False)[1]
    return Foreach if wanted else Loop
