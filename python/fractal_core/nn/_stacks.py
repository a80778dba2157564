"""Calls whose index sets differ by batch entry or head, or biases of edges by entry, as calls of one set each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fractal_core.nn.ops import Call

__all__ = ["Part", "has_parts", "parts", "put"]

_MIX = 0x9E37_79B9_7F4A_7C15


def has_parts(call: Call) -> bool:
    """Whether it has a handle for each batch entry and head, (B|1, H|1), or a bias of edges for each entry."""
    return call.index_set.ndim == 2 or (call.edge_bias is not None and call.edge_bias.ndim == 3)


class Part(NamedTuple):
    """Some batch entries and heads that take one set."""

    call: Call
    batch: slice
    heads: slice
    key_heads: slice
    shared: bool
    """Whether other parts have the same key heads."""

    def of(self, tensor: Tensor) -> Tensor:
        """What belongs to the part of a tensor by batch entry and query head."""
        return tensor[self.batch, self.heads]

    def of_keys(self, tensor: Tensor) -> Tensor:
        """What belongs to it of a tensor by batch entry and key head."""
        return tensor[self.batch, self.key_heads]

    def of_some(self, tensor: Tensor) -> Tensor:
        """What belongs to it of a tensor by (B|1, H|1)."""
        batch, heads = (
            slice(None) if size == 1 else part
            for size, part in zip(tensor.shape, (self.batch, self.heads), strict=False)
        )
        return tensor[batch, heads]

    def of_heads(self, tensor: Tensor) -> Tensor:
        """What belongs to it of a tensor by H|1."""
        return tensor if tensor.shape[0] == 1 else tensor[self.heads]


def parts(call: Call) -> Iterator[Part]:
    """The parts of a call, batch entry by batch entry, or of all of them where they take the same."""
    batch, heads = call.q.shape[:2]
    if call.index_set.ndim != 2:
        for b in range(batch):
            part = Part(call, slice(b, b + 1), slice(0, heads), slice(0, call.k.shape[1]), shared=False)
            yield part._replace(call=_narrowed(call, part, call.index_set, b))
        return
    group = heads // call.k.shape[1]
    stack = cast("list[list[int]]", call.index_set.tolist())
    entries = [slice(0, batch)] if len(stack) == 1 else [slice(b, b + 1) for b in range(batch)]
    number = 0
    for entry, row in zip(entries, stack, strict=True):
        keys = row * heads if len(row) == 1 else row
        for first, last in _runs(keys, group):
            shared = last - first < group
            part = Part(call, entry, slice(first, last), slice(first // group, -(-last // group)), shared)
            yield part._replace(call=_narrowed(call, part, torch.tensor([keys[first]]), number))
            number += 1


def _runs(keys: list[int], group: int) -> Iterator[tuple[int, int]]:
    """Heads in a row that take one set: whole groups, or some heads of one group."""
    first = 0
    while first < len(keys):
        last = first + 1
        while last < len(keys) and keys[last] == keys[first]:
            last += 1
        end = (first // group + 1) * group
        if first % group or last < end:
            last = min(last, end)
        else:
            last -= last % group
        yield first, last
        first = last


def _narrowed(call: Call, part: Part, index_set: Tensor, number: int) -> Call:
    some = {name: part.of_some(t) for name in ("key_bias",) if (t := getattr(call, name)) is not None}
    by_head = {name: part.of_heads(t) for name in ("distances", "sinks") if (t := getattr(call, name)) is not None}
    padding = None if call.key_padding_mask is None else call.key_padding_mask[part.batch]
    # Parts count batch entries and heads from 0: a seed of its own keeps their dropout apart.
    seed = None if call.seed is None else call.seed.clone().fill_((int(call.seed) + number * _MIX) % 2**63)
    q, k, v = part.of(call.q), part.of_keys(call.k), part.of_keys(call.v)
    if call.edge_bias is not None:
        some["edge_bias"] = call.edge_bias[part.batch.start]
    return call._replace(q=q, k=k, v=v, index_set=index_set, key_padding_mask=padding, seed=seed, **some, **by_head)


def put(to: Tensor, found: Tensor, *, add: bool) -> None:
    """Writes what a part gave, or adds it to what others have."""
    if add:
        to.add_(found)
    elif to.data_ptr() != found.data_ptr():
        to.copy_(found)
