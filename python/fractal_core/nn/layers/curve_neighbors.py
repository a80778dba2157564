"""Neighbours of points along a space-filling curve, as lists of keys that follow the content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fractal_core import curves
from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CurveNeighbors"]

_CURVES = {"hilbert": curves.hilbert_encode, "morton": curves.morton_encode}


@dataclass(frozen=True)
class CurveNeighbors:
    """For each query: a window of positions, the nearest keys along a space-filling curve, and global tokens.

    The points of the keys are projected on their first principal axes, cut into cubes, `2**bits` along the longest, and
    sorted by the index of their cube on the curve; a query takes the `neighbors` keys around its own. Lists have no
    gradient; the scores over them do. With `causal`, tokens fall into `blocks` stretches, and a query takes neighbours
    among the stretches before its own, whose points alone decide axes, cells and order: nothing later has a part in
    the lists. The window covers what lies nearer.

    Attributes:
        neighbors: keys along the curve, 0 or more.
        window: positions on each side of the query's own, or before it with causal; 0 is its own alone.
        global_tokens: the first so many keys are in every list.
        axes: principal axes, 1 to 6; fewer where points have fewer coordinates.
        bits: cells along the longest axis as a power of 2; axes * bits is at most 60.
        curve: "hilbert" or "morton".
        blocks: stretches of a causal sequence.

    Raises:
        DTypeError: an argument is of another type.
        InvalidArgumentError: a value is out of its range.
    """

    neighbors: int = 16
    window: int = 8
    global_tokens: int = 1
    axes: int = 3
    bits: int = 10
    curve: str = "hilbert"
    blocks: int = 16

    def __post_init__(self) -> None:
        """Check."""
        for name, low, high in (
            ("neighbors", 0, INT32_MAX),
            ("window", 0, INT32_MAX),
            ("global_tokens", 0, INT32_MAX),
            ("axes", 1, 6),
            ("bits", 1, 60),
            ("blocks", 1, INT32_MAX),
        ):
            object.__setattr__(self, name, integer(name, getattr(self, name), low, high))
        if self.axes * self.bits > 60:
            raise InvalidArgumentError("bits", self.bits, f"at most {60 // self.axes} with {self.axes} axes")
        if self.curve not in _CURVES:
            raise InvalidArgumentError("curve", self.curve, '"hilbert" or "morton"')

    def lists(self, e: Tensor, r: Tensor, *, causal: bool = False) -> Tensor:
        """Lists of keys for `force_attention`.

        Args:
            e: (B, G, N, C), points of the queries, finite.
            r: (B, G, N, C), points of the keys, finite.
            causal: no query has a later key.

        Returns:
            (B, G, N, K) int64, each key once, -1 a pad.

        Raises:
            ShapeError: not four dimensions, or shapes that differ.
            DTypeError: no float tensors.
        """
        causal = flag("causal", causal)
        e, r = checks.tensor("e", e), checks.tensor("r", r)
        if e.ndim != 4 or e.shape[3] == 0:
            raise ShapeError("e", tuple(e.shape), "(batch, heads, length, at least 1)")
        checks.shaped("r", r, tuple(e.shape))
        batch, groups, n, _ = e.shape
        queries, places = (x.detach().to(torch.float64).flatten(0, 1).numpy() for x in (e, r))
        near = self._near(n, causal)
        made = [
            _unique(np.concatenate([near, self._along(*pair, causal)], 1)) for pair in zip(queries, places, strict=True)
        ]
        width = near.shape[1] + min(self.neighbors, n)
        lists = np.stack(made) if made else np.zeros((0, n, width), np.int64)
        return torch.from_numpy(lists).reshape(batch, groups, n, width)

    def _near(self, n: int, causal: bool) -> NDArray[np.int64]:
        """The window and the global tokens, (N, width)."""
        places, reach = np.arange(n)[:, None], min(self.window, n)
        window = places + np.arange(-reach, 1 if causal else reach + 1)
        everywhere = np.broadcast_to(np.arange(min(self.global_tokens, n)), (n, min(self.global_tokens, n)))
        keys = np.concatenate([window, everywhere], 1)
        return np.where((keys < 0) | (keys >= n) | (causal & (keys > places)), -1, keys)

    def _along(self, e: NDArray[np.float64], r: NDArray[np.float64], causal: bool) -> NDArray[np.int64]:
        """The neighbours along the curve, (N, neighbors)."""
        n = len(e)
        lists = np.full((n, min(self.neighbors, n)), -1, np.int64)
        size = -(-n // self.blocks) if causal else max(n, 1)
        for first in range(0, n, max(size, 1)):
            keys = r[:first] if causal else r
            some = lists[first : first + size]
            count = min(some.shape[1], len(keys))
            if count == 0:
                continue
            queries, places = self._cells(e[first : first + size], keys)
            order = np.argsort(places, kind="stable")
            at = np.searchsorted(places[order], queries) - count // 2
            some[:, :count] = order[np.clip(at, 0, len(keys) - count)[:, None] + np.arange(count)]
        return lists

    def _cells(self, e: NDArray[np.float64], r: NDArray[np.float64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Where queries and keys lie on the curve; a query outside of the keys' box lies on its border."""
        middle = r.mean(0)
        _, vectors = np.linalg.eigh((r - middle).T @ (r - middle))
        axes = vectors[:, ::-1][:, : self.axes]
        queries, keys = ((x - middle) @ axes for x in (e, r))
        low, high = keys.min(0), keys.max(0)
        # Cells are cubes: an axis along which keys differ little must not part them.
        cells, side = 2**self.bits, float((high - low).max()) or 1.0
        encode = _CURVES[self.curve]
        return tuple(  # pyright: ignore[reportReturnType]
            np.asarray(encode(np.clip((x - low) / side * cells, 0, cells - 1).astype(np.int64), self.bits))
            for x in (queries, keys)
        )


def _unique(lists: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row sorted, with -1 in the place of repeats."""
    lists = np.sort(lists, 1)
    lists[:, 1:][lists[:, 1:] == lists[:, :-1]] = -1
    return lists
