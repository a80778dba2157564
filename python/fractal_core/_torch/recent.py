"""A small least-recently-used store for what is built once for each size."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from fractal_core._locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Recent"]

T = TypeVar("T")

# One lock for all stores: it is held for a look-up, never while a value is made, and a copy need not carry it.
_lock = ForkSafeLock()


class Recent(Generic[T]):
    """The values that were asked for last. Copies and pickles are empty, since values are built again when needed.

    Threads may share it: values are made outside the lock, and of two made at once for one key all get the first.
    The key must hold everything that the value is made from; a value must not carry a gradient.

    Args:
        size: how many to keep.
    """

    def __init__(self, size: int = 32) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> tuple[type[Recent[T]], tuple[int]]:
        return Recent, (self._size,)

    def clear(self) -> None:
        """Forget all."""
        with _lock:
            self._values.clear()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, made on first use."""
        if torch.compiler.is_compiling():  # a lock would break the graph
            value = self._values.get(key)
            if value is None:
                value = self._values[key] = make()
                while len(self._values) > self._size:
                    self._values.popitem(last=False)
            return value
        with _lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
                return value
        made = make()
        with _lock:
            value = self._values.setdefault(key, made)
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value
