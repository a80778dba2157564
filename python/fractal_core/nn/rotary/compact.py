"""A fixed or learned rotation without positions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import ShapeError
from fractal_core.nn.rotary import givens
from fractal_core.nn.rotary.frequencies import wide_dtype
from fractal_core.nn.rotary.quaternions import quaternion_rotate

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CompactRotation"]


class CompactRotation(nn.Module):
    """Rotation in a chain of planes by one angle each, the same at every position: an orthogonal map, no embedding.

    Rotating queries and keys by it changes no score. `RotaryEmbedding` is what scores see positions by.

    Args:
        dim: d, entries of the vectors.
        rot_pairs: P pairs (i, j) of coordinates; (0, 1), (2, 3), ... where None.
        rot_scale: with `rot_count`, how many pairs rotate: the first `round(rot_scale * rot_count)` of them, at most P.
        rot_count: 0 or more.
        learned: the angles are a parameter, `thetas`; else they stay at 2 π / P.

    Raises:
        InvalidArgumentError: a coordinate or number out of range.
        DTypeError: a number of another type.
    """

    def __init__(
        self,
        dim: int,
        rot_pairs: Sequence[tuple[int, int]] | None = None,
        rot_scale: float = 1.0,
        rot_count: int = 1,
        *,
        learned: bool = False,
    ) -> None:
        super().__init__()
        self.dim = integer("dim", dim, 1, INT32_MAX)
        pairs = [(i, i + 1) for i in range(0, self.dim - 1, 2)] if rot_pairs is None else rot_pairs
        chosen = givens.planes(pairs, self.dim, "rot_pairs")
        count = integer("rot_count", rot_count, 0, INT32_MAX)
        scale = checks.nonnegative("rot_scale", rot_scale)
        self.pairs = chosen[: round(min(scale * count, len(chosen)))]
        self.angle = 2 * math.pi / max(len(chosen), 1)
        self.thetas = nn.Parameter(torch.empty(len(self.pairs))) if flag("learned", learned) else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all angles to 2 π / P."""
        if self.thetas is not None:
            nn.init.constant_(self.thetas, self.angle)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.dim}, pairs={len(self.pairs)}, learned={self.thetas is not None}"

    def forward(self, x: Tensor) -> Tensor:
        """Rotate.

        Args:
            x: (..., d), any float dtype.

        Returns:
            (..., d), the dtype of x.

        Raises:
            ShapeError: the last axis of x is not d.
            DTypeError: x is no float tensor.
        """
        x = checks.floating("x", x)
        if x.ndim == 0 or x.shape[-1] != self.dim:
            raise ShapeError("x", tuple(x.shape), f"(..., {self.dim})")
        thetas = self.thetas
        if thetas is None:
            thetas = torch.full((len(self.pairs),), self.angle, dtype=wide_dtype(x.device), device=x.device)
        return givens.givens_apply(x, self.pairs, thetas)

    @staticmethod
    def q_rotate(x: Tensor, theta: float | Tensor, axis_idx: int, dims: int = 3) -> Tensor:
        """Rotate vectors of three entries around coordinate axis `axis_idx`, right-handed.

        Args:
            x: (..., 3), any float dtype.
            theta: radians.
            axis_idx: 0, 1 or 2.
            dims: 3.

        Raises:
            InvalidArgumentError: another axis, or other `dims`.
            ShapeError: x has not three entries.
        """
        integer("dims", dims, 3, 3)
        axis = torch.eye(3, dtype=wide_dtype(x.device), device=x.device)[integer("axis_idx", axis_idx, 0, 2)]
        return quaternion_rotate(x, theta, axis)
