"""Attention to all keys with the soft escape field of a Julia set as log-bias."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fractal_core._torch.recent import Recent
from fractal_core.nn.fields import soft_escape
from fractal_core.nn.tutorial._all_keys import AllKeysAttention
from fractal_core.nn.tutorial._edges import check_config

if TYPE_CHECKING:
    from fractal_core.nn.tutorial.config import FractalConfig

__all__ = ["JuliaSetAttention"]

_TURNS = 2.5
_REACH = 1.5
_SMOOTHNESS = 2.0


class JuliaSetAttention(AllKeysAttention):
    """Attention to all keys; keys whose points survive the map z -> z ** 2 + c longer have a higher log-bias.

    Key j of N stands at u = (j + 1/2) / N on a spiral of 2.5 turns from the origin to radius 1.5, so no two keys lie
    opposite each other, where the field is the same. Its log-bias is escape_scale * s / T, s the soft escape count
    within T = julia_iterations steps: bounded, and differentiable by c, radius, smoothness and scale. A research tool:
    no gain from such a bias is known.

    The field is chaotic: near the Julia set the gradient by c grows without bound. It is clipped to |d/dc| <= 1 here,
    and so are those of the radius and the smoothness.

    Args:
        config: julia_c, julia_iterations, julia_escape_radius, cache_fractals.

    Attributes:
        c: (2,) real and imaginary part; the value in use is clamped to |c| <= 4.
        log_radius: () log of the escape radius.
        log_smoothness: () log of the steepness of its edge.
        escape_scale: () factor of the field, which is from 0 to 1.
    """

    def __init__(self, config: FractalConfig) -> None:
        super().__init__()
        self.config = check_config(config)
        self.c = nn.Parameter(torch.tensor([config.julia_c.real, config.julia_c.imag]))
        self.log_radius = nn.Parameter(torch.tensor(math.log(config.julia_escape_radius)))
        self.log_smoothness = nn.Parameter(torch.tensor(math.log(_SMOOTHNESS)))
        self.escape_scale = nn.Parameter(torch.tensor(1.0))
        self._cache: Recent[Tensor] = Recent(8)

    def log_bias(self, n_keys: int) -> Tensor:
        """(N,) the log-bias of each key."""
        wide = torch.float64 if self.c.dtype == torch.float64 else torch.float32
        if self.config.cache_fractals:
            points = self._cache.get((n_keys, wide), lambda: _spiral(n_keys, wide))
        else:
            points = _spiral(n_keys, wide)
        c, radius, smoothness = self.c.to(wide), self.log_radius.to(wide).exp(), self.log_smoothness.to(wide).exp()
        c = c * (4.0 / c.detach().square().sum().sqrt().clamp(min=4.0))
        steps = self.config.julia_iterations
        # the field is a function of four numbers: their gradients are clipped here
        c, radius, smoothness = _cut(c), _cut(radius.clamp(1e-3, 1e3)), _cut(smoothness.clamp(1e-3, 1e3))
        field = soft_escape(points, torch.view_as_complex(c), radius, smoothness, steps)
        return self.escape_scale * (field / steps)


def _cut(x: Tensor) -> Tensor:
    """The tensor itself, whose gradient is scaled down to norm 1 where it is larger."""
    x = x * 1.0
    if x.requires_grad:
        x.register_hook(_unit)
    return x


def _unit(grad: Tensor) -> Tensor:
    return (grad / grad.double().square().sum().sqrt().clamp(min=1.0)).to(grad.dtype)


def _spiral(n_keys: int, dtype: torch.dtype) -> Tensor:
    u = (torch.arange(n_keys, dtype=torch.float64) + 0.5) / n_keys
    return torch.polar(_REACH * u, 2.0 * math.pi * _TURNS * u).to(dtype.to_complex())
