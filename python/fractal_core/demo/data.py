"""The text as bytes, its held-out part, and batches in an order that the seed alone decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fractal_core.errors import FractalError, InvalidArgumentError

__all__ = ["Batches", "Corpus", "load_text"]

HELD_OUT_SHARE = 10  # one byte in ten, from the end


def load_text(path: str | None = None) -> bytes:
    """Bytes of a text file, or of the language reference that ships with CPython (`pydoc_data.topics`).

    Args:
        path: Text file to read; None for the reference.

    Returns:
        The text, at least one byte.

    Raises:
        InvalidArgumentError: The file cannot be read or is empty.
        FractalError: This Python was shipped without `pydoc_data`.
    """
    if path is None:
        try:
            from pydoc_data.topics import topics
        except ImportError as error:
            raise FractalError("this Python ships without pydoc_data.topics; give a text file with --text") from error
        return "\n\n".join(topics[name].strip() for name in sorted(topics)).encode()
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgumentError("text", path, f"a readable file ({error.strerror})") from error
    if not text:
        raise InvalidArgumentError("text", path, "a file that is not empty")
    return text


@dataclass(frozen=True)
class Corpus:
    """A text cut into a training part and the held-out part that follows it.

    Attributes:
        train: Shape (n,), uint8.
        held_out: Shape (m,), uint8, m about n / 9.
    """

    train: NDArray[np.uint8]
    held_out: NDArray[np.uint8]

    @classmethod
    def split(cls, text: bytes, context: int) -> Corpus:
        """Keeps the last tenth for measuring, at least one sequence of it.

        Args:
            text: The text, at least ``3 * (context + 1)`` bytes.
            context: Bytes a sequence.

        Raises:
            InvalidArgumentError: The text is too short for the context.
        """
        needed = 3 * (context + 1)
        if len(text) < needed:
            raise InvalidArgumentError("text", f"{len(text)} bytes", f"at least {needed} bytes for context {context}")
        values = np.frombuffer(text, dtype=np.uint8)
        cut = len(values) - max(len(values) // HELD_OUT_SHARE, context + 1)
        return cls(values[:cut], values[cut:])

    def held_out_sequences(self, context: int, count: int) -> NDArray[np.int64]:
        """Up to `count` disjoint held-out sequences, evenly spread.

        Args:
            context: Bytes a sequence to predict.
            count: Sequences wanted.

        Returns:
            Shape (s, context + 1), int64 in [0, 255], 1 <= s <= count.
        """
        room = len(self.held_out) - context - 1
        count = max(1, min(count, len(self.held_out) // (context + 1)))
        starts = [room * i // max(1, count - 1) for i in range(count)]
        return np.stack([self.held_out[s : s + context + 1] for s in starts]).astype(np.int64)


class Batches:
    """Training sequences at random places, the same for the same seed, and a digest of the order so far."""

    def __init__(self, train: NDArray[np.uint8], context: int, batch: int, seed: int) -> None:
        self._train = train
        self._context = context
        self._batch = batch
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return self

    def __next__(self) -> NDArray[np.int64]:
        """The next batch: shape (batch, context + 1), int64 in [0, 255]."""
        starts = self._random.integers(0, len(self._train) - self._context, size=self._batch)
        self._digest.update(starts.astype("<i8").tobytes())
        return np.stack([self._train[s : s + self._context + 1] for s in starts]).astype(np.int64)

    @property
    def order(self) -> str:
        """Hexadecimal SHA-256 of the places of all batches taken so far."""
        return self._digest.hexdigest()
