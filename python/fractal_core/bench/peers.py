"""Attention as others compute it: every peer takes q, k, v of shape (B, H, N, D) and gives the output."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fractal_core.errors import FractalError
from fractal_core.index_sets import IndexSet

__all__ = ["Attend", "PeerError", "causal", "dense", "flex_window", "gather", "local", "masked", "need"]

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class PeerError(FractalError):
    """A peer that cannot be measured here; the message says why."""


def need(module: str, distribution: str) -> None:
    """Checks that a peer's package is installed.

    Raises:
        PeerError: It is not.
    """
    if find_spec(module) is None:
        raise PeerError(f"needs {distribution}: `make bench` installs it")


def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query attends to every key."""
    return F.scaled_dot_product_attention(q, k, v)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query attends to every key up to its own position."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def masked(index_set: IndexSet) -> Attend:
    """Dense attention under the set's boolean mask."""
    mask = torch.from_numpy(index_set.to_mask())
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


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
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("cl")
    if compiler is None:
        raise PeerError("FlexAttention needs a C++ compiler on the CPU: none found")

    def near(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query - key).abs() <= radius

    mask = create_block_mask(near, None, None, q.shape[2], k.shape[2], device="cpu")
    compiled: Callable[..., Any] = torch.compile(flex_attention, dynamic=False)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return compiled(q, k, v, block_mask=mask)

    try:
        with torch.no_grad():
            attend(q.detach(), k.detach(), v.detach())
    except Exception as error:  # the compiler's own errors have no common base
        first = str(error).strip().splitlines()[:1]
        raise PeerError(f"FlexAttention does not compile here: {type(error).__name__}: {' '.join(first)}") from error
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
