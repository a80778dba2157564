"""Attention to all keys with the dragon curve as log-bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fractal_core import curves
from fractal_core._torch.recent import Recent
from fractal_core.nn.tutorial._all_keys import AllKeysAttention
from fractal_core.nn.tutorial._edges import check_config
from fractal_core.nn.tutorial.stability import NumericalStability

if TYPE_CHECKING:
    from fractal_core.nn.tutorial.config import FractalConfig

__all__ = ["DragonCurveAttention"]


class DragonCurveAttention(AllKeysAttention):
    """Attention to all keys; keys near the end of the dragon curve have a higher log-bias, at every scale of folding.

    At scale i = 1 .. dragon_iterations the sequence is laid along the dragon folded i times: key j of N stands at
    vertex j 2 ** i // (N - 1) of 2 ** i + 1, r apart from the last vertex in units of the distance from the first to
    the last. Its weight is g_i(j) = smoothing + (1 - smoothing) exp(-r ** 2), and with w = softmax(scale_logits) the
    log-bias is strength * log(sum_i w_i g_i(j)). It is added to the scores and lies between strength * log(smoothing)
    and 0. A research tool: no gain from it is known.

    Args:
        config: dragon_iterations, dragon_smoothing, cache_fractals.

    Attributes:
        scale_logits: (dragon_iterations,) starts at 0.
        strength: () starts at 1.
    """

    def __init__(self, config: FractalConfig) -> None:
        super().__init__()
        self.config = check_config(config)
        self.scale_logits = nn.Parameter(torch.zeros(config.dragon_iterations))
        self.strength = nn.Parameter(torch.tensor(1.0))
        self._cache: Recent[Tensor] = Recent(8)

    def log_bias(self, n_keys: int) -> Tensor:
        """(N,) the log-bias of each key."""
        scales = self._cache.get(n_keys, lambda: self._scales(n_keys)) if self.config.cache_fractals else None
        scales = self._scales(n_keys) if scales is None else scales
        weights = NumericalStability.stable_softmax(self.scale_logits) @ scales.to(self.scale_logits.dtype)
        return self.strength * NumericalStability.stable_log(weights)

    def _scales(self, n_keys: int) -> Tensor:
        """(dragon_iterations, N) float64 weights of the keys at each scale."""
        folds = np.arange(1, self.config.dragon_iterations + 1)[:, None]
        vertices = curves.dragon_vertices(2 ** len(folds) + 1)
        at = vertices[np.arange(n_keys) * 2**folds // max(1, n_keys - 1)]
        squared = ((at - vertices[2**folds]) ** 2).sum(-1) / 2.0**folds
        least = self.config.dragon_smoothing
        return torch.from_numpy(least + (1.0 - least) * np.exp(-squared))
