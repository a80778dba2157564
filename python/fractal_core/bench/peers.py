"""torch's own attention: every peer takes q, k, v of shape (B, H, N, D) and returns the output."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fractal_core.errors import FractalError
from fractal_core.index_sets import IndexSet

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

__all__ = ["Attend", "PeerError", "causal", "dense", "flex", "masked"]

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class PeerError(FractalError):
    """A peer that cannot be measured here; the message says why."""


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


def flex(mask: BlockMask) -> Attend:
    """FlexAttention under a block mask, compiled at the first call.

    Raises:
        PeerError: There is no compiler, or, at a call, it does not run on this machine.
    """
    from torch.nn.attention.flex_attention import flex_attention

    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("cl")
    if compiler is None:
        raise PeerError("FlexAttention needs a C++ compiler on the CPU: none found")
    compiled: Callable[..., Any] = torch.compile(flex_attention, dynamic=False)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        try:
            return compiled(q, k, v, block_mask=mask)
        except Exception as error:  # the compiler's own errors have no common base
            first = " ".join(str(error).strip().splitlines()[:1])
            raise PeerError(f"FlexAttention does not run here: {type(error).__name__}: {first}") from error

    return attend
