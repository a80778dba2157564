"""Projections to queries, keys and values that several layers share, and attention among kept tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fractal_core.nn._tokens import joined, split
from fractal_core.nn.functional import sparse_attention

if TYPE_CHECKING:
    from fractal_core.nn.layers._kept import Kept

__all__ = ["Sheath", "among", "listed", "seen"]


class Sheath(nn.Module):
    """Projections q, k, v and o of H heads: a part that the layers of a stack share.

    A `HeadLayer` is a layer itself: it checks its arguments and tokens, which are the CPU's, has a `device`, and its
    keys have a bias where it is asked for one. A sheath's tensors may be on any device and are checked by its owner.

    Args:
        dims: E, a multiple of heads.
        heads: H.
    """

    def __init__(self, dims: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dims, dims)
        # A bias of the keys changes no weight: softmax does not see what it adds to all scores of a query.
        self.k = nn.Linear(dims, dims, bias=False)
        self.v = nn.Linear(dims, dims)
        self.o = nn.Linear(dims, dims)

    def queries(self, x: Tensor) -> Tensor:
        """(B, H, N, D)."""
        return split(self.q(x), self.heads)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, N, D) each."""
        return split(self.k(x), self.heads), split(self.v(x), self.heads)

    def out(self, attended: Tensor) -> Tensor:
        """(B, H, N, D) to (B, N, E)."""
        return self.o(joined(attended))


def seen(  # noqa: PLR0917
    queries: Tensor, keys: Tensor, keep: Tensor, causal: bool, pairs: Tensor | None = None, last: int | None = None
) -> Tensor:
    """Which keys each query sees, (B, 1, M, T) bool: kept ones, and its own even where that is not kept.

    So the output of a skipped token, which only its gate's gradient reads, is what it would be had it been kept.

    Args:
        queries: (B|1, M) positions.
        keys: (B|1, T) positions.
        keep: (B, T) bool, the kept keys.
        causal: none later than the query.
        pairs: (B|1, N, N) bool, of the positions, or None.
        last: keys at a distance of this or more are not seen; None for no limit.
    """
    distance = queries[:, :, None] - keys[:, None, :]
    allowed = keep[:, None, :] | (distance == 0)
    if causal:
        allowed = allowed & (distance >= 0)
    if last is not None:
        allowed = allowed & (distance.abs() < last)
    if pairs is not None:
        batch = keep.shape[0]
        rows = pairs.expand(batch, -1, -1).gather(
            1, queries.expand(batch, -1)[:, :, None].expand(-1, -1, pairs.shape[2])
        )
        allowed = allowed & rows.gather(2, keys.expand(batch, -1)[:, None, :].expand(-1, rows.shape[1], -1))
    return allowed[:, None]


def among(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Dense attention; (B, H, M, D). A query without any key gives 0."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and mask is None)


def listed(  # noqa: PLR0917
    q: Tensor, k: Tensor, v: Tensor, lists: Tensor, bias: Tensor | None, chosen: Kept, keys: Tensor | None, keep: Tensor
) -> Tensor:
    """Attention over lists of keys, of which each query sees the kept ones and its own; (B, H, M, D).

    Args:
        q: (B, H, M, D), of the chosen tokens.
        k: (B, H, T, D).
        v: (B, H, T, D).
        lists: (N, K) int32, the keys of each token of the call by their places, -1 a pad.
        bias: (Hb, P) for places, or None.
        chosen: the tokens of the queries.
        keys: (B, T) int64, the places that the keys come from; None where they are all there in order.
        keep: (B, P) bool, the kept places; the call's own tokens are the last.
    """
    batch, places = keep.shape
    first = places - lists.shape[0]
    rows = lists[chosen.positions].long().expand(batch, -1, -1)
    own = rows == (chosen.positions + first)[..., None]
    inside = rows.clamp(min=0).flatten(1)
    ok = (rows >= 0) & (keep.gather(1, inside).view(rows.shape) | own)
    if keys is not None:
        slots = torch.arange(keys.shape[1], device=keys.device).expand(batch, -1)
        moved = torch.full((batch, places), -1, device=keys.device, dtype=torch.int64).scatter(1, keys, slots)
        rows = moved.gather(1, inside).view(rows.shape)
        if bias is not None:
            bias = bias[:, keys].transpose(0, 1)
    lists = rows.masked_fill(~ok, -1)[:, None]
    return sparse_attention(q, k, v, lists, bias=bias)
