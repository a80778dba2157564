"""The global part of integrated attention: all keys, summaries of runs of them, or those of a pattern.

Letters: B batch, H heads, N queries, Nk keys, D features of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import ShapeError
from fractal_core.nn._sets import Keys, Sets, lengths, whole
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.layers._summaries import seen, summaries
from fractal_core.nn.patterns import resolve
from fractal_core.patterns import PerHead
from fractal_core.patterns.window import Window

if TYPE_CHECKING:
    from torch import Tensor

    from fractal_core.patterns import Pattern

__all__ = ["Far", "Source"]


@dataclass(frozen=True)
class Source:
    """Keys and values that are attended to.

    Attributes:
        k: (B, H, Nk, D).
        v: (B, H, Nk, D).
        padding: (B, Nk) bool, True where a key is ignored, or None.
        causal: whether a query sees no later key.
        own: whether the queries are the last of the keys' own places, or tokens of another sequence.
    """

    k: Tensor
    v: Tensor
    padding: Tensor | None
    causal: bool
    own: bool = True


class Far:
    """Attention to what is far.

    Args:
        far: "full", "summaries", or a pattern.
        heads: H.
        max_dist: how far "full" sees.
        stride: keys of a summary.
        device: as for `sparse_attention`.
    """

    def __init__(self, far: Pattern | PerHead | str, heads: int, max_dist: int, stride: int, device: str) -> None:
        self.kind = far if isinstance(far, str) and far in {"full", "summaries"} else "pattern"
        self.device = device
        self.max_dist = integer("max_dist", max_dist, 1, INT32_MAX)
        self.stride = integer("stride", stride, 1, INT32_MAX)
        pattern = resolve(far) if self.kind == "pattern" else Window(self.max_dist)
        if isinstance(pattern, PerHead) and len(pattern.patterns) != heads:
            raise ShapeError("far", f"{len(pattern.patterns)} patterns", f"{heads}, one for each head")
        self.sets = Sets(pattern)

    def prepare(self, n_queries: int, n_keys: int, *, causal: bool, own: bool) -> Keys:
        """The keys of queries, or the summaries, made once and kept."""
        if self.kind == "summaries":
            return Keys(seen(n_queries, n_keys, self.stride, causal=causal))
        if own:
            return self.sets.get(*lengths(n_queries, n_keys), causal=causal)
        return Keys(whole(n_queries, n_keys))

    def __call__(self, q: Tensor, source: Source, dropout_p: float) -> Tensor:
        """(B, H, N, D) for queries of that shape."""
        keys = self.prepare(q.shape[2], source.k.shape[2], causal=source.causal, own=source.own)
        k, v, padding = source.k, source.v, source.padding
        if self.kind == "summaries":
            k, v, padding = summaries(k, v, padding, self.stride, partial=not source.causal)
        return sparse_attention(
            q,
            k,
            v,
            keys.index_set,
            bias=keys.bias,
            key_padding_mask=padding,
            dropout_p=dropout_p,
            device=self.device,
        )
