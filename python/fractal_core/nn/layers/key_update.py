"""Content-dependent key update: each token refreshes the keys and values of the layer below, or keeps them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, ShapeError
from fractal_core.nn._tokens import split, tokens
from fractal_core.nn.routing.straight import straight_through

__all__ = ["KeyUpdate", "KeyValues", "update_keys"]

_START = 2.0
"""The gate's logit at the start: 0.88 of each key is new."""


class KeyValues(NamedTuple):
    """Keys and values of a layer, for the layer above or the next call."""

    k: Tensor
    """(B, Hkv, N, D)."""
    v: Tensor
    """(B, Hkv, N, Dv)."""

    def detach(self) -> KeyValues:
        """The same without gradients, as a later training step needs them."""
        return KeyValues(self.k.detach(), self.v.detach())


def update_keys(
    k: Tensor, v: Tensor, cache: KeyValues | None, gate: Tensor, *, detach: bool = False
) -> tuple[Tensor, Tensor, KeyValues]:
    """U k + (1 - u) k_cache, and the same of values, for the positions that the cache has; later ones are appended.

    Nothing is stored anywhere but in what is returned.

    Args:
        k: (B, Hkv, N, D), new keys.
        v: (B, Hkv, N, Dv), new values.
        cache: keys and values (B, Hkv, M, D|Dv) of the first M <= N positions, of the layer below or an earlier call;
            None for none.
        gate: (B, Hkv|1, N), u in [0, 1]; that of a position beyond the cache is not read.
        detach: the returned cache carries no gradient, as where it is for a later training step.

    Returns:
        Keys (B, Hkv, N, D), values (B, Hkv, N, Dv), and both as a cache.

    Raises:
        ShapeError: shapes that do not fit together, or a cache longer than the keys.
        DTypeError: a cache that is no `KeyValues`, or tensors of other dtypes than k.
    """
    _check(k, v, gate)
    held = 0 if cache is None else _check_cache(cache, k, v)
    if cache is not None and held:
        u = gate[:, :, :held, None].to(k.dtype)
        blended = (u * new[:, :, :held] + (1 - u) * old for new, old in ((k, cache.k), (v, cache.v)))
        k, v = (torch.cat((one, new[:, :, held:]), 2) for one, new in zip(blended, (k, v), strict=True))
    found = KeyValues(k, v)
    return k, v, found.detach() if flag("detach", detach) else found


