"""A small byte-level causal language model whose attention is either dense or runs over an index set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fractal_core.demo.settings import Settings
from fractal_core.nn import RotaryEmbedding, sparse_attention

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fractal_core.index_sets import IndexSet

__all__ = ["Cache", "CausalPattern", "LanguageModel"]

VOCABULARY = 256


class CausalPattern(Protocol):
    """What the sparse model needs of a pattern."""

    def index_set(self, n_queries: int, n_keys: int | None = None, *, causal: bool = False) -> IndexSet:
        """Keys of the last `n_queries` of `n_keys` positions."""
        ...

    def bias(self, n_keys: int) -> NDArray[np.floating] | None:
        """Log-bias of each key, or None."""
        ...


class Cache:
    """Keys and values of the positions read so far: per layer two tensors (B, H, t, D), and the number t."""

    def __init__(self, layers: int) -> None:
        self.length = 0
        self.entries: list[tuple[Tensor, Tensor] | None] = [None] * layers


class KeySets:
    """Index sets and key biases of one pattern: the full length is kept, and the latest other one, for all layers."""

    def __init__(self, pattern: CausalPattern) -> None:
        self._pattern = pattern
        self._kept: dict[bool, tuple[tuple[int, int], IndexSet, Tensor | None]] = {}

    def get(self, n_queries: int, n_keys: int) -> tuple[IndexSet, Tensor | None]:
        """The causal set of the last `n_queries` of `n_keys` positions, and the bias of the keys."""
        full, size = n_queries == n_keys, (n_queries, n_keys)
        kept = self._kept.get(full)  # read once: another thread may put another size in its place
        if kept is None or kept[0] != size:
            bias = self._pattern.bias(n_keys)
            tensor = None if bias is None else torch.from_numpy(bias).float()
            kept = self._kept[full] = (size, self._pattern.index_set(*size, causal=True), tensor)
        return kept[1:]


class Attention(nn.Module):
    """Multi-head causal attention with rotary positions; dense when `keys` is None."""

    def __init__(self, settings: Settings, layer: int, keys: KeySets | None) -> None:
        super().__init__()
        self.heads = settings.heads
        self.layer = layer
        self.keys = keys
        self.qkv = nn.Linear(settings.dim, 3 * settings.dim, bias=False)
        self.out = nn.Linear(settings.dim, settings.dim, bias=False)

    def forward(self, x: Tensor, rotary: RotaryEmbedding, cache: Cache | None) -> Tensor:
        """Mixes x (B, N, E) along N; with a cache, N new positions follow those it holds."""
        b, n, e = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, e // self.heads).permute(2, 0, 3, 1, 4)
        start = 0 if cache is None else cache.length
        q, k = rotary(q, k, offset=start)
        if cache is not None:
            held = cache.entries[self.layer]
            if held is not None:
                k, v = torch.cat((held[0], k), dim=2), torch.cat((held[1], v), dim=2)
            cache.entries[self.layer] = (k, v)
        y = self._attend(q, k, v).transpose(1, 2).reshape(b, n, e)
        return self.out(y)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        n, t = q.shape[2], k.shape[2]
        if self.keys is not None:
            index_set, bias = self.keys.get(n, t)
            return sparse_attention(q, k, v, index_set, bias=bias)
        if n == t:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        allowed = torch.ones(n, t, dtype=torch.bool).tril(t - n)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a norm and beside the residual stream."""

    def __init__(self, settings: Settings, layer: int, keys: KeySets | None) -> None:
        super().__init__()
        e = settings.dim
        self.attention_norm = nn.RMSNorm(e)
        self.attention = Attention(settings, layer, keys)
        self.mlp_norm = nn.RMSNorm(e)
        self.mlp = nn.Sequential(nn.Linear(e, 4 * e, bias=False), nn.GELU(), nn.Linear(4 * e, e, bias=False))

    def forward(self, x: Tensor, rotary: RotaryEmbedding, cache: Cache | None) -> Tensor:
        """One block over x (B, N, E)."""
        x = x + self.attention(self.attention_norm(x), rotary, cache)
        return x + self.mlp(self.mlp_norm(x))


class LanguageModel(nn.Module):
    """Next-byte model; equal seeds give equal weights whatever the attention.

    Args:
        settings: Width, layers, heads, context and seed.
        pattern: Keys of each query, or None for dense attention.
    """

    def __init__(self, settings: Settings, pattern: CausalPattern | None) -> None:
        super().__init__()
        keys = None if pattern is None else KeySets(pattern)
        self.context = settings.context
        self.embedding = nn.Embedding(VOCABULARY, settings.dim)
        self.rotary = RotaryEmbedding(settings.dim // settings.heads, layout="half")
        self.blocks = nn.ModuleList(Block(settings, layer, keys) for layer in range(settings.layers))
        self.norm = nn.RMSNorm(settings.dim)
        self.head = nn.Linear(settings.dim, VOCABULARY, bias=False)
        self._initialise(settings)

    def _initialise(self, settings: Settings) -> None:
        generator = torch.Generator().manual_seed(settings.seed)
        for name, weight in self.named_parameters():
            if weight.ndim < 2:
                continue
            deviation = weight.shape[1] ** -0.5
            if name.endswith(("attention.out.weight", "mlp.2.weight")):
                deviation /= (2 * settings.layers) ** 0.5
            elif name == "embedding.weight":
                deviation = 1.0
            elif name == "head.weight":
                deviation = 0.1 * deviation
            nn.init.normal_(weight, std=deviation, generator=generator)

    def embed(self, x: Tensor) -> Tensor:
        """Embedding (B, N, E) of bytes x (B, N)."""
        return self.embedding(x)

    def from_embedding(self, h: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits (B, N, 256) from embeddings h (B, N, E)."""
        for block in self.blocks:
            h = block(h, self.rotary, cache)
        if cache is not None:
            cache.length += h.shape[1]
        return self.head(self.norm(h))

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits (B, N, 256) of the byte after each of x (B, N), int64 in [0, 255], N at most the context."""
        return self.from_embedding(self.embed(x), cache)
