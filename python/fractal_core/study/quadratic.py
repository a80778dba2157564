"""A quadratic whose gradients have noise of a known spectrum in time: the one task whose answer is known.

Noise is autoregressive, `e_t = r e_(t-1) + sqrt(1 - r^2) w_t`. White noise (r = 0) has all frequencies alike; of slow
noise (r > 0) momentum takes away little, of fast noise (r < 0) nearly all. Along the
entries it is white in all three.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fractal_core.study.task import Measured

__all__ = ["Quadratic"]

_ROWS, _COLUMNS, _NOISE = 16, 64, 0.5


class _Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.randn(_ROWS, _COLUMNS))


class Quadratic:
    """`sum of h x^2 / 2` over 1024 entries, h from 0.01 to 1.

    Args:
        name: of the task.
        memory: r, -1 < r < 1.
    """

    kind = "quadratic"
    steps = 300

    def __init__(self, name: str, memory: float) -> None:
        self.name, self._memory = name, memory
        self.title = f"a quadratic of condition 100 with noise of memory {memory:g}; the loss without noise, an entry"
        self._curvature = torch.logspace(-2, 0, _ROWS * _COLUMNS)[
            torch.randperm(_ROWS * _COLUMNS, generator=torch.Generator().manual_seed(0))
        ].view(_ROWS, _COLUMNS)
        self.facts = {"memory of the noise": f"{memory:g}"}

    def model(self, seed: int) -> nn.Module:
        """1024 numbers."""
        torch.manual_seed(seed)
        return _Point()

    def losses(self, model: nn.Module, seed: int) -> Callable[[torch.Generator], Tensor]:
        """A loss whose gradient is that of the quadratic and noise."""
        del seed
        point = next(model.parameters())
        state: dict[str, Tensor] = {}

        def loss(generator: torch.Generator) -> Tensor:
            fresh = torch.randn(_ROWS, _COLUMNS, generator=generator)
            if "noise" in state:
                fresh = self._memory * state["noise"] + math.sqrt(1 - self._memory**2) * fresh
            state["noise"] = fresh
            return (self._curvature * point.square()).sum() / 2 + _NOISE * (fresh * point).sum()

        return loss

    @torch.no_grad()
    def measure(self, model: nn.Module, part: str) -> Measured:
        """The loss without noise over the number of entries; both parts are the same."""
        del part
        point = next(model.parameters())
        return Measured((self._curvature * point.square()).mean().item() / 2)