def _check(k: Tensor, v: Tensor, gate: Tensor) -> None:
    for name, value in (("k", k), ("v", v), ("gate", gate)):
        if not isinstance(value, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError(name, type(value).__name__, "a torch.Tensor")
    if k.ndim != 4 or not k.is_floating_point():
        raise ShapeError("k", f"{tuple(k.shape)} of {k.dtype}", "(batch, key heads, length, head size), floats")
    if v.ndim != 4 or v.shape[:3] != k.shape[:3] or v.dtype != k.dtype:
        raise ShapeError("v", f"{tuple(v.shape)} of {v.dtype}", f"(*{tuple(k.shape[:3])}, head size) of {k.dtype}")
    batch, heads, length = k.shape[:3]
    checks.shaped("gate", gate, (batch, heads, length), (batch, 1, length))


def _check_cache(cache: object, k: Tensor, v: Tensor) -> int:
    """The positions of the cache."""
    if not isinstance(cache, KeyValues):
        raise DTypeError("cache", type(cache).__name__, "a fractal_core.nn.KeyValues")
    for held, new in ((cache.k, k), (cache.v, v)):
        fits = held.ndim == 4 and held.shape[:2] == new.shape[:2] and held.shape[3] == new.shape[3]
        if not fits or held.shape[2] > new.shape[2] or held.shape[2] != cache.k.shape[2]:
            batch, heads, length, size = new.shape
            raise ShapeError("cache", tuple(held.shape), f"{(batch, heads, f'at most {length}', size)}")
        if held.dtype != new.dtype:
            raise DTypeError("cache", held.dtype, new.dtype)
    return cache.k.shape[2]


class KeyUpdate(nn.Module):
    """Projections to keys and values, and a gate that says which tokens need them anew.

    u = sigmoid(MLP(x_t)) for each token, and head with per_head: K_l = u W_k x_l + (1 - u) K_(l-1), the same of values
    with the same u. With `hard`, u is 1 where it exceeds the threshold and else 0, with the gradient of the sigmoid; in
    eval mode W_k and W_v then run over the tokens that are refreshed, and no others.

    Our reading of the seed's `should_update_key`, whose decision was one for the whole batch, without a gradient. Reuse
    of keys across layers is that of W. Brandon et al., "Reducing Transformer Key-Value Cache Size with Cross-Layer
    Attention" (2024), here for each token by its content.

    Args:
        dims: E, size of the tokens.
        kv_heads: Hkv.
        head_dim: D.
        per_head: a gate for each head; else one for all.
        hard: decisions of 0 or 1.
        threshold: of a hard gate, 0 < threshold < 1.

    Raises:
        InvalidArgumentError: a value is out of its range.
        DTypeError: an argument is of another type than listed.
    """

    def __init__(
        self,
        dims: int,
        kv_heads: int,
        head_dim: int,
        *,
        per_head: bool = False,
        hard: bool = False,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        self.dims, self.kv_heads = integer("dims", dims, 1, INT32_MAX), integer("kv_heads", kv_heads, 1, INT32_MAX)
        self.head_dim = integer("head_dim", head_dim, 1, INT32_MAX)
        self.per_head, self.hard = flag("per_head", per_head), flag("hard", hard)
        self.threshold = checks.share("threshold", threshold, below=True)
        hidden = max(self.dims // 4, 4)
        gate = nn.Linear(hidden, self.kv_heads if self.per_head else 1)
        nn.init.constant_(gate.bias, _START)
        self.predictor = nn.Sequential(nn.Linear(self.dims, hidden), nn.ReLU(), gate)
        # A bias of keys would change their weights only where some keys are reused; it has no use where none are.
        self.k = nn.Linear(self.dims, self.kv_heads * self.head_dim, bias=False)
        self.v = nn.Linear(self.dims, self.kv_heads * self.head_dim)

    def extra_repr(self) -> str:
        """What `repr` shows beside the projections."""
        return f"per_head={self.per_head}, hard={self.hard}, threshold={self.threshold}"

    def gate(self, x: Tensor) -> Tensor:
        """U of x (B, N, E): (B, Hkv|1, N) in [0, 1], in the dtype of x; 0 or 1 with `hard`."""
        tokens("x", x, self.dims)
        soft = self.predictor(x).sigmoid().transpose(1, 2)
        return straight_through(soft > self.threshold, soft) if self.hard else soft

    def forward(
        self, x: Tensor, cache: KeyValues | None = None, *, detach: bool = False
    ) -> tuple[Tensor, Tensor, KeyValues, Tensor]:
        """Keys and values of this layer.

        Args:
            x: (B, N, E); N may be 0.
            cache: keys and values of the layer below, or of an earlier call: of the first M <= N tokens; None for none.
            detach: as for `update_keys`.

        Returns:
            Keys (B, Hkv, N, D), values (B, Hkv, N, D), both as a cache, and the gate (B, Hkv|1, N).

        Raises:
            ShapeError: shapes that do not fit together, or a cache longer than x.
            DTypeError: x is of no float dtype, or a cache that is no `KeyValues` or of another dtype.
        """
        gate = self.gate(x)
        if cache is None or not self.hard or self.training or torch.compiler.is_compiling():
            k, v = (split(p(x), self.kv_heads) for p in (self.k, self.v))
            return *update_keys(k, v, cache, gate, detach=detach), gate
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        room = x.new_empty((*x.shape[:2], self.kv_heads, self.head_dim), dtype=dtype).transpose(1, 2)
        held = _check_cache(cache, room, room)
        anew = gate > 0.5
        anew[:, :, held:] = True
        k, v = (self._refreshed(p, x, old, anew) for p, old in ((self.k, cache.k), (self.v, cache.v)))
        found = KeyValues(k, v)
        return k, v, found.detach() if flag("detach", detach) else found, gate

    def _refreshed(self, projection: nn.Linear, x: Tensor, old: Tensor, anew: Tensor) -> Tensor:
        """`old` (B, Hkv, M, D) grown to N, with what is `anew` (B, Hkv|1, N) projected from x."""
        whole: Tensor = F.pad(old, (0, 0, 0, x.shape[1] - old.shape[2]))
        parts: list[Tensor] = []
        for one, heads in enumerate(torch.split(whole, 1 if self.per_head else self.kv_heads, 1)):
            rows = slice(one * self.head_dim, (one + 1) * self.head_dim) if self.per_head else slice(None)
            bias = None if projection.bias is None else projection.bias[rows]  # pyright: ignore[reportUnnecessaryComparison]
            places = anew[:, one].nonzero(as_tuple=True)
            new = F.linear(x[places], projection.weight[rows], bias).view(-1, heads.shape[1], self.head_dim)
            parts.append(heads.transpose(1, 2).index_put(places, new).transpose(1, 2))
        return torch.cat(parts, 1)
