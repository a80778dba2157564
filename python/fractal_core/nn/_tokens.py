"""Tokens and their masks, as layers and routers are given them.

`mask` is True where a token takes part, `key_padding_mask` True where it is ignored (docs/attention.md).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["blanked"]


def blanked(ignored: Tensor | None, *heads: Tensor) -> tuple[Tensor, ...]:
    """Keys or values (B, H, N, D) with zeros where a token is `ignored`, (B, N) bool; as they are where that is None.

    An ignored key has weight 0, and what it holds may be NaN or infinite: 0 times that is NaN.
    """
    if ignored is None:
        return heads
    return tuple(one.masked_fill(ignored[:, None, :, None], 0.0) for one in heads)
