"""Force attention over all pairs, by two identities that keep the size of a pair out of memory.

Identity 1: `((e_i - r_j) / |e_i - r_j|) . w = (e_i . w - r_j . w) / |e_i - r_j|`, so a pair needs its distance alone.
Identity 2: `W [x_i; x_j] + b = W_1 x_i + W_2 x_j + b`, so no pair of tokens is ever put together.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

__all__ = ["dense_force_attention", "masked_softmax"]


def masked_softmax(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Weights over the last dimension of what is allowed; rows with nothing are 0, and so are their gradients."""
    if allowed is None:
        return scores.softmax(-1)
    # A finite number: of -inf alone the softmax is NaN, and so is its gradient.
    lowest = torch.finfo(scores.dtype).min / 2
    return scores.masked_fill(~allowed, lowest).softmax(-1).masked_fill(~allowed, 0.0)


def _of_head(  # noqa: PLR0917
    distance: Tensor,
    shifts: Tensor,
    v: Tensor,
    constants: Tensor,
    dots: Tensor | None,
    allowed: Tensor | None,
    eps: float,
) -> Tensor:
    """One head: `shifts` (B, 2, N), `v` (B, N, D), `constants` of strength and rate, `dots` (B, 2, N, D) scaled."""
    strength, rate = constants.unbind()
    a, c = shifts.unbind(1)
    scores = (a[:, :, None] - c[:, None, :]) * (strength * torch.exp(-rate * distance) / (distance + eps))
    if dots is not None:
        scores = torch.baddbmm(scores, dots[:, 0], dots[:, 1].transpose(1, 2))
    return masked_softmax(scores, allowed) @ v


def dense_force_attention(  # noqa: PLR0917
    e: Tensor,
    r: Tensor,
    v: Tensor,
    directions: Tensor,
    strength: Tensor,
    length: Tensor,
    dots: tuple[Tensor, Tensor] | None,
    allowed: Tensor | None,
    eps: float,
) -> Tensor:
    """What `force_attention` gives over all pairs, on any device; the backward pass computes the weights again.

    One head after the other, and no more than a few (B, N, N) arrays at a time.

    Args:
        e: (B, N, C), points of the queries, shared by the heads; float32 or float64, as all others.
        r: (B, N, C), points of the keys.
        v: (B, H, N, D).
        directions: (H, C).
        strength: (H,).
        length: (H,), above 0.
        dots: queries and keys (B, H, N, D), or None; their products are scaled by 1 / sqrt(D).
        allowed: bool, broadcast to (B, N, N), True where a query may use a key; None is everywhere.
        eps: added to distances in the denominator.

    Returns:
        (B, H, N, D).
    """
    distance = torch.cdist(e, r, compute_mode="donot_use_mm_for_euclid_dist")
    shifts = torch.stack((e @ directions.T, r @ directions.T), 1)
    constants = torch.stack((strength, 1.0 / (length * math.sqrt(e.shape[2]))), 1)
    products = None if dots is None else torch.stack((dots[0] * dots[0].shape[3] ** -0.5, dots[1]), 2)
    if allowed is not None:
        allowed = allowed.expand(distance.shape)
    heads = [
        checkpoint(
            _of_head,
            distance,
            shifts[..., h],
            v[:, h],
            constants[h],
            None if products is None else products[:, h],
            allowed,
            eps,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for h in range(v.shape[1])
    ]
    return torch.stack(heads, 1)  # pyright: ignore[reportArgumentType]
