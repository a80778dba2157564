"""Multi-head self-attention over a pattern, with streaming decode that equals the full pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fractal_core.errors import InvalidArgumentError, ShapeError
from fractal_core.nn import _checks
from fractal_core.nn._cache import Recent
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.patterns import bias_of, grows_at_the_end, resolve

if TYPE_CHECKING:
    from fractal_core.index_sets import IndexSet
    from fractal_core.patterns import Pattern

__all__ = ["FractalAttention", "KeyValueCache"]


class KeyValueCache:
    """Keys and values of the tokens that a `FractalAttention` layer has seen; one cache for each layer and stream.

    Args:
        capacity: tokens to make room for at first; the room doubles when it is full.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = _checks.positive("capacity", capacity)
        self.clear()

    def __len__(self) -> int:
        return self._length

    def clear(self) -> None:
        """Forget all tokens."""
        self._length = 0
        self._k: Tensor | None = None
        self._v: Tensor | None = None
        self._padding: Tensor | None = None

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        if not 0 <= length <= self._length:
            raise InvalidArgumentError("length", length, f"0 <= length <= {self._length}")
        self._length = length

    def append(self, k: Tensor, v: Tensor, key_padding_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Add tokens and give all of them.

        Args:
            k: (B, Hkv, N, D), the new keys.
            v: (B, Hkv, N, D), the new values.
            key_padding_mask: (B, N) bool, True where a new token is to be ignored, or None.

        Returns:
            Keys (B, Hkv, T, D), values (B, Hkv, T, D) and mask (B, T) or None of all T tokens. Without gradients they
            are views of the cache.
        """
        start, stop = self._length, self._length + k.shape[2]
        if self._k is not None and self._k.shape[:2] != k.shape[:2]:
            raise ShapeError("cache", f"batch and heads {tuple(self._k.shape[:2])}", f"{tuple(k.shape[:2])}, as in x")
        self._k, self._v = self._joined(self._k, k, 2), self._joined(self._v, v, 2)
        if key_padding_mask is not None or self._padding is not None:
            if self._padding is None:
                self._padding = torch.zeros((k.shape[0], start), dtype=torch.bool)
            if key_padding_mask is None:
                key_padding_mask = torch.zeros((k.shape[0], k.shape[2]), dtype=torch.bool)
            self._padding = self._joined(self._padding, key_padding_mask, 1)
        self._length = stop
        padding = None if self._padding is None else self._padding[:, :stop]
        return self._k[:, :, :stop], self._v[:, :, :stop], padding

    def _joined(self, held: Tensor | None, new: Tensor, dim: int) -> Tensor:
        """`held` up to the length with `new` behind it: written in place where no gradient can be lost by it."""
        start, stop = self._length, self._length + new.shape[dim]
        if torch.is_grad_enabled() and (new.requires_grad or (held is not None and held.requires_grad)):
            return new if held is None else torch.cat((held.narrow(dim, 0, start), new), dim)
        if held is None or held.shape[dim] < stop or held.requires_grad or held.is_inference() != new.is_inference():
            room = list(new.shape)
            room[dim] = max(self._capacity, 2 * stop)
            grown = new.new_empty(room)
            if held is not None:
                grown.narrow(dim, 0, start).copy_(held.narrow(dim, 0, start))
            held = grown
        held.narrow(dim, start, stop - start).copy_(new)
        return held


class FractalAttention(nn.Module):
    """Multi-head self-attention in which each token attends to the keys that a pattern names.

    Args:
        embed_dim: E, size of the tokens; a multiple of num_heads.
        num_heads: H, number of query heads.
        pattern: a pattern object, or the name or specification of a registered one, as `fractal_core.pattern` takes.
        num_kv_heads: Hkv, number of key and value heads, a divisor of H; H where None.
        causal: no token sees a later one.
        bias: the projections have a bias.
        dropout: share of attention weights that is dropped in training, 0 <= dropout < 1.

    The index sets of the lengths in use are kept, so that a pattern is built once for each length. Under
    `torch.compile(fullgraph=True)` call `prepare(length)` first, since building one is not traced.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range, or the head counts do not divide.
        PluginError: the pattern is not known, or did not load.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        pattern: Pattern | str,
        *,
        num_kv_heads: int | None = None,
        causal: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embed_dim = _checks.positive("embed_dim", embed_dim)
        self.num_heads = _checks.positive("num_heads", num_heads)
        self.num_kv_heads = num_heads if num_kv_heads is None else _checks.positive("num_kv_heads", num_kv_heads)
        if embed_dim % num_heads:
            raise InvalidArgumentError("num_heads", num_heads, f"a divisor of embed_dim = {embed_dim}")
        if num_heads % self.num_kv_heads:
            raise InvalidArgumentError("num_kv_heads", num_kv_heads, f"a divisor of num_heads = {num_heads}")
        self.head_dim = embed_dim // num_heads
        self.causal = bool(causal)
        self.dropout = _checks.fraction("dropout", dropout)
        self._has_bias = bias
        self._pattern = resolve(pattern)
        self._sets: Recent[tuple[IndexSet, Tensor | None]] = Recent()
        self.qkv = nn.Linear(embed_dim, embed_dim + 2 * self.num_kv_heads * self.head_dim, bias=bias)
        self.out = nn.Linear(embed_dim, embed_dim, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projections anew, uniform by Xavier, biases 0."""
        for layer in (self.qkv, self.out):
            nn.init.xavier_uniform_(layer.weight)
            if self._has_bias:
                nn.init.zeros_(layer.bias)

    @property
    def pattern(self) -> Pattern:
        """The pattern; to set another one forgets the index sets."""
        return self._pattern

    @pattern.setter
    def pattern(self, pattern: Pattern | str) -> None:
        self._pattern = resolve(pattern)
        self._sets.clear()

    def extra_repr(self) -> str:
        """What `repr` shows beside the projections."""
        return (
            f"{self.embed_dim}, {self.num_heads}, {self.pattern!r}, num_kv_heads={self.num_kv_heads}, "
            f"causal={self.causal}, dropout={self.dropout}"
        )

    def prepare(self, n_queries: int, n_keys: int | None = None) -> IndexSet:
        """The index set of the last `n_queries` of `n_keys` tokens (as many where None), built once and kept."""
        return self._set_and_bias(n_queries, n_queries if n_keys is None else n_keys)[0]

    def _set_and_bias(self, n_queries: int, n_keys: int) -> tuple[IndexSet, Tensor | None]:
        def make() -> tuple[IndexSet, Tensor | None]:
            index_set = self.pattern.index_set(n_queries, n_keys, causal=self.causal)
            return index_set, bias_of(self.pattern, n_keys)

        return self._sets.get((n_queries, n_keys, self.causal), make)

    def forward(
        self, x: Tensor, *, key_padding_mask: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, N, E); with a cache, the N tokens that follow those of the cache.
            key_padding_mask: (B, N) bool, True where a token of x is to be ignored as a key.
            cache: keys and values of the tokens before x; those of x are added to it. The result then equals the last
                N rows of the full pass. Needs causal=True and a pattern that a longer sequence does not change.

        Returns:
            (B, N, E); a token without any key gives the bias of the output projection alone.

        Raises:
            ShapeError: x or the mask has another shape.
            DTypeError: the mask is not bool.
            InvalidArgumentError: a cache with a layer that is not causal, or with a length-dependent pattern.
        """
        x = _checks.tensor("x", x)
        if x.ndim != 3 or x.shape[2] != self.embed_dim or 0 in x.shape:
            raise ShapeError("x", tuple(x.shape), f"(batch, length, {self.embed_dim}), none of them 0")
        batch, length, _ = x.shape
        if key_padding_mask is not None:
            _checks.boolean("key_padding_mask", key_padding_mask, (batch, length))
        if cache is not None:
            self._check_streaming()
        past = 0 if cache is None else len(cache)
        index_set, key_bias = self._set_and_bias(length, past + length)

        kv_dim = self.num_kv_heads * self.head_dim
        q, k, v = self.qkv(x).split((self.embed_dim, kv_dim, kv_dim), dim=2)
        q, k, v = (t.unflatten(2, (-1, self.head_dim)).transpose(1, 2) for t in (q, k, v))
        if cache is not None:
            k, v, key_padding_mask = cache.append(k, v, key_padding_mask)
        attended = sparse_attention(
            q,
            k,
            v,
            index_set,
            bias=key_bias,
            key_padding_mask=key_padding_mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out(attended.transpose(1, 2).flatten(2))

    def _check_streaming(self) -> None:
        if not self.causal:
            raise InvalidArgumentError("cache", "a layer with causal=False", "a layer with causal=True")
        if not grows_at_the_end(self.pattern):
            raise InvalidArgumentError(
                "cache", f"the length-dependent pattern {self.pattern!r}", "a pattern that a longer sequence keeps"
            )
