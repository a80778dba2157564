"""A transformer of two layers, as small as it can be."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["Transformer"]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.Linear(width, 3 * width)
        self.attn_out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        parts = self.attn(self.norm1(x)).view(b, n, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.attn_out(y.transpose(1, 2).reshape(b, n, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Causal; (B, n) symbols to (B, n, symbols) logits, with learned positions.

    Args:
        symbols: how many there are.
        context: n at most.
        width: of a layer, a multiple of `heads`.
        heads: heads of attention.
        layers: how many.
    """

    def __init__(self, symbols: int, context: int, width: int, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.places = nn.Embedding(context, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        nn.init.normal_(self.places.weight, std=0.1)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols)

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits of the next symbol at each place."""
        x = self.embed(symbols) + self.places(torch.arange(symbols.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
