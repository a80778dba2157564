"""The seed's handlers as objects: bands of one gradient, and the momentum that the seed made of them.

The optimizers do the same for all parameters at once, on their device (`spectrum`, `rules`); these read numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core._arguments import INT32_MAX, integer, real
from fractal_core._torch import checks
from fractal_core._torch.dtypes import at_least_single
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.optim.rules import HANDLERS, Reading, Seed
from fractal_core.optim.spectrum import mean_spectrum, shares

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AttentionFrequencyHandler",
    "ConvFrequencyHandler",
    "EmbeddingFrequencyHandler",
    "FrequencyHandler",
]


class FrequencyHandler:
    """Bands of equal width; momentum rises by 0.05 where the upper half has more than 0.3 of the amplitude."""

    handler = "default"

    def analyze(self, grad_sample: Tensor, n_bands: int, eps: float = 1e-8) -> list[float]:
        """Shares of amplitude by band, lowest first; no bin is lost, and the mean is left out.

        Args:
            grad_sample: (N,) or any shape, read in order; real, N at least 2.
            n_bands: bands asked for, at least 1.
            eps: at least 0, added to the sum of amplitudes.

        Returns:
            min(n_bands, N // 2) numbers whose sum is 1 but for `eps`; zeros where there is no amplitude.

        Raises:
            ShapeError: fewer than 2 entries.
            DTypeError: no float tensor, or numbers of a wrong type.
            InvalidArgumentError: a number out of its range.
        """
        if not isinstance(grad_sample, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("grad_sample", type(grad_sample).__name__, "a torch.Tensor")
        if not grad_sample.is_floating_point():
            raise DTypeError("grad_sample", grad_sample.dtype, "a real float dtype")
        if grad_sample.numel() < 2:
            raise ShapeError("grad_sample", tuple(grad_sample.shape), "at least 2 entries")
        count = integer("n_bands", n_bands, 1, INT32_MAX)
        added = real("eps", eps)
        if not added >= 0:
            raise InvalidArgumentError("eps", added, "at least 0")
        row = at_least_single(grad_sample.detach().reshape(1, -1))
        bins = mean_spectrum(row, "amplitude")
        found, seen = shares(bins, row.numel(), count, HANDLERS[self.handler].layout, "amplitude", eps=added)
        return [float(share) for share in torch.where(seen, found, 0.0).flatten()]

    def get_adaptive_momentum(self, band_values: Sequence[float], base_alpha: float) -> float:
        """The seed's momentum for these bands.

        Args:
            band_values: at least one share, lowest band first.
            base_alpha: 0 <= base_alpha < 1.

        Raises:
            ShapeError: no band.
            InvalidArgumentError: a momentum out of its range.
            DTypeError: something that is no number.
        """
        alpha = checks.fraction("base_alpha", base_alpha)
        values = [real("band_values", value) for value in band_values]
        if not values:
            raise ShapeError("band_values", "no bands", "at least one")
        bands = torch.tensor([values], dtype=torch.float64)
        white = (1 / len(values),) * len(values)  # which the seed's rule does not look at
        return float(Seed().momentum(Reading(bands, white, alpha, self.handler, 0.0, alpha, alpha))[0])


class ConvFrequencyHandler(FrequencyHandler):
    """Bands that widen with frequency; momentum rises by 0.07 where the middle half has more than 0.4."""

    handler = "conv"


class AttentionFrequencyHandler(FrequencyHandler):
    """Half the bands in each half of the bins; the strongest band lowers momentum by 0.05 or raises it by 0.08."""

    handler = "attention"


class EmbeddingFrequencyHandler(FrequencyHandler):
    """Bands of equal width; momentum rises by 0.08 where the upper quarter has more than 0.2 of the amplitude."""

    handler = "embedding"
