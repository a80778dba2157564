"""What a myelinated layer has seen of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn.attention import KeyValueCache
from fractal_core.nn.layers.memory import MemoryState

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MyelinatedCache", "Streams"]


class Streams:
    """The state of one layer of the stack: keys and values of its tokens, and its memory after them."""

    def __init__(self, capacity: int) -> None:
        self.tokens = KeyValueCache(capacity)
        self.memory: MemoryState | None = None


class MyelinatedCache:
    """Keys, values and memories of the tokens that a `MyelinatedLayer` has seen; one cache for each layer and stream.

    Places of skipped tokens hold zeros and are masked, so that all layers of the stack stay in step.

    Args:
        capacity: tokens to make room for at first; the room doubles when it is full.

    Raises:
        InvalidArgumentError: a capacity below 1.
        DTypeError: a capacity that is no integer.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = integer("capacity", capacity, 1, INT32_MAX)
        self._streams: list[Streams] = []

    def __len__(self) -> int:
        return len(self._streams[0].tokens) if self._streams else 0

    def clear(self) -> None:
        """Forget all tokens."""
        self._streams = []

    def reorder(self, rows: Tensor | Sequence[int]) -> None:
        """Reorder the rows of the batch, as beam search does: row i becomes what row `rows[i]` was.

        Raises:
            KeyIndexError: a row that the cache does not have; without tokens it has none.
            ShapeError: not one dimension, or no row.
            DTypeError: rows that are no integers.
        """
        if not self._streams:
            KeyValueCache(1).reorder(rows)
        for stream in self._streams:
            stream.tokens.reorder(rows)
            if stream.memory is not None:
                index = torch.as_tensor(np.asarray(rows), dtype=torch.int64, device=stream.memory.total.device)
                stream.memory = MemoryState(*(part.index_select(0, index) for part in stream.memory))

    def begun(self, layers: int) -> list[Streams]:
        """What a layer goes on from, one for each of its `layers`; a new cache has them when `keep` is called.

        Raises:
            InvalidArgumentError: the cache is that of another number of layers.
        """
        if self._streams and len(self._streams) != layers:
            raise InvalidArgumentError("kv_cache", f"a cache of {len(self._streams)} layers", f"one of {layers}")
        return self._streams or [Streams(self._capacity) for _ in range(layers)]

    def keep(self, streams: list[Streams]) -> None:
        """Take the streams that `begun` gave: what the layer does last, so that a call that raises changes nothing."""
        self._streams = streams
