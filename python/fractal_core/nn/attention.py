"""Multi-head self-attention over a pattern, with streaming decode that equals the full pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch._C._dynamo import eval_frame as _frames

from fractal_core._arguments import INT32_MAX, flag, integer, vector
from fractal_core._torch import checks
from fractal_core._torch.recent import Recent
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.gpu import route
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.patterns import bias_of, grows_at_the_end, resolve
from fractal_core.patterns import PerHead, check_span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fractal_core.index_sets import IndexSet, IndexSetStack
    from fractal_core.patterns import Pattern, PatternBase

__all__ = ["FractalAttention", "KeyValueCache"]


@dataclass(frozen=True)
class _Held:
    """The state of a cache: one object, so that it changes as a whole or not at all."""

    length: int = 0
    k: Tensor | None = None
    v: Tensor | None = None
    padding: Tensor | None = None

    def tokens(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys, values and mask of the valid tokens."""
        assert self.k is not None
        assert self.v is not None
        padding = None if self.padding is None else self.padding[:, : self.length]
        return self.k[:, :, : self.length], self.v[:, :, : self.length], padding


class KeyValueCache:
    """Keys and values of the tokens that a `FractalAttention` layer has seen; one cache for each layer and stream.

    Args:
        capacity: tokens to make room for at first; the room doubles when it is full.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = integer("capacity", capacity, 1, INT32_MAX)
        self._held = _Held()

    def __len__(self) -> int:
        return self._held.length

    def clear(self) -> None:
        """Forget all tokens."""
        self._held = _Held()

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`, as after a speculation that failed.

        Raises:
            InvalidArgumentError: more than there are, or below 0.
            DTypeError: a length that is no integer.
        """
        held = self._held
        self._held = _Held(integer("length", length, 0, held.length), held.k, held.v, held.padding)

    def reorder(self, rows: Tensor | Sequence[int]) -> None:
        """Reorder the rows of the batch, as beam search does: row i becomes what row `rows[i]` was.

        Args:
            rows: (B',) integers in 0 .. B - 1, in any order, each any number of times.

        Raises:
            KeyIndexError: a row that the cache does not have; without tokens it has none.
            ShapeError: not one dimension, or no row.
            DTypeError: rows that are no integers.
        """
        wanted = vector("rows", rows.detach().cpu().numpy() if isinstance(rows, Tensor) else rows)
        if not wanted.size:
            raise ShapeError("rows", tuple(wanted.shape), "at least one row")
        held = self._held
        batch = 0 if held.k is None else held.k.shape[0]
        outside = wanted[(wanted < 0) | (wanted >= batch)]
        if outside.size or held.k is None or held.v is None:
            raise KeyIndexError("rows", outside[0], f"0 <= row < {batch}, the batch of the cache")
        index = torch.from_numpy(wanted).to(held.k.device)
        k, v = (held_part.narrow(2, 0, held.length).index_select(0, index) for held_part in (held.k, held.v))
        padding = None if held.padding is None else held.padding.narrow(1, 0, held.length).index_select(0, index)
        self._held = _Held(held.length, k, v, padding)

    def repeat(self, times: int) -> None:
        """Repeat each row of the batch `times` times in a row, as `Tensor.repeat_interleave`: the start of beams.

        Raises:
            InvalidArgumentError: below 1.
            KeyIndexError: a cache without tokens.
            DTypeError: a number that is no integer.
        """
        times = integer("times", times, 1, INT32_MAX)
        batch = 1 if self._held.k is None else self._held.k.shape[0]
        self.reorder([row for row in range(batch) for _ in range(times)])

    def append(self, k: Tensor, v: Tensor, key_padding_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Append tokens and return all of them. A call that raises appends none.

        Args:
            k: (B, Hkv, N, D), the new keys.
            v: (B, Hkv, N, D), the new values.
            key_padding_mask: (B, N) bool, True where a new token is to be ignored, or None.

        Returns:
            Keys (B, Hkv, T, D), values (B, Hkv, T, D) and mask (B, T) or None of all T tokens. Without gradients they
            are views of the cache.

        Raises:
            ShapeError: batch, heads or head size are not those of the tokens before, or shapes do not fit together.
            DTypeError: keys or values are of another dtype than those before, or the mask is not bool.
            InvalidArgumentError: a tensor is on another device than the tokens before.
        """
        held = self._extended(k, v, key_padding_mask)
        self._held = held
        return held.tokens()

    def _extended(self, k: Tensor, v: Tensor, key_padding_mask: Tensor | None) -> _Held:
        """The state with the new tokens appended. They do not count before `_held` is set to it."""
        held = self._held
        self._check(k, v, key_padding_mask)
        padding = held.padding
        if key_padding_mask is not None or padding is not None:
            if padding is None:
                padding = torch.zeros((k.shape[0], held.length), dtype=torch.bool, device=k.device)
            if key_padding_mask is None:
                key_padding_mask = torch.zeros((k.shape[0], k.shape[2]), dtype=torch.bool, device=k.device)
            padding = self._joined(padding, key_padding_mask, 1)
        return _Held(held.length + k.shape[2], self._joined(held.k, k, 2), self._joined(held.v, v, 2), padding)

    def _check(self, k: Tensor, v: Tensor, key_padding_mask: Tensor | None) -> None:
        held = self._held
        for name, new, before in (("k", k, held.k), ("v", v, held.v)):
            if new.ndim != 4 or new.shape[:3] != k.shape[:3]:
                raise ShapeError(name, tuple(new.shape), "(batch, key heads, length, head size), the first three of k")
            if new.dtype != k.dtype or new.device != k.device:
                raise DTypeError(name, f"{new.dtype} on {new.device}", f"those of k, {k.dtype} on {k.device}")
            if before is None:
                continue
            if before.shape[:2] != new.shape[:2] or before.shape[3] != new.shape[3]:
                (batch, heads, _, size), given = before.shape, f"{tuple(new.shape[:2])} and {new.shape[3]}, as in x"
                raise ShapeError("cache", f"batch and heads {(batch, heads)}, head size {size}", given)
            if before.dtype != new.dtype:
                raise DTypeError("cache", before.dtype, f"{new.dtype}, as in x")
            if before.device != new.device:
                raise InvalidArgumentError("cache", f"device {before.device}", f"{new.device}, as x")
        if key_padding_mask is not None:
            checks.boolean("key_padding_mask", key_padding_mask, (k.shape[0], k.shape[2]))

    def _joined(self, held: Tensor | None, new: Tensor, dim: int) -> Tensor:
        """`held` up to the length, with `new` appended: in place where that loses no gradient."""
        start = self._held.length
        stop = start + new.shape[dim]
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
        pattern: a pattern object, or the name or specification of a registered one, as `fractal_core.pattern` takes;
            or `fractal_core.patterns.per_head([...])`, one for each query head.
        num_kv_heads: Hkv, number of key and value heads, a divisor of H; H where None.
        causal: no token attends to a later one.
        bias: the projections have a bias.
        dropout: share of attention weights that is dropped in training, 0 <= dropout < 1.
        device: where attention is computed, "cpu", "gpu" or "auto", as for `sparse_attention`; parameters and tokens
            are the CPU's.

    The index sets of the lengths in use are kept, so that a pattern is built once for each length. Under
    `torch.compile(fullgraph=True)` call `prepare(length)` first, since building one is not traced. A step with a cache
    is not traced either: under `torch.compile` the graph breaks around it, rather than being compiled for each length.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range, or the head counts do not divide.
        PluginError: the pattern is not known, or did not load.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        pattern: Pattern | PerHead | str,
        *,
        num_kv_heads: int | None = None,
        causal: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        embed_dim = integer("embed_dim", embed_dim, 1, INT32_MAX)
        num_heads = integer("num_heads", num_heads, 1, INT32_MAX)
        num_kv_heads = num_heads if num_kv_heads is None else integer("num_kv_heads", num_kv_heads, 1, INT32_MAX)
        self.embed_dim, self.num_heads, self.num_kv_heads = embed_dim, num_heads, num_kv_heads
        if embed_dim % num_heads:
            raise InvalidArgumentError("num_heads", num_heads, f"a divisor of embed_dim = {embed_dim}")
        if num_heads % num_kv_heads:
            raise InvalidArgumentError("num_kv_heads", num_kv_heads, f"a divisor of num_heads = {num_heads}")
        self.head_dim = embed_dim // num_heads
        self.causal = flag("causal", causal)
        self.dropout = checks.fraction("dropout", dropout)
        self.device = route.checked(device)
        self._has_bias = flag("bias", bias)
        self._pattern = resolve(pattern)
        if isinstance(self._pattern, PerHead) and len(self._pattern.patterns) != num_heads:
            raise ShapeError("pattern", f"{len(self._pattern.patterns)} patterns", f"{num_heads}, one for each head")
        self._sets: Recent[tuple[IndexSet | IndexSetStack, Tensor | None]] = Recent()
        self.qkv = nn.Linear(embed_dim, embed_dim + 2 * num_kv_heads * self.head_dim, bias=self._has_bias)
        self.out = nn.Linear(embed_dim, embed_dim, bias=self._has_bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset the projections: Xavier-uniform weights, biases 0."""
        for layer in (self.qkv, self.out):
            nn.init.xavier_uniform_(layer.weight)
            if self._has_bias:
                nn.init.zeros_(layer.bias)

    @property
    def pattern(self) -> PatternBase | PerHead:
        """The pattern; setting another one drops the index sets."""
        return self._pattern

    @pattern.setter
    def pattern(self, pattern: Pattern | PerHead | str) -> None:
        self._pattern = resolve(pattern)
        self._sets.clear()

    def extra_repr(self) -> str:
        """What `repr` shows beside the projections."""
        return (
            f"{self.embed_dim}, {self.num_heads}, {self.pattern!r}, num_kv_heads={self.num_kv_heads}, "
            f"causal={self.causal}, dropout={self.dropout}"
            + ("" if self.device == "cpu" else f", device={self.device!r}")
        )

    def prepare(self, n_queries: int, n_keys: int | None = None) -> IndexSet | IndexSetStack:
        """The index set of the last `n_queries` of `n_keys` tokens (as many where None), built once and kept."""
        return self._set_and_bias(*check_span(n_queries, n_keys))[0]

    def _set_and_bias(self, n_queries: int, n_keys: int) -> tuple[IndexSet | IndexSetStack, Tensor | None]:
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
            # There sizes are tensors; the program holds the set of this length.
            n_queries, n_keys = int(n_queries), int(n_keys)
        if not (type(n_queries) is int and type(n_keys) is int):
            allowed = "a fixed length: an exported layer holds the index set of one length; export one for each length"
            raise InvalidArgumentError("x", "a length that is symbolic", allowed)

        def make() -> tuple[IndexSet | IndexSetStack, Tensor | None]:
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
            (B, N, E); a token without any key gives the bias of the output projection alone. B and N may be 0.

        Raises:
            ShapeError: x or the mask has another shape.
            DTypeError: the mask is not bool.
            InvalidArgumentError: a cache with a layer that is not causal, or with a length-dependent pattern; export
                with a length that is not fixed.

        A call that raises leaves the cache as it was.
        """
        x = checks.tensor("x", x)
        if x.ndim != 3 or x.shape[2] != self.embed_dim:
            raise ShapeError("x", tuple(x.shape), f"(batch, length, {self.embed_dim})")
        batch, length, _ = x.shape
        if key_padding_mask is not None:
            checks.boolean("key_padding_mask", key_padding_mask, (batch, length))
        if cache is not None:
            self._check_streaming()
        if length == 0:  # a pattern has no set of no tokens
            q, k, v = self._projected(x)
            if cache is not None:
                _keep(cache, cache._extended(k, v, key_padding_mask))  # pyright: ignore[reportPrivateUsage]
            return self.out(q.transpose(1, 2).flatten(2))
        if cache is None:
            index_set, key_bias = self._set_and_bias(length, length)
            attended = self._attend(*self._projected(x), index_set, key_bias, key_padding_mask)
            return self.out(attended.transpose(1, 2).flatten(2))
        q, k, v = self._projected(x)
        attended, held = _step(self, cache, q, k, v, key_padding_mask)
        out = self.out(attended.transpose(1, 2).flatten(2))
        _keep(cache, held)
        return out

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, N, D), keys and values (B, Hkv, N, D)."""
        kv_dim = self.num_kv_heads * self.head_dim
        q, k, v = self.qkv(x).split((self.embed_dim, kv_dim, kv_dim), dim=2)
        q, k, v = (t.unflatten(2, (-1, self.head_dim)).transpose(1, 2) for t in (q, k, v))
        return q, k, v

    def _attend(  # noqa: PLR0917
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        index_set: IndexSet | IndexSetStack,
        bias: Tensor | None,
        padding: Tensor | None,
    ) -> Tensor:
        dropout_p = self.dropout if self.training else 0.0
        return sparse_attention(
            q, k, v, index_set, bias=bias, key_padding_mask=padding, dropout_p=dropout_p, device=self.device
        )

    def _check_streaming(self) -> None:
        if not self.causal:
            raise InvalidArgumentError("cache", "a layer with causal=False", "a layer with causal=True")
        if not grows_at_the_end(self.pattern):
            raise InvalidArgumentError(
                "cache",
                f"the length-dependent pattern {self.pattern.name!r} ({self.pattern!r})",
                "a pattern that a longer sequence keeps, which says so by length_dependent = False",
            )


def _step(  # noqa: PLR0917
    layer: FractalAttention, cache: KeyValueCache, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None
) -> tuple[Tensor, _Held]:
    """Attend to the cached tokens and the new ones; returns the result and the new state of the cache."""
    held = cache._extended(k, v, padding)  # pyright: ignore[reportPrivateUsage]
    index_set, bias = layer._set_and_bias(q.shape[2], held.length)  # pyright: ignore[reportPrivateUsage]
    k, v, padding = held.tokens()
    return layer._attend(q, k, v, index_set, bias, padding), held  # pyright: ignore[reportPrivateUsage]


def _keep(cache: KeyValueCache, held: _Held) -> None:
    cache._held = held  # pyright: ignore[reportPrivateUsage]


# What `torch.compiler.disable` does, without importing the compiler, which takes seconds. The length of a cache changes
# at each step, so a graph that saw it would be compiled again each time.
for _untraced in (_step, _keep):
    vars(_untraced)["_torchdynamo_disable"] = True
    vars(_untraced)["_torchdynamo_disable_msg"] = "a decode step over a KeyValueCache is not traced"
    _skip = _frames._FrameAction.SKIP  # pyright: ignore[reportPrivateUsage]
    _never = _frames._FrameExecStrategy(_skip, _skip)  # pyright: ignore[reportPrivateUsage]
    _frames.set_code_exec_strategy(_untraced.__code__, _never)
