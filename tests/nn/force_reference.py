"""Force attention as it is defined, with every unit vector and every score written out, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def naive_scores(e, r, directions, tau, length, *, eps=1e-6, dots=None):
    """(B, H, Nq, Nk) by the (B, H, Nq, Nk, C) array of unit vectors, which the identities do without."""
    heads, width = directions.shape
    away = e.expand(-1, heads, -1, -1)[:, :, :, None] - r.expand(-1, heads, -1, -1)[:, :, None]
    square = away.square().sum(-1)
    # The square root has no slope at 0.
    distance = torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
    unit = away / (distance + eps)[..., None]
    component = (unit * directions[None, :, None, None]).sum(-1)
    tau, length = (x[None, :, None, None] for x in (tau, length))
    scores = tau * component * torch.exp(-distance / (width**0.5 * length))
    if dots is not None:
        q, k = dots
        scores = scores + q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores


def naive(e, r, v, directions, mask, tau, length, **settings) -> tuple[Tensor, Tensor]:
    """Output (B, H, Nq, Dv) and log-sum-exp; `mask` broadcasts to (B, H, Nq, Nk), True where a key is used."""
    scores = naive_scores(e, r, directions, tau, length, **settings)
    seen = mask.expand(scores.shape)
    some = seen.any(-1)
    safe = torch.where(some[..., None], scores.masked_fill(~seen, -torch.inf), 0.0)
    weights = torch.where(some[..., None], safe.softmax(-1), 0.0)
    return weights @ v, torch.where(some, safe.logsumexp(-1), -torch.inf)
