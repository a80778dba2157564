"""Masks of dense attention as index sets: planned once for each mask, found again by its memory and its version.

Letters: B batch, H query heads, L queries, S keys, E edges; a size that may also be 1 is written B|1.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fractal_core._locks import ForkSafeLock
from fractal_core._torch.recent import Recent
from fractal_core.index_sets import IndexSet, IndexSetStack
from fractal_core.nn import _full_sets

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy.typing as npt

__all__ = ["MOST_SETS", "MaskPlan", "clear", "plan_of", "planned"]

MOST_SETS = 16
"""A mask with more different matrices than this, over batch and heads, is not planned."""
_KEPT_SETS = 16
_KEPT_PLANS = 64
_TILE = 16
"""Queries of a tile of the kernel's plan."""


class MaskPlan(NamedTuple):
    """How a mask runs."""

    sets: tuple[IndexSet, ...]
    """Empty where the mask has more than `MOST_SETS` different matrices."""
    stack: IndexSetStack | None = None
    """Which batch entry and head takes which of several sets, (B|1, H|1)."""
    padding: Tensor | None = None
    """(B, S) bool, True where a key is to be ignored, beside a single set; or None."""
    has_bias: bool = False
    """Whether the finite values of the mask differ from 0."""
    bias: Tensor | None = None
    """(B|1, H|1, E), those values at the set's edges; None where every pair is an edge."""
    share: float = 1.0
    """What the kernel computes of the dense product, 0 to 1: pairs of tiles of 16 queries with the keys of any."""


class _Kept(NamedTuple):
    storage: weakref.ref[torch.UntypedStorage]
    version: int
    plan: MaskPlan


# Plans by the place of a mask in memory; they go when the memory goes. Sets by content, for masks that are made anew.
_lock = ForkSafeLock()
_plans: OrderedDict[Hashable, _Kept] = OrderedDict()
_sets: Recent[IndexSet] = Recent(_KEPT_SETS)


def planned() -> tuple[int, int]:
    """How many plans of living masks, and how many sets, are kept."""
    with _lock:
        return len(_plans), len(_sets)


def clear() -> None:
    """Forget all masks and the sets made from them."""
    with _lock:
        _plans.clear()
    _sets.clear()


def plan_of(mask: Tensor) -> MaskPlan:
    """The plan of a mask, made at its first call and after each change that its version counter sees.

    Args:
        mask: (B|1, H|1, L, S) bool, True where the query attends; or of a float dtype, added to the scores.
    """
    if mask.is_inference():  # it has no version
        return _made(mask)
    storage, version = mask.untyped_storage(), mask._version
    learned = mask.requires_grad
    key = (id(storage), mask.storage_offset(), mask.shape, mask.stride(), mask.dtype, learned, mask.is_neg())
    with _lock:
        kept = _plans.get(key)
        if kept is not None and kept.version == version and kept.storage() is storage:
            _plans.move_to_end(key)
            return kept.plan
    plan = _made(mask)

    def forget(gone: weakref.ref[torch.UntypedStorage]) -> None:
        with _lock:
            if key in _plans and _plans[key].storage is gone:
                del _plans[key]

    with _lock:
        _plans[key] = _Kept(weakref.ref(storage, forget), version, plan)
        _plans.move_to_end(key)
        while len(_plans) > _KEPT_PLANS:
            _plans.popitem(last=False)
    return plan


@torch.no_grad()
def _made(mask: Tensor) -> MaskPlan:
    learned, mask = mask.requires_grad, mask.detach()
    if mask.dtype == torch.bool:
        return _boolean(mask)
    if learned:  # its values change at every step: -inf stays a value of the bias, which masks exactly
        return MaskPlan((_full_sets.index_set(mask.shape[2], mask.shape[3], False),), has_bias=True)
    return _additive(mask)


def _boolean(mask: Tensor) -> MaskPlan:
    """Of a boolean mask."""
    batch, heads, n_queries, n_keys = mask.shape
    if batch * heads == 1:
        return _one(mask[0, 0])
    if heads == 1:
        seen = mask[:, 0]
        if mask.stride(2) == 0:
            return MaskPlan((_full_sets.index_set(n_queries, n_keys, False),), padding=~seen[:, 0])
        common, keys = seen.any(0), seen.any(1)
        if torch.equal(seen, common & keys[:, None]):
            return _one(common)._replace(padding=None if bool(keys.all()) else ~keys)
    return _grouped(mask)


def _one(matrix: Tensor) -> MaskPlan:
    return MaskPlan((_set(matrix),), share=_share(matrix))


def _grouped(mask: Tensor) -> MaskPlan:
    """Of a mask that differs by batch or head: one set for each different matrix."""
    first: dict[bytes, tuple[int, Tensor]] = {}
    which: list[int] = []
    for matrix in mask.flatten(0, 1):
        which.append(first.setdefault(_digest(matrix.numpy()), (len(first), matrix))[0])
        if len(first) > MOST_SETS:
            return MaskPlan(())
    sets, shares = zip(*((_set(matrix), _share(matrix)) for _, matrix in first.values()), strict=True)
    stack = IndexSetStack(sets, np.array(which).reshape(mask.shape[:2])) if len(sets) > 1 else None
    return MaskPlan(sets, stack, share=sum(shares[at] for at in which) / len(which))


def _additive(mask: Tensor) -> MaskPlan:
    """Of a float mask without a gradient: the cells that are not -inf, and their values as a bias."""
    seen = mask != -torch.inf
    if not bool(torch.where(seen, mask, torch.zeros_like(mask)).count_nonzero()):
        return _boolean(seen)
    common = seen.flatten(0, 1).any(0)
    rows, share = _set(common), _share(common)
    bias = None if bool(common.all()) else mask.flatten(2)[..., common.flatten().nonzero()[:, 0]]
    return MaskPlan((rows,), has_bias=True, bias=bias, share=share)


def _share(matrix: Tensor) -> float:
    """The part of a matrix's (L, S) pairs that lie in tiles."""
    n_queries, n_keys = matrix.shape
    starts = range(0, n_queries, _TILE)
    tall = sum(int(matrix[start : start + _TILE].any(0).sum()) * min(_TILE, n_queries - start) for start in starts)
    return tall / (n_queries * n_keys)


def _digest(matrix: npt.NDArray[np.bool_]) -> bytes:
    return hashlib.blake2b(np.packbits(matrix).data, digest_size=16).digest()


def _set(matrix: Tensor) -> IndexSet:
    """The set of a boolean (L, S) matrix; the shared one where it is full."""
    n_queries, n_keys = matrix.shape
    if bool(matrix.all()):
        return _full_sets.index_set(n_queries, n_keys, False)
    mask = matrix.numpy()
    return _sets.get((n_queries, n_keys, _digest(mask)), lambda: _new(mask))


def _new(mask: npt.NDArray[np.bool_]) -> IndexSet:
    """In runs where those are few, else listed."""
    edge = np.zeros((mask.shape[0], mask.shape[1] + 1), np.int8)
    edge[:, :-1] = mask
    edge[:, 1:] -= mask
    starts, stops = np.nonzero(edge == 1), np.nonzero(edge == -1)
    if 4 * len(starts[0]) > int(np.count_nonzero(mask)):
        return IndexSet.from_mask(mask)
    counts = np.bincount(starts[0], minlength=len(mask))
    rows = np.concatenate([[0], np.cumsum(counts)])
    return IndexSet.from_runs(rows, starts[1], stops[1] - starts[1], mask.shape[1])
