"""Dynamic layer skipping: how far to jump, drawn for each sample or token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fractal_core._torch.dtypes import at_least_single
from fractal_core.nn.routing.straight import choice

__all__ = ["LENGTHS", "JumpPolicy"]

LENGTHS = 3
"""A jump leads at most so many layers on."""
_WEIGHTS = (0.1, 0.05, 0.01)
"""Shares of the block's input in what a jump of each length adds, at the start; the rest is memory."""
_STAY = 2.0
"""The logit of going to the next layer, at the start."""


class JumpPolicy(nn.Module):
    """A policy over jumps of 1 to `lengths` layers, and what a jump adds.

    A jump of length j from layer i adds beta_i (w_j x0 + (1 - w_j) m): a convex mix of the block's input and the
    memory. beta starts at 0, so that a fresh block is a plain stack. Jumps of 1, to the next layer, add it, too.
    Lengths are drawn by a straight-through Gumbel-softmax in training; in eval the likeliest is taken.

    Args:
        dims: E, size of the tokens.
        layers: L, number of layers; 2 or more.
        temperature: of the softened draw, above 0.
    """

    def __init__(self, dims: int, layers: int, temperature: float) -> None:
        super().__init__()
        self.lengths = min(LENGTHS, layers)
        self.temperature = temperature
        hidden = max(dims // 4, 8)
        self.net = nn.Sequential(nn.Linear(dims, hidden), nn.ReLU(), nn.Linear(hidden, self.lengths))
        self.mix_logits = nn.Parameter(torch.tensor([math.log(w / (1 - w)) for w in _WEIGHTS[: self.lengths]]))
        self.beta = nn.Parameter(torch.zeros(layers - 1))
        last = self.net[2]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.bias[0] = _STAY

    def forward(self, memory: Tensor, layer: int, layers: int) -> Tensor:
        """One-hot lengths (B, N|1, J) from layer `layer` on, J the lengths that do not lead beyond the last layer."""
        logits = at_least_single(self.net(memory))[..., : layers - layer]
        return choice(logits, self.temperature, self.training).to(memory.dtype)

    def added(self, chosen: Tensor, layer: int, x0: Tensor, memory: Tensor) -> Tensor:
        """What jumps of the chosen lengths add, (B, N, E)."""
        share = (chosen * self.mix_logits.sigmoid()[: chosen.shape[2]]).sum(2, keepdim=True)
        return self.beta[layer] * (share * x0 + (1 - share) * memory)
