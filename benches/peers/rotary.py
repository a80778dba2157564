"""Rotary embedding as others compute it: every peer takes q and k of shape (B, H, N, D)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benches.peers.installed import need

__all__ = ["rotary_embedding_torch", "transformers"]

_Rotate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def rotary_embedding_torch(width: int) -> _Rotate:
    """The package `rotary-embedding-torch`, which keeps its angles.

    Raises:
        PeerError: The package is not installed.
    """
    need("rotary_embedding_torch", "rotary-embedding-torch")
    package: Any = import_module("rotary_embedding_torch")
    rotate: Callable[[Tensor], Tensor] = package.RotaryEmbedding(width).rotate_queries_or_keys
    return lambda q, k: (rotate(q), rotate(k))


def transformers(n: int, width: int) -> _Rotate:
    """Hugging Face's `apply_rotary_pos_emb`, with cosines and sines made before.

    Raises:
        PeerError: The package is not installed.
    """
    need("transformers", "transformers")
    package: Any = import_module("transformers.models.llama.modeling_llama")
    angles = torch.arange(n)[:, None] * 10000.0 ** (-torch.arange(0, width, 2) / width)
    cos, sin = (torch.cat((t, t), -1)[None] for t in (angles.cos(), angles.sin()))
    return lambda q, k: package.apply_rotary_pos_emb(q, k, cos, sin)
