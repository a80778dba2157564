"""Dimensions of attention that grows by a row with every token: the same numbers as from the whole matrix.

Of each scale only the boxes of the unfinished row of boxes are kept, and the sums over those that are finished: a new
row of N keys costs O(N) for each scale and keeps O(N / s).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import numpy as np

from fractal_core import _native
from fractal_core._arguments import INT32_MAX, flag, integer, real, vector
from fractal_core.dimension import RowStatistics, Slope, row_statistics
from fractal_core.dimension.given import SMALLEST, orders
from fractal_core.dimension.measures import EMPTY
from fractal_core.dimension.slope import fitted, logs
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_RULES = ("mass", "uniform", "above")
_FIELDS = tuple(RowStatistics.__dataclass_fields__)


@dataclass
class _Boxes:
    """The boxes of one scale: those of the unfinished row of boxes, and sums over the finished ones."""

    side: int
    open: npt.NDArray[np.float64]
    """(H, boxes)."""
    sums: npt.NDArray[np.float64]
    """(H, Q), of `m^q`, or of `m ln m` for q = 1, over finished boxes."""
    filled: npt.NDArray[np.int64]
    """(H,), finished boxes that are not empty."""


class _Counter:
    """Boxes at every scale, of rows that come one after the other."""

    def __init__(self, heads: int, sides: list[int], q: list[float]) -> None:
        self.q = q
        self.boxes = [
            _Boxes(s, np.zeros((heads, 0)), np.zeros((heads, len(q))), np.zeros(heads, np.int64)) for s in sides
        ]

    def add(self, rows: npt.NDArray[np.float64], first: int) -> None:
        """Rows (H, R, M), the first of which is query `first`."""
        base = 1
        for boxes in self.boxes:
            rows = _columns(rows, boxes.side // base)
            base = boxes.side
            self._rows(boxes, rows, first)

    def _rows(self, boxes: _Boxes, rows: npt.NDArray[np.float64], first: int) -> None:
        heads, count, width = rows.shape
        starts = [0, *(i for i in range(1, count) if (first + i) % boxes.side == 0)]
        summed = np.add.reduceat(rows, starts, axis=1)
        if first % boxes.side == 0:
            self._close(boxes)
        for place in range(len(starts)):
            if place:
                self._close(boxes)
            grown = np.zeros((heads, max(width, boxes.open.shape[1])))
            grown[:, : boxes.open.shape[1]] = boxes.open
            grown[:, :width] += summed[:, place]
            boxes.open = grown

    def _close(self, boxes: _Boxes) -> None:
        boxes.sums += self._powers(boxes.open)
        boxes.filled += (boxes.open > 0).sum(axis=1)
        boxes.open = boxes.open[:, :0]

    def _powers(self, mass: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        found = np.zeros((len(mass), len(self.q)))
        there = mass > 0
        safe = np.where(there, mass, 1.0)
        for i, q in enumerate(self.q):
            found[:, i] = np.where(there, safe * np.log(safe) if q == 1 else safe**q, 0.0).sum(axis=1)
        return found

    def counts(self, scales: int) -> npt.NDArray[np.float64]:
        """Boxes that are not empty, (H, scales)."""
        each = [boxes.filled + (boxes.open > 0).sum(axis=1) for boxes in self.boxes[:scales]]
        return np.stack(each, axis=-1).astype(np.float64)

    def moments(self, scales: int) -> npt.NDArray[np.float64]:
        """Sums over all boxes, (H, Q, scales)."""
        return np.stack([boxes.sums + self._powers(boxes.open) for boxes in self.boxes[:scales]], axis=-1)


def _columns(rows: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    if side == 1:
        return rows
    missing = -rows.shape[-1] % side
    padded = np.pad(rows, [(0, 0), (0, 0), (0, missing)]) if missing else rows
    return padded.reshape(*rows.shape[:-1], -1, side).sum(axis=-1)


class DimensionStream:
    """Box and generalised dimensions, and row statistics, of H heads whose attention grows row by row.

    Args:
        heads: H.
        q: Orders of the generalised dimensions, 0 or more.
        support: "causal" or ("causal_window", r).
        foreground: Which weights the box dimension counts: ("mass", p), ("uniform", c), ("above", t) or t; a rule of
            the whole matrix cannot be told row by row.
        base: Scales are its powers, 2 or more.
        longest: Most rows; scales go up to a quarter of it.
        settings: Of `row_statistics`: top_p, top_k, below, sinks, local.

    Raises:
        InvalidArgumentError: An argument is outside of its range.
        DTypeError: An argument has no fitting type.
    """

    def __init__(
        self,
        heads: SupportsIndex,
        *,
        q: float | Sequence[float] = (1.0, 2.0),
        support: str | tuple[str, int] = "causal",
        foreground: float | tuple[str, float] = ("mass", 0.9),
        base: SupportsIndex = 2,
        longest: SupportsIndex = 1 << 16,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.heads = integer("heads", heads, 1, INT32_MAX)
        self.q, _ = orders("q", q)
        if any(order < 0 for order in self.q):
            raise InvalidArgumentError("q", self.q, "0 or more")
        self.longest = integer("longest", longest, 1, INT32_MAX)
        self.radius = _radius(support)
        self.support = support
        self.rule, self.number = _rule(foreground)
        side, sides = 1, list[int]()
        step = integer("base", base, 2, INT32_MAX)
        while side <= max(self.longest // 4, 1):
            sides.append(side)
            side *= step
        self.length = 0
        self._mass = _Counter(self.heads, sides, self.q)
        self._even = _Counter(1, sides, self.q)
        self._set = _Counter(self.heads, sides, [])
        self._cells = _Counter(1, sides, [])
        self._total = np.zeros(self.heads)
        self._even_total = 0.0
        self._settings = dict(settings or {})
        self._statistics: list[tuple[npt.NDArray[np.float64], ...]] = []
        self._ids: list[int] = []

    @property
    def scales(self) -> tuple[int, ...]:
        """Sides of boxes that count at this length: up to a quarter of it."""
        return tuple(boxes.side for boxes in self._mass.boxes if boxes.side <= max(self.length // 4, 1))

    def push(self, rows: npt.ArrayLike, *, ids: npt.ArrayLike | None = None) -> None:
        """Takes the next row or rows.

        Args:
            rows: Shape (H, M) for one, or (H, R, M); the last row is that of the last key. M is the new length, or less
                where a cache has let the first keys go.
            ids: The tokens of the new keys, (R,), for induction; at every call or at none.

        Raises:
            ShapeError: Other heads, or more keys than rows so far.
            InvalidArgumentError: A weight is negative, not finite or outside of the support, or the stream is longer
                than `longest`.
            DTypeError: The weights are no numbers.
        """
        given = self._given(rows)
        count, first = given.shape[1], self.length
        length = first + count
        numbers = None if ids is None else vector("ids", ids)
        changed = first > 0 and (numbers is None) == bool(self._ids)
        if changed or (numbers is not None and len(numbers) != count):
            raise ShapeError("ids", None if numbers is None else numbers.shape, f"({count},) at every call, or None")
        queries: npt.NDArray[Any] = np.arange(first, length, dtype=np.int64)[:, None]
        keys: npt.NDArray[Any] = np.arange(length, dtype=np.int64)
        cells: npt.NDArray[np.bool_] = (keys <= queries) & (keys >= queries - self.radius)
        listed = ("listed", 0, cells[None])
        marked = _native.foreground(given, listed, self.rule, self.number)
        all_ids = None if numbers is None else np.array([*self._ids, *numbers.tolist()])
        statistics = row_statistics(given, cells, tokens=all_ids, **self._settings)
        # Nothing is changed before everything is known to be right.
        self._statistics.append(tuple(getattr(statistics, name) for name in _FIELDS))
        if numbers is not None:
            self._ids += numbers.tolist()
        wide = given.astype(np.float64)
        self._mass.add(wide, first)
        self._set.add(marked.astype(np.float64), first)
        there: npt.NDArray[np.float64] = cells.astype(np.float64)[None]
        self._cells.add(there, first)
        even = there / there.sum(axis=-1, keepdims=True)
        self._even.add(even, first)
        self._even_total += float(even.sum())
        self._total += wide.sum(axis=(1, 2))
        self.length = length

    def _given(self, rows: npt.ArrayLike) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.asarray(rows)
        if array.dtype.kind not in "iuf":
            raise DTypeError("rows", array.dtype, "a real dtype")
        array = array[:, None] if array.ndim == 2 else array
        if array.ndim != 3 or array.shape[0] != self.heads or 0 in array.shape:
            raise ShapeError("rows", np.shape(rows), f"({self.heads}, M) or ({self.heads}, R, M)")
        length = self.length + array.shape[1]
        if length > self.longest:
            raise InvalidArgumentError("rows", f"{length} rows in all", f"at most longest = {self.longest}")
        gone = length - array.shape[2]
        if gone < 0 or (gone and gone > max(length - 1 - self.radius, 0)):
            raise ShapeError("rows", np.shape(rows), f"{length} keys, or those that the support has")
        array = np.pad(array, [(0, 0), (0, 0), (gone, 0)]) if gone else array
        return np.ascontiguousarray(array, dtype=np.float64 if array.dtype == np.float64 else np.float32)

    def renyi_dimension(self, q: float = 1.0, *, force: bool = False) -> Slope:
        """`fractal_core.dimension.renyi_dimension` of the matrix so far, with these scales, (H,).

        Raises:
            InvalidArgumentError: An order that is not followed, or no row so far.
        """
        order = real("q", q)
        if order not in self.q:
            raise InvalidArgumentError("q", q, ", ".join(map(str, self.q)))
        i, used = self.q.index(order), self._used()
        log_y = _renyi(self._mass.moments(used)[:, i], self._total, order)
        rows = np.array([self._even_total])
        base_y = _renyi(self._even.moments(used)[:, i], rows, order)
        uniform = fitted("", "", self.scales, base_y, base_y, lead=(1,)).value
        counts = self._mass.counts(used)
        return fitted(
            "Renyi",
            str(self.support),
            self.scales,
            log_y,
            counts,
            lead=(self.heads,),
            flags={EMPTY: self._total == 0},
            small=self.length < SMALLEST and not flag("force", force),
            baseline=np.broadcast_to(uniform, self.heads),
        )

    def box_dimension(self, *, force: bool = False) -> Slope:
        """`fractal_core.dimension.box_dimension` of the matrix so far, relative to its support, (H,).

        Raises:
            InvalidArgumentError: The set of a head is empty so far.
        """
        used = self._used()
        counted = self._set.counts(used)
        empty = np.flatnonzero(counted[:, 0] == 0)
        if empty.size:
            raise InvalidArgumentError("foreground", f"an empty set in head {empty[0]}", "at least one cell")
        return fitted(
            "box, relative to the support",
            str(self.support),
            self.scales,
            -logs(counted / self._cells.counts(used)),
            counted,
            lead=(self.heads,),
            offset=2.0,
            small=self.length < SMALLEST and not flag("force", force),
        )

    def row_statistics(self) -> RowStatistics:
        """The statistics of every row so far, (H, N).

        Raises:
            InvalidArgumentError: There is no row so far.
        """
        self._used()
        each = zip(*self._statistics, strict=True)
        return RowStatistics(**{n: np.concatenate(v, axis=-1) for n, v in zip(_FIELDS, each, strict=True)})

    def _used(self) -> int:
        if not self.length:
            raise InvalidArgumentError("rows", "none so far", "at least one push")
        return len(self.scales)


def _renyi(sums: npt.NDArray[np.float64], total: npt.NDArray[np.float64], q: float) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = total[:, None]
        return sums / t - np.log(t) if q == 1 else (logs(sums) - q * np.log(t)) / (q - 1)


def _radius(support: object) -> int:
    if support == "causal":
        return INT32_MAX
    pair = cast("tuple[Any, ...]", support)
    if isinstance(support, tuple) and len(pair) == 2 and pair[0] == "causal_window":
        return integer("support", pair[1], 0, INT32_MAX)
    raise InvalidArgumentError("support", repr(pair), '"causal" or ("causal_window", r)')


def _rule(foreground: object) -> tuple[str, float]:
    if isinstance(foreground, tuple):
        pair = cast("tuple[Any, ...]", foreground)
        if len(pair) == 2 and pair[0] in _RULES:
            return pair[0], real("foreground", pair[1])
        raise InvalidArgumentError("foreground", repr(pair), f"a number, or one of {', '.join(_RULES)} with a number")
    return "above", real("foreground", foreground)
