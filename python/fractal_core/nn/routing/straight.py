"""Hard decisions with gradients, and means over tokens that count."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["bernoulli", "choice", "masked_mean", "sample_mean", "straight_through"]


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, to the bit, with the gradient of `soft`.

    Source: Y. Bengio, N. Léonard and A. Courville, "Estimating or Propagating Gradients Through Stochastic Neurons"
    (2013).
    """
    return hard.to(soft.dtype) + (soft - soft.detach())


def bernoulli(logits: Tensor, temperature: float, noisy: bool) -> Tensor:
    """1 with probability sigmoid(logits), else 0, with the gradient of sigmoid((logits + noise) / temperature).

    Without noise 1 where logits > 0. Logistic noise is the difference of two Gumbel variables.

    Source: E. Jang, S. Gu and B. Poole, "Categorical Reparameterization with Gumbel-Softmax" (2016).
    """
    if noisy:
        # Open at both ends: 0 and 1 have no finite logit.
        uniform = torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)
        logits = logits + uniform.logit()
    return straight_through(logits > 0, (logits / temperature).sigmoid())


def choice(logits: Tensor, temperature: float, noisy: bool) -> Tensor:
    """One-hot draws from softmax(logits) over the last axis, with the gradient of the softened draw.

    Without noise the largest logit, the first of equals. Source: as for `bernoulli`.
    """
    if noisy:
        uniform = torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)
        logits = logits - (-uniform.log()).log()
    hard = F.one_hot(logits.argmax(-1), logits.shape[-1])
    return straight_through(hard, (logits / temperature).softmax(-1))


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of (B, N) values over the tokens of the mask, (); 0 where there is none. The mask broadcasts."""
    if mask is None:
        return values.sum() / max(values.numel(), 1)
    mask = mask.expand_as(values)
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def sample_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of each sample's tokens, (B, N, E) to (B, 1, E); 0 where it has none."""
    if mask is None:
        return x.sum(1, keepdim=True) / max(x.shape[1], 1)
    total = x.masked_fill(~mask[..., None], 0).sum(1, keepdim=True)
    return total / mask.sum(1).clamp(min=1)[:, None, None]
