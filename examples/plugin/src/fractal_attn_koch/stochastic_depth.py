"""The router `stochastic-depth`: samples skip a layer by chance, whatever they hold; a control for learned routers.

Source: G. Huang et al., "Deep Networks with Stochastic Depth" (2016).
"""

from __future__ import annotations

import torch
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn import Routing
from torch import Tensor, nn

__all__ = ["StochasticDepth"]


class StochasticDepth(nn.Module):
    """Keeps each sample with probability `rate` in training; in eval keeps all, with gate `rate`.

    Args:
        dims: size of the tokens, which it does not look at.
        rate: 0 < rate <= 1.
    """

    def __init__(self, dims: int, rate: float = 0.5) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise InvalidArgumentError("rate", rate, "0 < rate <= 1")
        self.dims, self.rate = dims, rate

    def forward(
        self, x: Tensor, *, state: Tensor | None = None, mask: Tensor | None = None, causal: bool = True
    ) -> Routing:
        """The decision for x (B, N, E)."""
        del mask, causal
        if not self.training:
            return Routing(None, torch.full_like(x[..., 0], self.rate), x.new_zeros(()), state)
        keep = (torch.rand(x.shape[0], 1, device=x.device) < self.rate).expand(x.shape[:2])
        return Routing(keep, keep.to(x.dtype), x.new_zeros(()), state)
