"""Tokens that are kept, brought together and put back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Kept", "kept"]


class Kept(NamedTuple):
    """Places of the tokens of a call that are computed; after the kept ones of a sample come others, to fill up."""

    order: Tensor | None
    """(B, M) int64, increasing over the kept tokens; None where all N are computed, in their order."""
    positions: Tensor
    """(B|1, M) int64, where each stands in the call."""
    keep: Tensor
    """(B, M) bool."""

    def gather(self, x: Tensor) -> Tensor:
        """(B, N, E) to (B, M, E), or (B, N) to (B, M)."""
        if self.order is None:
            return x
        index = self.order if x.ndim == 2 else self.order[..., None].expand(-1, -1, x.shape[2])
        return x.gather(1, index)

    def add(self, x: Tensor, update: Tensor) -> Tensor:
        """X (B, N, E) with the updates (B, M, E) added at their places."""
        if self.order is None:
            return x + update
        return x.scatter_add(1, self.order[..., None].expand_as(update), update.to(x.dtype))

    def spread(self, heads: Tensor, length: int) -> Tensor:
        """(B, H, M, D) to (B, H, length, D) with zeros elsewhere."""
        if self.order is None:
            return heads
        index = self.order[:, None, :, None].expand_as(heads)
        return heads.new_zeros((*heads.shape[:2], length, heads.shape[3])).scatter(2, index, heads)


def kept(keep: Tensor, most: int | None) -> Kept:
    """The kept tokens of `keep` (B, N), brought together into at most `most` places; in place where None."""
    if most is None:
        positions = torch.arange(keep.shape[1], device=keep.device)[None]
        return Kept(None, positions, keep)
    order = keep.argsort(dim=1, descending=True, stable=True)[:, :most]
    return Kept(order, order, keep.gather(1, order))
