"""Where the tokens of a layer are, for its rotary embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn.rotary import RotaryEmbedding

if TYPE_CHECKING:
    import torch

__all__ = ["checked_rotary", "of_tokens", "rotated"]


def checked_rotary(rotary: object, head_dim: int) -> RotaryEmbedding | None:
    """`rotary`, if it fits the heads.

    Raises:
        DTypeError: neither an embedding nor None.
        ShapeError: it rotates vectors of another size.
    """
    if rotary is None:
        return None
    if not isinstance(rotary, RotaryEmbedding):
        raise DTypeError("rotary", type(rotary).__name__, "a fractal_core.nn.RotaryEmbedding or None")
    if rotary.dim != head_dim:
        raise ShapeError("rotary", f"an embedding of {rotary.dim} entries", f"{head_dim}, the size of a head")
    return rotary


def of_tokens(
    positions: Tensor | None, rotary: RotaryEmbedding | None, batch: int, length: int, device: torch.device
) -> Tensor | None:
    """Positions as the embedding takes them for (batch, heads, length, head size), or None for consecutive ones.

    Raises:
        InvalidArgumentError: positions without an embedding, or none for one of several axes.
        ShapeError: not one position for each token.
        DTypeError: no tensor.
    """
    if positions is None:
        if rotary is not None and rotary.n_axes > 1 and length:
            raise InvalidArgumentError("positions", None, f"({length}, {rotary.n_axes}), as of grid_positions")
        return None
    if not isinstance(positions, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("positions", type(positions).__name__, "a torch.Tensor or None")
    if rotary is None:
        raise InvalidArgumentError("positions", tuple(positions.shape), "None in a layer without rotary")
    axes = () if rotary.n_axes == 1 else (rotary.n_axes,)
    allowed = ((length, *axes), (batch, length, *axes))
    if tuple(positions.shape) not in allowed:
        raise ShapeError("positions", tuple(positions.shape), f"{allowed[0]} or {allowed[1]}")
    rows = batch if positions.ndim == len(allowed[1]) else 1
    return positions.reshape(rows, 1, length, rotary.n_axes)


def rotated(
    rotary: RotaryEmbedding | None, q: Tensor, k: Tensor, at: Tensor | None, start: int
) -> tuple[Tensor, Tensor]:
    """Queries (B, H, N, D) and keys (B, Hkv, N, D), rotated by their positions, or by those from `start` on."""
    if rotary is None:
        return q, k
    return rotary(q, k, offset=start) if at is None else rotary(q, k, at)
