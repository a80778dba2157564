"""The momentum rule `dampened`: less momentum where a gradient is smooth, never more than was asked for."""

from __future__ import annotations

from fractal_core.optim import Reading
from torch import Tensor

__all__ = ["Dampened"]


class Dampened:
    """Takes away `delta` times the share of the lower half of the bands."""

    spectrum = "power"

    def momentum(self, reading: Reading) -> Tensor:
        """The momenta of M parameters, (M,), from their bands (M, n)."""
        low = reading.bands[..., : len(reading.white) // 2].sum(-1)
        return (reading.alpha - reading.delta * low).clamp(min=reading.alpha_min)
