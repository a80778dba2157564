"""Keys and values of the tokens that an attention layer has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core._arguments import INT32_MAX, integer, vector
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Held", "KeyValueCache"]


@dataclass(frozen=True)
class Held:
    """The state of a cache: one object, so that it changes as a whole or not at all."""

    length: int = 0
    k: Tensor | None = None
    v: Tensor | None = None
    padding: Tensor | None = None

    def tokens(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys, values and mask of the valid tokens."""
        assert self.k is not None
        assert self.v is not None
        padding = None if self.padding is None else self.padding[:, : self.length]
        return self.k[:, :, : self.length], self.v[:, :, : self.length], padding


class KeyValueCache:
    """Keys and values of the tokens that a `FractalAttention` layer has seen; one cache for each layer and stream.

    Args:
        capacity: tokens to make room for at first; the room doubles when it is full.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = integer("capacity", capacity, 1, INT32_MAX)
        self._held = Held()

    def __len__(self) -> int:
        return self._held.length

    def clear(self) -> None:
        """Forget all tokens."""
        self._held = Held()

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`, as after a speculation that failed.

        Raises:
            InvalidArgumentError: more than there are, or below 0.
            DTypeError: a length that is no integer.
        """
        held = self._held
        self._held = Held(integer("length", length, 0, held.length), held.k, held.v, held.padding)

    def reorder(self, rows: Tensor | Sequence[int]) -> None:
        """Reorder the rows of the batch, as beam search does: row i becomes what row `rows[i]` was.

        Args:
            rows: (B',) integers in 0 .. B - 1, in any order, each any number of times.

        Raises:
            KeyIndexError: a row that the cache does not have; without tokens it has none.
            ShapeError: not one dimension, or no row.
            DTypeError: rows that are no integers.
        """
        wanted = vector("rows", rows.detach().cpu().numpy() if isinstance(rows, Tensor) else rows)
        if not wanted.size:
            raise ShapeError("rows", tuple(wanted.shape), "at least one row")
        held = self._held
        batch = 0 if held.k is None else held.k.shape[0]
        outside = wanted[(wanted < 0) | (wanted >= batch)]
        if outside.size or held.k is None or held.v is None:
            raise KeyIndexError("rows", outside[0], f"0 <= row < {batch}, the batch of the cache")
        index = torch.from_numpy(wanted).to(held.k.device)
        k, v = (held_part.narrow(2, 0, held.length).index_select(0, index) for held_part in (held.k, held.v))
        padding = None if held.padding is None else held.padding.narrow(1, 0, held.length).index_select(0, index)
        self._held = Held(held.length, k, v, padding)

    def repeat(self, times: int) -> None:
        """Repeat each row of the batch `times` times in a row, as `Tensor.repeat_interleave`: the start of beams.

        Raises:
            InvalidArgumentError: below 1.
            KeyIndexError: a cache without tokens.
            DTypeError: a number that is no integer.
        """
        times = integer("times", times, 1, INT32_MAX)
        batch = 1 if self._held.k is None else self._held.k.shape[0]
        self.reorder([row for row in range(batch) for _ in range(times)])

    def append(self, k: Tensor, v: Tensor, key_padding_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Append tokens and return all of them. A call that raises appends none.

        Args:
            k: (B, Hkv, N, D), the new keys.
            v: (B, Hkv, N, D), the new values.
            key_padding_mask: (B, N) bool, True where a new token is to be ignored, or None.

        Returns:
            Keys (B, Hkv, T, D), values (B, Hkv, T, D) and mask (B, T) or None of all T tokens. Without gradients they
            are views of the cache.

        Raises:
            ShapeError: batch, heads or head size are not those of the tokens before, or shapes do not fit together.
            DTypeError: keys or values are of another dtype than those before, or the mask is not bool.
            InvalidArgumentError: a tensor is on another device than the tokens before.
        """
        held = self.extended(k, v, key_padding_mask)
        self.keep(held)
        return held.tokens()

    def extended(self, k: Tensor, v: Tensor, key_padding_mask: Tensor | None) -> Held:
        """The state with tokens appended, which do not count before `keep`: what a layer attends to in a step.

        A layer keeps the state last, so that a call that raises leaves the cache as it was. One state at a time: the
        next one may write over the tokens of one that was not kept.

        Args:
            k: (B, Hkv, N, D), the new keys.
            v: (B, Hkv, N, D), the new values.
            key_padding_mask: (B, N) bool, True where a new token is to be ignored, or None.

        Raises:
            ShapeError: as for `append`.
            DTypeError: as for `append`.
            InvalidArgumentError: as for `append`.
        """
        held = self._held
        self._check(k, v, key_padding_mask)
        padding = held.padding
        if key_padding_mask is not None or padding is not None:
            if padding is None:
                padding = torch.zeros((k.shape[0], held.length), dtype=torch.bool, device=k.device)
            if key_padding_mask is None:
                key_padding_mask = torch.zeros((k.shape[0], k.shape[2]), dtype=torch.bool, device=k.device)
            padding = self._joined(padding, key_padding_mask, 1)
        return Held(held.length + k.shape[2], self._joined(held.k, k, 2), self._joined(held.v, v, 2), padding)

    def keep(self, held: Held) -> None:
        """Take a state that `extended` gave."""
        self._held = held

    def _check(self, k: Tensor, v: Tensor, key_padding_mask: Tensor | None) -> None:
        held = self._held
        for name, new, before in (("k", k, held.k), ("v", v, held.v)):
            if new.ndim != 4 or new.shape[:3] != k.shape[:3]:
                raise ShapeError(name, tuple(new.shape), "(batch, key heads, length, head size), the first three of k")
            if new.dtype != k.dtype or new.device != k.device:
                raise DTypeError(name, f"{new.dtype} on {new.device}", f"those of k, {k.dtype} on {k.device}")
            if before is None:
                continue
            if before.shape[:2] != new.shape[:2] or before.shape[3] != new.shape[3]:
                (batch, heads, _, size), given = before.shape, f"{tuple(new.shape[:2])} and {new.shape[3]}, as in x"
                raise ShapeError("cache", f"batch and heads {(batch, heads)}, head size {size}", given)
            if before.dtype != new.dtype:
                raise DTypeError("cache", before.dtype, f"{new.dtype}, as in x")
            if before.device != new.device:
                raise InvalidArgumentError("cache", f"device {before.device}", f"{new.device}, as x")
        if key_padding_mask is not None:
            checks.boolean("key_padding_mask", key_padding_mask, (k.shape[0], k.shape[2]))

    def _joined(self, held: Tensor | None, new: Tensor, dim: int) -> Tensor:
        """`held` up to the length, with `new` appended: in place where that loses no gradient."""
        start = self._held.length
        stop = start + new.shape[dim]
        if torch.is_grad_enabled() and (new.requires_grad or (held is not None and held.requires_grad)):
            return new if held is None else torch.cat((held.narrow(dim, 0, start), new), dim)
        if held is None or held.shape[dim] < stop or held.requires_grad or held.is_inference() != new.is_inference():
            room = list(new.shape)
            room[dim] = max(self._capacity, 2 * stop)
            grown = new.new_empty(room)
            if held is not None:
                grown.narrow(dim, 0, start).copy_(held.narrow(dim, 0, start))
            held = grown
        held.narrow(dim, start, stop - start).copy_(new)
        return held
