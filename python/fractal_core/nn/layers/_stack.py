"""One call of a myelinated stack: its arguments, checked, and attention of one layer among the tokens it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from fractal_core._torch import checks
from fractal_core.errors import InvalidArgumentError, ShapeError
from fractal_core.nn._streaming import check_streaming
from fractal_core.nn._tokens import blanked, ignored, tokens
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.layers._kept import Kept, kept
from fractal_core.nn.layers._sheath import among, listed, seen
from fractal_core.nn.layers.myelinated_cache import MyelinatedCache

if TYPE_CHECKING:
    from fractal_core.nn.attention import KeyValueCache
    from fractal_core.nn.cache import Held as Tokens
    from fractal_core.nn.layers._pattern_sets import PatternSets
    from fractal_core.nn.layers._sheath import Sheath
    from fractal_core.nn.routing.protocol import Routing

__all__ = ["Call", "Reach", "attend", "call_of", "chosen_of"]


class Reach(NamedTuple):
    """Which keys a stack's tokens may see at all."""

    sets: PatternSets | None
    """Of the pattern, if there is one."""
    window: PatternSets | None
    """Of the limit of distances, if there is one."""
    max_dist: int | None


class Call(NamedTuple):
    """What holds for all layers of one call."""

    cross: tuple[Tensor, Tensor] | None
    """Keys and values of xa, (B, H, M, D) each."""
    mask: Tensor | None
    """(B, N) bool, the tokens of x that count; None where all do."""
    key_mask: Tensor | None
    """(B, M) bool, of xa."""
    pairs: Tensor | None
    """(B|1, N, N) or (B|1, N, M) bool."""
    causal: bool


def call_of(  # noqa: PLR0917
    sheath: Sheath,
    reach: Reach,
    x: Tensor,
    xa: Tensor | None,
    mask: Tensor | None,
    kv_cache: MyelinatedCache | None,
    causal: bool,
) -> Call:
    """Check the arguments of a forward pass."""
    tokens("x", x, sheath.q.in_features)
    batch, length, dims = x.shape
    if xa is not None:
        tokens("xa", xa, dims)
        if xa.shape[0] != batch or xa.dtype != x.dtype:
            raise ShapeError("xa", f"{tuple(xa.shape)} of {xa.dtype}", f"{(batch, 'length', dims)} of {x.dtype}")
    keys = length if xa is None else xa.shape[1]
    if mask is not None:
        checks.boolean_anywhere("mask", mask, (batch, keys), (batch, length, keys), (1, length, keys))
    pairs = mask if mask is not None and mask.ndim == 3 else None
    if pairs is not None and reach.sets is not None:
        raise InvalidArgumentError("mask", "a mask of pairs with a pattern", f"a mask of keys, {(batch, keys)}")
    if kv_cache is not None:
        _check_cache(kv_cache, reach, causal, pairs)
    mask = None if pairs is not None else mask
    cross = None
    if xa is not None:
        k, v = sheath.keys_values(xa)
        padding = ignored(mask)
        cross = blanked(padding, k), blanked(padding, v)
    return Call(cross, mask if xa is None else None, None if xa is None else mask, pairs, causal)


def _check_cache(kv_cache: object, reach: Reach, causal: bool, pairs: Tensor | None) -> None:
    pattern = None if reach.sets is None else reach.sets.pattern
    check_streaming("kv_cache", kv_cache, MyelinatedCache, causal=causal, setting="is_causal", pattern=pattern)
    if pairs is not None:
        raise InvalidArgumentError("kv_cache", "a cache with a mask of pairs", "a mask of keys")


def chosen_of(routing: Routing, keep: Tensor, everything: bool, training: bool) -> Kept:
    """The tokens that a layer computes: those kept, or all where their gradient or static shapes need it."""
    length = keep.shape[1]
    if everything:
        return kept(keep, None)
    if routing.at_most is not None:
        return kept(keep, min(routing.at_most, length))
    if training or torch.compiler.is_compiling():
        return kept(keep, None)
    return kept(keep, int(keep.sum(1).max()) if keep.numel() else 0)


def attend(  # noqa: PLR0917
    sheath: Sheath,
    reach: Reach,
    call: Call,
    h: Tensor,
    chosen: Kept,
    keep: Tensor,
    everything: bool,
    past: KeyValueCache | None,
) -> tuple[Tensor, Tokens | None]:
    """Attention of the chosen tokens h (B, M, E) among the kept; its output (B, M, E), and the cache's new state."""
    q = sheath.queries(h)
    if call.cross is not None:
        return sheath.out(among(q, *call.cross, _of_others(call, chosen), False)), None
    k, v = sheath.keys_values(h)
    if call.mask is not None:
        padding = ~chosen.gather(call.mask)
        k, v = blanked(padding, k), blanked(padding, v)
    length, held, all_kept = keep.shape[1], None, keep
    if past is not None:
        spread = (chosen.spread(k, length), chosen.spread(v, length))
        held = past.extended(*spread, ~keep)
        k, v, padding = held.tokens()
        assert padding is not None
        all_kept = ~padding
    before = all_kept.shape[1] - length
    far = reach.max_dist is not None and before + length > reach.max_dist
    sets = reach.sets
    if far and sets is None and call.pairs is None and h.is_cpu and not torch.compiler.is_compiling():
        sets = reach.window
    if sets is not None and length:
        if everything and past is None:
            keys = sets.get(length, length, causal=call.causal)
            out = sparse_attention(q, k, v, keys.index_set, bias=keys.bias)
        else:
            bias = sets.get(length, before + length, causal=call.causal).bias
            bias = None if bias is None else bias.reshape(-1, before + length)
            lists = sets.lists(length, before + length, causal=call.causal)
            out = listed(q, k, v, lists, bias, chosen, None if past is not None else chosen.order, all_kept)
    elif past is None and not far and call.pairs is None and (everything or (call.causal and chosen.order is not None)):
        # What fills up comes after the kept tokens, and so none of these sees it.
        out = among(q, k, v, None, call.causal)
    else:
        places = chosen.positions if past is None else torch.arange(before + length, device=h.device)[None]
        kept_keys = chosen.keep if past is None else all_kept
        last = reach.max_dist if far else None
        mask = seen(chosen.positions + before, places, kept_keys, call.causal, call.pairs, last)
        out = among(q, k, v, mask, call.causal)
    return sheath.out(out), held


def _of_others(call: Call, chosen: Kept) -> Tensor | None:
    """(B, 1, M|1, T) bool: which tokens of xa the chosen ones see."""
    if call.pairs is not None:
        if chosen.order is None:
            return call.pairs[:, None]
        pairs = call.pairs.expand(chosen.order.shape[0], -1, -1)
        return pairs.gather(1, chosen.order[:, :, None].expand(-1, -1, pairs.shape[2]))[:, None]
    return None if call.key_mask is None else call.key_mask[:, None, None]
