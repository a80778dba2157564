"""Attention whose keys and values come from the layer below where the content does not ask for new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn._streaming import check_streaming
from fractal_core.nn._tokens import blanked, ignored, joined, split, token_mask
from fractal_core.nn.attention import KeyValueCache
from fractal_core.nn.layers._pattern_sets import PatternSets
from fractal_core.nn.layers._whole import attend_all
from fractal_core.nn.layers.key_update import KeyUpdate, KeyValues

if TYPE_CHECKING:
    from fractal_core.patterns import Pattern

__all__ = ["KeyUpdateAttention"]


class KeyUpdateAttention(nn.Module):
    """Multi-head self-attention over keys and values that `KeyUpdate` blends: new ones, and those of the layer below.

    Nothing is stored on the module: what a layer gives is what the next one is given.

    Args:
        embed_dim: E, a multiple of num_heads.
        num_heads: H.
        num_kv_heads: Hkv, a divisor of H; H where None.
        pattern: which keys a token attends to, as `FractalAttention` takes; None for all.
        causal: no token attends to a later one.
        per_head: a gate for each key head; else one for all.
        hard: gates of 0 or 1, which save work in eval mode.
        threshold: of hard gates, 0 < threshold < 1.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range, or the head counts do not divide.
        PluginError: the pattern is not known, or did not load.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        pattern: Pattern | str | None = None,
        causal: bool = True,
        per_head: bool = False,
        hard: bool = False,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        self.embed_dim = integer("embed_dim", embed_dim, 1, INT32_MAX)
        self.num_heads = integer("num_heads", num_heads, 1, INT32_MAX)
        kv_heads = self.num_heads if num_kv_heads is None else integer("num_kv_heads", num_kv_heads, 1, INT32_MAX)
        if self.embed_dim % self.num_heads:
            raise InvalidArgumentError("num_heads", self.num_heads, f"a divisor of embed_dim = {self.embed_dim}")
        if self.num_heads % kv_heads:
            raise InvalidArgumentError("num_kv_heads", kv_heads, f"a divisor of num_heads = {self.num_heads}")
        self.causal = flag("causal", causal)
        self._sets = None if pattern is None else PatternSets(pattern)
        head_dim = self.embed_dim // self.num_heads
        self.q = nn.Linear(self.embed_dim, self.embed_dim)
        self.keys = KeyUpdate(self.embed_dim, kv_heads, head_dim, per_head=per_head, hard=hard, threshold=threshold)
        self.o = nn.Linear(self.embed_dim, self.embed_dim)

    def should_update_key(self, x: Tensor) -> Tensor:
        """The gate of x (B, N, E): (B, Hkv|1, N) in [0, 1]; 0 or 1 with `hard`."""
        return self.keys.gate(x)

    def forward(
        self,
        x: Tensor,
        previous: KeyValues | None = None,
        *,
        mask: Tensor | None = None,
        past: KeyValueCache | None = None,
        detach: bool = False,
    ) -> tuple[Tensor, KeyValues]:
        """Attend.

        Args:
            x: (B, N, E); B and N may be 0.
            previous: keys and values of the layer below, or of an earlier call, for the first M <= N tokens of x; None
                for none: all are new.
            mask: (B, N) bool, True where a token of x takes part as a key.
            past: keys and values of this layer for the tokens before x, in decoding; those of x are added to it.
            detach: the returned keys and values carry no gradient, as where they are for a later training step.

        Returns:
            (B, N, E) in the dtype of x, and the keys and values of x, for the layer above.

        Raises:
            ShapeError: shapes that do not fit together, or more keys in `previous` than tokens in x.
            DTypeError: a tensor is of another dtype, or an argument of another type, than listed.
            InvalidArgumentError: `past` with causal=False, or with a pattern that a longer sequence changes.

        A call that raises leaves `past` as it was.
        """
        k, v, found, _ = self.keys(x, previous, detach=detach)
        if mask is not None:
            token_mask("mask", mask, x)
        q = split(self.q(x), self.num_heads)
        padding = ignored(mask)
        k, v = blanked(padding, k), blanked(padding, v)
        if past is None:
            return self._out(attend_all(q, k, v, self.causal, mask, self._sets)), found
        pattern = None if self._sets is None else self._sets.pattern
        check_streaming("past", past, KeyValueCache, causal=self.causal, pattern=pattern)
        held = past.extended(k, v, padding)
        k, v, padding = held.tokens()
        out = self._out(attend_all(q, k, v, True, None if padding is None else ~padding, self._sets))
        past.keep(held)
        return out, found

    def _out(self, attended: Tensor) -> Tensor:
        return self.o(joined(attended))
