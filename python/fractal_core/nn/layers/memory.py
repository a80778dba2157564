"""A causal working memory: the mean of the tokens so far, or one that forgets."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch.dtypes import at_least_single
from fractal_core.errors import InvalidArgumentError, ShapeError
from fractal_core.nn._tokens import token_mask, tokens

__all__ = ["MemoryState", "WorkingMemory"]

_SHORTEST, _LONGEST = 1.0, 9.0
"""Powers of 2: the channels forget over 2 to 512 tokens at the start."""


class MemoryState(NamedTuple):
    """What a memory has seen: enough to go on from there."""

    total: Tensor
    """(B, 1, E), the weighted sum of the tokens."""
    weight: Tensor
    """(B, 1, E) or (B, 1, 1), the sum of their weights."""


class WorkingMemory(nn.Module):
    """Weighted means over the tokens so far: m_t = sum_{s <= t} a^(t-s) x_s / sum_{s <= t} a^(t-s).

    In mode "mean" a is 1, the cumulative mean, without parameters. In mode "ema" each channel has its own learned a in
    (0, 1); the division keeps it a mean from the first token on, where the plain recurrence m = a m + (1 - a) x starts
    from 0. The sums are made by doubling: log2(N) passes, and no division by powers that vanish.

    Args:
        dims: E, size of the tokens.
        mode: "mean" or "ema".

    Attributes:
        decay_logits: (E,), in mode "ema" only; a = sigmoid(decay_logits). At the start the channels forget over 2 to
            512 tokens, in equal ratios.

    Raises:
        InvalidArgumentError: another mode, or dims below 1.
        DTypeError: dims is no integer.
    """

    def __init__(self, dims: int, mode: str = "mean") -> None:
        super().__init__()
        self.dims = integer("dims", dims, 1, INT32_MAX)
        if mode not in {"mean", "ema"}:
            raise InvalidArgumentError("mode", repr(mode), '"mean" or "ema"')
        self.mode = mode
        if mode == "ema":
            horizons = torch.linspace(_SHORTEST, _LONGEST, self.dims, dtype=torch.float64).exp2()
            self.decay_logits = nn.Parameter((1 - 1 / horizons).logit().to(torch.get_default_dtype()))

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.dims}, mode={self.mode!r}"

    def forward(
        self, x: Tensor, *, mask: Tensor | None = None, state: MemoryState | None = None, causal: bool = True
    ) -> tuple[Tensor, MemoryState]:
        """Remember.

        Args:
            x: (B, N, E), any float dtype; N may be 0.
            mask: (B, N) bool, False where a token is not to be remembered; a place before all others has memory 0.
            state: what was seen before x, as given by the call on the tokens before. Needs causal=True.
            causal: a memory for each token, of it and those before; else one for each sample, of all its tokens (in
                mode "ema" as the last one has it).

        Returns:
            The memory (B, N, E), or (B, 1, E) where not causal, in the dtype of x; and the state after x.

        Raises:
            ShapeError: x, the mask or the state has another shape.
            DTypeError: x is of no float dtype, or the mask is not bool.
            InvalidArgumentError: a state with causal=False.
        """
        tokens("x", x, self.dims)
        if not flag("causal", causal) and state is not None:
            raise InvalidArgumentError("state", "a MemoryState with causal=False", "None")
        if mask is not None:
            token_mask("mask", mask, x)
        if state is not None and state.total.shape != (x.shape[0], 1, self.dims):
            raise ShapeError("state", tuple(state.total.shape), (x.shape[0], 1, self.dims))
        wide = at_least_single(x)
        counted = wide.new_ones((*x.shape[:2], 1)) if mask is None else mask[..., None].to(wide.dtype)
        if mask is not None:
            wide = wide.masked_fill(~mask[..., None], 0)
        if x.shape[1] == 0:
            nothing = MemoryState(wide.new_zeros(x.shape[0], 1, self.dims), wide.new_zeros(x.shape[0], 1, 1))
            return (x if causal else nothing.total.to(x.dtype)), nothing if state is None else state
        total = self._sums(wide, None if state is None else state.total)
        weight = self._sums(counted, None if state is None else state.weight)
        memory = total / weight.where(weight > 0, weight.new_ones(()))
        return (memory if causal else memory[:, -1:]).to(x.dtype), MemoryState(total[:, -1:], weight[:, -1:])

    def _sums(self, x: Tensor, before: Tensor | None) -> Tensor:
        """sum_{s <= t} a^(t-s) x_s for x (B, N, E|1), with the sum before it."""
        if self.mode == "mean":
            sums = x.cumsum(1)
            return sums if before is None else sums + before
        decay = at_least_single(self.decay_logits).sigmoid().to(x.dtype)
        sums = x.expand(-1, -1, self.dims)
        if before is not None:
            sums = torch.cat((sums[:, :1] + decay * before, sums[:, 1:]), 1)
        step = 1
        while step < x.shape[1]:
            sums = sums + F.pad(sums[:, :-step] * decay, (0, 0, step, 0))
            decay, step = decay * decay, 2 * step
        return sums
