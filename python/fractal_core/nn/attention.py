"""Multi-head self-attention over a pattern, with streaming decode that equals the full pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch._C._dynamo import eval_frame as _frames

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import InvalidArgumentError, ShapeError
from fractal_core.gpu import route
from fractal_core.nn import positions as places
from fractal_core.nn._sets import Sets, lengths
from fractal_core.nn._streaming import check_streaming
from fractal_core.nn._tokens import blanked, joined, split
from fractal_core.nn.cache import KeyValueCache
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.patterns import resolve
from fractal_core.patterns import PerHead, check_span

if TYPE_CHECKING:
    from fractal_core.index_sets import IndexSet, IndexSetStack
    from fractal_core.nn._sets import Keys
    from fractal_core.nn.cache import Held
    from fractal_core.nn.rotary import RotaryEmbedding
    from fractal_core.patterns import Pattern, PatternBase

__all__ = ["FractalAttention", "KeyValueCache"]


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
        rotary: rotates queries and keys by their positions, E / H entries each; other layers may share it. Cached keys
            are rotated ones.
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
        rotary: RotaryEmbedding | None = None,
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
        self.rotary = places.checked_rotary(rotary, self.head_dim)
        self._has_bias = flag("bias", bias)
        self._sets = Sets(resolve(pattern))
        if isinstance(self.pattern, PerHead) and len(self.pattern.patterns) != num_heads:
            raise ShapeError("pattern", f"{len(self.pattern.patterns)} patterns", f"{num_heads}, one for each head")
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
        return self._sets.pattern

    @pattern.setter
    def pattern(self, pattern: Pattern | PerHead | str) -> None:
        self._sets = Sets(resolve(pattern))

    def extra_repr(self) -> str:
        """What `repr` shows beside the projections."""
        return (
            f"{self.embed_dim}, {self.num_heads}, {self.pattern!r}, num_kv_heads={self.num_kv_heads}, "
            f"causal={self.causal}, dropout={self.dropout}"
            + ("" if self.device == "cpu" else f", device={self.device!r}")
        )

    def prepare(self, n_queries: int, n_keys: int | None = None) -> IndexSet | IndexSetStack:
        """The index set of the last `n_queries` of `n_keys` tokens (as many where None), built once and kept."""
        return self._keys(*check_span(n_queries, n_keys)).index_set

    def _keys(self, n_queries: int, n_keys: int) -> Keys:
        return self._sets.get(*lengths(n_queries, n_keys), causal=self.causal)

    def forward(
        self,
        x: Tensor,
        *,
        key_padding_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, N, E); with a cache, the N tokens that follow those of the cache.
            key_padding_mask: (B, N) bool, True where a token of x is to be ignored as a key.
            cache: keys and values of the tokens before x; those of x are added to it. The result then equals the last
                N rows of the full pass. Needs causal=True and a pattern that a longer sequence does not change.
            positions: what `rotary` rotates by: (N,) or (B, N), or with several axes (N, n_axes) or (B, N, n_axes);
                integers, float32 or float64. None for 0, 1, ..., or with a cache for those that follow its tokens.

        Returns:
            (B, N, E); a token without any key gives the bias of the output projection alone. B and N may be 0.

        Raises:
            ShapeError: x or the mask has another shape.
            DTypeError: the mask is not bool.
            InvalidArgumentError: a cache with a layer that is not causal, or with a length-dependent pattern; positions
                without `rotary`, or none for its several axes; export with a length that is not fixed.

        A call that raises leaves the cache as it was.
        """
        x = checks.tensor("x", x)
        if x.ndim != 3 or x.shape[2] != self.embed_dim:
            raise ShapeError("x", tuple(x.shape), f"(batch, length, {self.embed_dim})")
        batch, length, _ = x.shape
        if key_padding_mask is not None:
            checks.boolean("key_padding_mask", key_padding_mask, (batch, length))
        if cache is not None:
            check_streaming("cache", cache, KeyValueCache, causal=self.causal, pattern=self.pattern)
        at = places.of_tokens(positions, self.rotary, batch, length, x.device)
        if length == 0:  # a pattern has no set of no tokens
            q, k, v = self._projected(x)
            if cache is not None:
                _keep(cache, cache.extended(k, v, key_padding_mask))
            return self.out(joined(q))
        if cache is None:
            keys = self._keys(length, length)
            q, k, v = self._projected(x, key_padding_mask)
            q, k = places.rotated(self.rotary, q, k, at, 0)
            attended = self._attend(q, k, v, keys, key_padding_mask)
            return self.out(joined(attended))
        attended, held = _step(self, cache, *self._projected(x, key_padding_mask), key_padding_mask, at)
        out = self.out(joined(attended))
        _keep(cache, held)
        return out

    def _projected(self, x: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, N, D), keys and values (B, Hkv, N, D), blank where a key is ignored."""
        kv_dim = self.num_kv_heads * self.head_dim
        q, k, v = self.qkv(x).split((self.embed_dim, kv_dim, kv_dim), dim=2)
        q, k, v = split(q, self.num_heads), split(k, self.num_kv_heads), split(v, self.num_kv_heads)
        return q, blanked(padding, k), blanked(padding, v)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Keys, padding: Tensor | None) -> Tensor:
        return sparse_attention(
            q,
            k,
            v,
            keys.index_set,
            bias=keys.bias,
            key_padding_mask=padding,
            dropout_p=self.dropout if self.training else 0.0,
            device=self.device,
        )


def _step(  # noqa: PLR0917
    layer: FractalAttention,
    cache: KeyValueCache,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    padding: Tensor | None,
    at: Tensor | None,
) -> tuple[Tensor, Held]:
    """Attend to the cached tokens and the new ones; returns the result and the new state of the cache."""
    q, k = places.rotated(layer.rotary, q, k, at, len(cache))
    held = cache.extended(k, v, padding)
    keys = layer._keys(q.shape[2], held.length)  # pyright: ignore[reportPrivateUsage]
    k, v, padding = held.tokens()
    return layer._attend(q, k, v, keys, padding), held  # pyright: ignore[reportPrivateUsage]


def _keep(cache: KeyValueCache, held: Held) -> None:
    cache.keep(held)


# What `torch.compiler.disable` does, without importing the compiler, which takes seconds. The length of a cache changes
# at each step, so a graph that saw it would be compiled again each time.
for _untraced in (_step, _keep):
    vars(_untraced)["_torchdynamo_disable"] = True
    vars(_untraced)["_torchdynamo_disable_msg"] = "a decode step over a KeyValueCache is not traced"
    _skip = _frames._FrameAction.SKIP  # pyright: ignore[reportPrivateUsage]
    _never = _frames._FrameExecStrategy(_skip, _skip)  # pyright: ignore[reportPrivateUsage]
    _frames.set_code_exec_strategy(_untraced.__code__, _never)
