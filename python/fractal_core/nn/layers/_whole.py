"""Attention of all tokens of a call, dense or over a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fractal_core.nn._tokens import ignored
from fractal_core.nn.functional import sparse_attention

if TYPE_CHECKING:
    from fractal_core.nn._sets import Sets

__all__ = ["attend_all"]


def attend_all(  # noqa: PLR0917
    q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None, sets: Sets | None
) -> Tensor:
    """softmax(q k^T / sqrt(D)) v; (B, H, N, Dv). The queries are the last N of T keys. A query without a key gives 0.

    Without a pattern it is torch's own attention, on any device; layers that take `device` or dropout call
    `sparse_attention` over `_sets.whole` instead.

    Args:
        q: (B, H, N, D).
        k: (B, Hkv, T, D).
        v: (B, Hkv, T, Dv).
        causal: no query sees a later key.
        mask: (B, T) bool, True where a key takes part; None for all.
        sets: of a pattern; None for all keys.
    """
    n, total = q.shape[2], k.shape[2]
    if sets is not None and n:
        keys = sets.get(n, total, causal=causal)
        return sparse_attention(q, k, v, keys.index_set, bias=keys.bias, key_padding_mask=ignored(mask))
    grouped = k.shape[1] != q.shape[1]
    if mask is None and (n == total or not causal):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)
    allowed = None if mask is None else mask[:, None, None]
    if causal:
        earlier = torch.ones(n, total, dtype=torch.bool, device=q.device).tril(total - n)
        allowed = earlier if allowed is None else allowed & earlier
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=grouped)
