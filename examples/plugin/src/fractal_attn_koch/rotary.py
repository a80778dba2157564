"""The rotary mode `mirror`: pairs from both ends of a vector. Torch is imported when the mode is asked for."""

from __future__ import annotations

import torch
from fractal_core.nn import RotaryMode
from torch import Tensor

__all__ = ["Mirror"]


class Mirror(RotaryMode):
    """Entry i turns with entry dim - 1 - i, as in RoPE entry 2i with entry 2i + 1.

    Args:
        dim: entries of the vectors, a multiple of 2.
    """

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The rotated vectors; x (..., n, dim), cos and sin (..., n, dim / 2)."""
        a, b = x[..., : self.dim // 2], x[..., self.dim // 2 :].flip(-1)
        return torch.cat((a * cos - b * sin, (a * sin + b * cos).flip(-1)), -1)

    def spread(self, values: Tensor) -> Tensor:
        """A value for each pair, (..., dim / 2), as one for each entry, (..., dim)."""
        return torch.cat((values, values.flip(-1)), -1)
