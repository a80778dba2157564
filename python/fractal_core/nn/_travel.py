"""Index sets in torch's files and in exported programs.

A program that is saved names its set by the set's own content, since a handle means nothing in another process.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from fractal_core._torch.recent import Recent
from fractal_core.errors import InvalidArgumentError
from fractal_core.index_sets import IndexSet, IndexSetStack
from fractal_core.index_sets.travel import State, restore, state

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["constant", "handle", "key", "packed", "stack"]

MakesKey = TypeVar("MakesKey", bound="Callable[..., Tensor]")

# `torch.load` refuses what is not listed; `restore` makes a set from bytes through all checks and runs nothing else.
torch.serialization.add_safe_globals([restore, IndexSet])

_FORMS = ("offsets", "runs", "listed")
_HEAD = 11
"""Words before the content: magic, two of digest, form, Nq, Nk, q_offset, three lengths in bytes, has an order."""
_MAGIC = 0x46524143_53455431
_decoded: Recent[IndexSet] = Recent(128)


class _Key(int):
    """A set's key that keeps the set alive."""

    index_set: IndexSet


def handle(index_set: IndexSet) -> Tensor:
    """What the op takes: the key (1,), or all of the set as int64 words where a program is made that may be saved."""
    # A set cannot be read while Dynamo traces (strict export): there the key stays, an error in another process.
    traced = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    if traced or (torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()):
        return packed(index_set)
    return torch.from_numpy(index_set.handle)


def constant(makes_key: MakesKey) -> MakesKey:
    """A function whose arguments, sizes and rules, are constants of a compiled graph, and so the key that it gives."""
    # What `torch.compiler.assume_constant_result` does, without importing the compiler, which takes seconds.
    vars(makes_key)["_dynamo_marked_constant"] = True
    return makes_key


def stack(index_sets: IndexSetStack) -> Tensor:
    """The keys (B|1, H|1) of a stack.

    Raises:
        InvalidArgumentError: within a program that may be saved, which holds no stack.
    """
    traced = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    if traced or (torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()):
        raise InvalidArgumentError("index_set", "a stack of index sets", "a single one in a program that is saved")
    return torch.from_numpy(index_sets.handles)


def packed(index_set: IndexSet) -> Tensor:
    """The whole set as int64 words."""
    form, n_queries, n_keys, q_offset, arrays, order = state(index_set)
    parts = (*arrays, *(b"",) * (2 - len(arrays)), order or b"")
    numbers = (_FORMS.index(form), n_queries, n_keys, q_offset, *map(len, parts), int(order is not None))
    body = np.array(numbers, np.int64).tobytes() + b"".join(part + bytes(-len(part) % 8) for part in parts)
    head = np.int64(_MAGIC).tobytes() + _digest(body)
    return torch.frombuffer(bytearray(head + body), dtype=torch.int64)


def key(words: Tensor) -> int:
    """The key, in this process, of the set that `handle` wrote."""
    if words.numel() == 1:
        return int(words)
    array = words.contiguous().numpy()
    if array.dtype != np.int64 or array.size < _HEAD or array[0] != _MAGIC:
        raise InvalidArgumentError("index_set", f"{array.size} words", "a handle, or an index set of a saved program")
    name = (int(array[1]), int(array[2]))
    index_set = _decoded.get(name, lambda: _unpacked(array.tobytes()))
    held = _Key(index_set.handle[0])
    held.index_set = index_set
    return held


def _unpacked(words: bytes) -> IndexSet:
    if _digest(words[24:]) != words[8:24]:
        raise InvalidArgumentError("index_set", "words that do not fit their digest", "an index set as it was saved")
    form, n_queries, n_keys, q_offset, *sizes, has_order = (int(x) for x in np.frombuffer(words, np.int64)[3:_HEAD])
    parts: list[bytes] = []
    start = 8 * _HEAD
    for size in sizes:
        parts.append(words[start : start + size])
        start += size + -size % 8
    arrays = tuple(parts[:1] if form == 0 else parts[:2])
    given: State = (_FORMS[form], n_queries, n_keys, q_offset, arrays, parts[2] if has_order else None)
    return restore(IndexSet, given)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
