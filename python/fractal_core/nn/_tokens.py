"""Tokens and their masks, as layers and routers are given them, and features cut into heads.

`mask` is True where a token takes part, `key_padding_mask` True where it is ignored (docs/attention.md).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor

from fractal_core._torch import checks
from fractal_core.errors import ShapeError

__all__ = ["blanked", "ignored", "joined", "split", "token_mask", "tokens"]


def tokens(name: str, value: object, dims: int, batch: int | None = None) -> Tensor:
    """`value` if it is a float tensor (B, N, dims), on any device; of `batch` sequences where that is not None."""
    found = checks.floating(name, value)
    if found.ndim != 3 or found.shape[2] != dims or (batch is not None and found.shape[0] != batch):
        wanted = "batch" if batch is None else batch
        raise ShapeError(name, tuple(found.shape), f"({wanted}, length, {dims})")
    return found


def token_mask(name: str, value: object, x: Tensor) -> Tensor:
    """`value` if it is bool of (B, N), the tokens of x, on any device."""
    return checks.boolean_anywhere(name, value, tuple(x.shape[:2]))


def ignored(mask: Tensor | None) -> Tensor | None:
    """A `mask` as a `key_padding_mask`."""
    return None if mask is None else ~mask


def blanked(padding: Tensor | None, x: Tensor) -> Tensor:
    """Keys or values (B, H, N, D) with zeros where `padding` (B, N) is True; as they are where it is None.

    An ignored key has weight 0, and what it holds may be NaN or infinite: 0 times that is NaN.
    """
    return x if padding is None else x.masked_fill(padding[:, None, :, None], 0.0)


def split(x: Tensor, heads: int) -> Tensor:
    """(B, N, H D) to (B, H, N, D)."""
    return cast("Tensor", x.unflatten(2, (heads, x.shape[2] // heads))).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    """(B, H, N, D) to (B, N, H D)."""
    return x.transpose(1, 2).flatten(2)
