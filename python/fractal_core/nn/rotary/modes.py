"""What a block of entries does under an angle: the parts that `mode=` names, ours and plug-ins'."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, integer
from fractal_core._registry import Registry
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn.rotary import quaternions
from fractal_core.nn.rotary.layouts import checked_layout, rotate_pairs

__all__ = ["Quaternion3", "Quaternion4", "Rope", "RotaryMode", "rotary_modes"]


class RotaryMode(nn.Module):
    """Vectors cut into blocks of `block` entries, each of which turns by one angle.

    For every block the matrices of its angles must be orthogonal, and `R(s) R(t) = R(s + t)`: that is what makes scores
    depend on differences of positions alone. A mode may have parameters; queries and keys share them.

    Args:
        dim: entries of the vectors, a multiple of `block`.

    Raises:
        InvalidArgumentError: it is not.
    """

    block: int = 2
    """Entries of a block."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        dim = integer("dim", dim, 1, INT32_MAX)
        if dim % self.block:
            raise InvalidArgumentError("rotary_dim", dim, f"a multiple of {self.block}, as {type(self).__name__} needs")
        self.dim = dim

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The rotated vectors.

        Args:
            x: (..., n, dim), float32 or float64.
            cos: (..., n, dim / block), of the dtype of x; broadcasts to the leading axes of x.
            sin: as cos.
        """
        raise NotImplementedError

    def spread(self, values: Tensor) -> Tensor:
        """A value for each block, (..., dim / block), as one for each entry, (..., dim)."""
        return values.repeat_interleave(self.block, -1)


class Rope(RotaryMode):
    """Pairs of entries turn in their plane.

    Source: J. Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021).

    Args:
        dim: entries of the vectors, a multiple of 2.
        layout: "interleaved" or "half".
    """

    def __init__(self, dim: int, layout: str = "interleaved") -> None:
        super().__init__(dim)
        self.layout = checked_layout(layout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """See `RotaryMode`."""
        return rotate_pairs(x, cos, sin, self.layout)

    def spread(self, values: Tensor) -> Tensor:
        """See `RotaryMode`."""
        return torch.cat((values, values), -1) if self.layout == "half" else super().spread(values)


class _AroundAxes(RotaryMode):
    """Blocks with a learned axis each, (blocks, 3): only its direction counts. They start spread over the sphere."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.axes = nn.Parameter(quaternions.spread_axes(dim // self.block).to(torch.get_default_dtype()))

    def _cut(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The blocks, (..., n, blocks, block), and their unit axes."""
        blocks = cast("Tensor", x.unflatten(-1, (-1, self.block)))
        return blocks, quaternions.unit(self.axes.to(x.dtype))


class Quaternion3(_AroundAxes):
    """Blocks of three entries turn around an axis each, by Rodrigues' formula; what lies along the axis stays.

    Args:
        dim: entries of the vectors, a multiple of 3.
    """

    block = 3

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """See `RotaryMode`."""
        blocks, axes = self._cut(x)
        return quaternions.turn_around(blocks, cos, sin, axes).flatten(-2)


class Quaternion4(_AroundAxes):
    """Blocks of four entries are quaternions, multiplied from the left by `cos + sin * axis`: no entry stays.

    Args:
        dim: entries of the vectors, a multiple of 4.
    """

    block = 4

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """See `RotaryMode`."""
        blocks, axes = self._cut(x)
        return quaternions.isoclinic(blocks, cos, sin, axes).flatten(-2)


rotary_modes: Registry[RotaryMode] = Registry(
    "rotary mode",
    "fractal_core.rotary_modes",
    {
        "rope": "fractal_core.nn.rotary.modes:Rope",
        "quaternion3": "fractal_core.nn.rotary.modes:Quaternion3",
        "quaternion4": "fractal_core.nn.rotary.modes:Quaternion4",
    },
    accept=lambda made: isinstance(made, RotaryMode),
    must_be="a fractal_core.nn.RotaryMode",
)
"""Modes by name. A factory takes `dim`, and `layout` if it has layouts."""
