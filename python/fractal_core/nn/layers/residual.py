"""A plain pre-norm block: attention over a pattern, cross attention where asked for, and an MLP."""
# ruff: noqa: PLR0917  (the arguments that the idea came with are positional)

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.nn._sets import Sets, lengths, whole
from fractal_core.nn._streaming import check_streaming
from fractal_core.nn._tokens import blanked, ignored, joined, split
from fractal_core.nn.attention import KeyValueCache
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.layers._heads import HeadLayer
from fractal_core.nn.patterns import resolve
from fractal_core.nn.positions import checked_rotary, rotated
from fractal_core.patterns import check_span
from fractal_core.patterns.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from fractal_core.nn.rotary import RotaryEmbedding
    from fractal_core.patterns import Pattern

__all__ = ["ACTIVATIONS", "NORMS", "Residual"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {"layernorm": nn.LayerNorm, "rmsnorm": nn.RMSNorm}


class _Attention(HeadLayer):
    """Attention of tokens over a pattern, or to another sequence, whole."""

    def __init__(
        self, dims: int, head: int, pattern: Pattern | str, device: str, rotary: RotaryEmbedding | None = None
    ) -> None:
        super().__init__(dims, head, bias=True, device=device)
        self.sets = Sets(resolve(pattern))
        self.rotary = checked_rotary(rotary, self.head_dim)
        if self.rotary is not None and self.rotary.n_axes > 1:
            raise InvalidArgumentError("rotary", f"an embedding of {self.rotary.n_axes} axes", "one of one axis")
        self.reset_parameters()

    def forward(
        self, x: Tensor, xa: Tensor | None, mask: Tensor | None, cache: KeyValueCache | None, causal: bool
    ) -> Tensor:
        source = x if xa is None else xa
        q, k, v = (split(t, self.head) for t in (self.q(x), self.k(source), self.v(source)))
        padding = ignored(mask)
        k, v = blanked(padding, k), blanked(padding, v)
        if q.shape[2] == 0 and cache is None:
            return self.out(joined(q))
        q, k = rotated(self.rotary, q, k, None, 0 if cache is None else len(cache))
        held = None
        if cache is not None:
            held = cache.extended(k, v, padding)
            k, v, padding = held.tokens()
        bias = None
        if q.shape[2] == 0 or xa is not None:
            index_set = whole(q.shape[2], k.shape[2])
        else:
            keys = self.sets.get(*lengths(q.shape[2], k.shape[2]), causal=causal)
            index_set, bias = keys.index_set, keys.bias
        attended = sparse_attention(q, k, v, index_set, bias=bias, key_padding_mask=padding, device=self.device)
        if cache is not None and held is not None:
            cache.keep(held)
        return self.out(joined(attended))


class Residual(nn.Module):
    """`x + attention(norm(x))`, then cross attention and an MLP in the same way: one skip for each.

    Args:
        dims: E, a multiple of head.
        head: H.
        ctx: a token sees those less than this many places away, itself included; all where None.
        act: activation of the MLP: "elu", "gelu", "leaky_relu", "relu", "selu", "silu" or "tanh"; or a module, of
            which the block takes a copy.
        cross_attention: attend to `xa`, too.
        debug: False; a block prints nothing.
        layer_idx: place in a stack, 0 or more, which `repr` shows, or None.
        decoder: no token sees a later one.
        dropout: share of what attention and the MLP give that is dropped in training, 0 <= dropout < 1.
        norm: "layernorm" or "rmsnorm".
        mlp_ratio: the width of the MLP by E, 1 or more.
        pattern: the keys there are, instead of ctx: a pattern, or the name or specification of one.
        rotary: rotates queries and keys of x by their positions, of one axis and E / H entries; other blocks may share
            it. Cached keys are rotated ones.
        device: where attention is computed, as for `sparse_attention`.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range, head does not divide dims, or both ctx and pattern.
        ShapeError: rotary is of another size than the heads.
        PluginError: the pattern is not known, or did not load.
    """

    def __init__(
        self,
        dims: int,
        head: int,
        ctx: int | None = None,
        act: str | nn.Module = "gelu",
        cross_attention: bool = False,
        debug: bool = False,
        *,
        layer_idx: int | None = None,
        decoder: bool = False,
        dropout: float = 0.0,
        norm: str = "layernorm",
        mlp_ratio: int = 4,
        pattern: Pattern | str | None = None,
        rotary: RotaryEmbedding | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        if flag("debug", debug):
            raise InvalidArgumentError("debug", debug, "False: a block prints nothing")
        self.layer_idx = None if layer_idx is None else integer("layer_idx", layer_idx, 0, INT32_MAX)
        self.decoder = flag("decoder", decoder)
        if ctx is not None and pattern is not None:
            raise InvalidArgumentError("pattern", "a pattern beside ctx", "one of both")
        if pattern is None:
            pattern = Window(INT32_MAX if ctx is None else integer("ctx", ctx, 1, INT32_MAX) - 1)
        normed = chosen("norm", norm, NORMS)
        self.attention = _Attention(dims, head, pattern, device, rotary)
        dims = self.attention.dims
        self.attention_norm = normed(dims)
        self.cross = _Attention(dims, head, pattern, device) if flag("cross_attention", cross_attention) else None
        self.cross_norm = normed(dims) if self.cross is not None else None
        width = dims * integer("mlp_ratio", mlp_ratio, 1, INT32_MAX)
        self.mlp_norm = normed(dims)
        self.mlp = nn.Sequential(nn.Linear(dims, width), _activation(act), nn.Linear(width, dims))
        self.dropout = nn.Dropout(checks.fraction("dropout", dropout))

    def prepare(
        self,
        n_queries: int,
        n_keys: int | None = None,
        *,
        n_source: int | None = None,
        decoder: bool | None = None,
    ) -> None:
        """Build the index sets of the last `n_queries` of `n_keys` tokens, and of `n_source` of xa; before compiling.

        Raises:
            InvalidArgumentError: a number out of its range.
        """
        n_queries, n_keys = check_span(n_queries, n_keys)
        causal = self.decoder if decoder is None else flag("decoder", decoder)
        self.attention.sets.get(n_queries, n_keys, causal=causal)
        if n_source is not None:
            whole(n_queries, integer("n_source", n_source, 0, INT32_MAX))

    def forward(
        self,
        x: Tensor,
        xa: Tensor | None = None,
        mask: Tensor | None = None,
        kv_cache: KeyValueCache | None = None,
        decoder: bool | None = None,
        *,
        xa_mask: Tensor | None = None,
    ) -> Tensor:
        """Run the block.

        Args:
            x: (B, N, E); with a cache, the N tokens that follow those of the cache.
            xa: (B, M, E), what cross attention attends to, all of it; needed by a block that has one, and by no other.
            mask: (B, N) bool, True where a token of x takes part as a key.
            kv_cache: keys and values of the tokens before x; those of x are added to it. Needs a decoder.
            decoder: in the place of the block's own, where not None.
            xa_mask: (B, M) bool, True where a token of xa takes part.

        Returns:
            (B, N, E). B, N and M may be 0.

        Raises:
            ShapeError: shapes do not fit together.
            DTypeError: a tensor of another dtype than the parameters', or an argument of another type than listed.
            InvalidArgumentError: xa without cross attention, or none with it; a cache that cannot be used.
        """
        x = self.attention.tokens("x", x)
        causal = self.decoder if decoder is None else flag("decoder", decoder)
        if mask is not None:
            checks.boolean("mask", mask, tuple(x.shape[:2]))
        if kv_cache is not None:
            pattern = self.attention.sets.pattern
            check_streaming("kv_cache", kv_cache, KeyValueCache, causal=causal, setting="decoder", pattern=pattern)
        self._check_cross(xa, xa_mask, x.shape[0])
        x = x + self.dropout(self.attention(self.attention_norm(x), None, mask, kv_cache, causal))
        if self.cross is not None and self.cross_norm is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), xa, xa_mask, None, False))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))

    def _check_cross(self, xa: Tensor | None, xa_mask: Tensor | None, batch: int) -> None:
        if (xa is None) == (self.cross is not None):
            allowed = "a tensor, for cross attention" if xa is None else "None, without cross attention"
            raise InvalidArgumentError("xa", None if xa is None else "a tensor", allowed)
        if xa is None:
            if xa_mask is not None:
                raise InvalidArgumentError("xa_mask", "a mask without xa", "None, or an xa beside it")
            return
        xa = self.attention.tokens("xa", xa, batch)
        if xa_mask is not None:
            checks.boolean("xa_mask", xa_mask, tuple(xa.shape[:2]))

    def extra_repr(self) -> str:
        """What `repr` shows beside the parts."""
        place = "" if self.layer_idx is None else f", layer_idx={self.layer_idx}"
        return f"pattern={self.attention.sets.pattern!r}, decoder={self.decoder}{place}"


def chosen(argument: str, name: str, among: dict[str, Callable[..., nn.Module]]) -> Callable[..., nn.Module]:
    """What a name stands for."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError(argument, type(name).__name__, f"one of {', '.join(among)}")
    if name not in among:
        raise InvalidArgumentError(argument, repr(name), ", ".join(among))
    return among[name]


def _activation(act: str | nn.Module) -> nn.Module:
    """A module of the block's own."""
    return copy.deepcopy(act) if isinstance(act, nn.Module) else chosen("act", act, ACTIVATIONS)()
