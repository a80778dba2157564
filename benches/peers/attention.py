"""Attention as others compute it, beyond what torch has: every peer takes q, k, v of shape (B, H, N, D)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from fractal_core.bench.peers import Attend, PeerError, flex
from fractal_core.index_sets import IndexSet
from torch import Tensor

from benches.peers.installed import need

__all__ = ["flex_window", "gather", "local"]


def gather(index_set: IndexSet) -> Attend:
    """Keys and values gathered by torch, for rows of equal length: what one writes without a kernel."""
    keys = torch.from_numpy(index_set.to_padded()).long()
    if bool((keys < 0).any()):
        raise PeerError("gathering needs rows of equal length")

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("bhnd,bhnkd->bhnk", q, k[:, :, keys]) * q.shape[-1] ** -0.5
        return torch.einsum("bhnk,bhnkd->bhnd", scores.softmax(-1), v[:, :, keys])

    return attend


def flex_window(radius: int, q: Tensor, k: Tensor, v: Tensor) -> Attend:
    """FlexAttention, compiled, with the block mask of a window; compiling and the mask are done here, once.

    Raises:
        PeerError: It does not compile on this machine.
    """
    from torch.nn.attention.flex_attention import create_block_mask

    def near(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query - key).abs() <= radius

    attend = flex(create_block_mask(near, None, None, q.shape[2], k.shape[2], device="cpu"))
    with torch.no_grad():
        attend(q.detach(), k.detach(), v.detach())
    return attend


def local(radius: int) -> Attend:
    """The package `local-attention`: blocks of `radius` tokens that see themselves and one block to either side.

    Raises:
        PeerError: The package is not installed.
    """
    need("local_attention", "local-attention")
    package: Any = import_module("local_attention")
    return package.LocalAttention(
        window_size=radius, look_backward=1, look_forward=1, causal=False, use_rotary_pos_emb=False
    )
