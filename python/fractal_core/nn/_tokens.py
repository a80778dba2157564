"""Tokens and their masks, as layers and routers are given them.

`mask` is True where a token takes part, `key_padding_mask` True where it is ignored (docs/attention.md).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["blanked", "ignored"]


def ignored(mask: Tensor | None) -> Tensor | None:
    """A `mask` as a `key_padding_mask`."""
    return None if mask is None else ~mask


def blanked(padding: Tensor | None, x: Tensor) -> Tensor:
    """Keys or values (B, H, N, D) with zeros where `padding` (B, N) is True; as they are where it is None.

    An ignored key has weight 0, and what it holds may be NaN or infinite: 0 times that is NaN.
    """
    return x if padding is None else x.masked_fill(padding[:, None, :, None], 0.0)
