"""Index sets that differ by batch entry or by head: which one each takes, equal ones held once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from fractal_core.index_sets.set import IndexSet

__all__ = ["IndexSetStack", "stack"]


class IndexSetStack:
    """Index sets by batch entry and head, all over as many queries and keys.

    Attributes:
        sets: the sets that differ, in order of first use.
        which: (B|1, H|1) int64, read-only: the place in `sets` of each batch entry's and head's set.
        handles: (B|1, H|1) int64: the key of each entry's set for the attention ops. The array keeps the sets alive.
    """

    sets: tuple[IndexSet, ...]
    which: npt.NDArray[np.int64]
    handles: npt.NDArray[np.int64]

    def __init__(self, sets: Sequence[IndexSet], which: npt.NDArray[np.int64]) -> None:
        """Keep sets and who takes which; `IndexSet.stack` checks and joins equal ones."""
        self.sets = tuple(sets)
        self.which = which.copy()
        self.which.flags.writeable = False
        keys = np.array([int(index_set.handle[0]) for index_set in self.sets], np.int64)[which]
        self.handles = np.asarray(_Held(keys, self.sets))

    @property
    def shape(self) -> tuple[int, int]:
        """(B|1, H|1)."""
        return self.which.shape[0], self.which.shape[1]

    @property
    def n_queries(self) -> int:
        """Nq, of every set."""
        return self.sets[0].n_queries

    @property
    def n_keys(self) -> int:
        """Nk, of every set."""
        return self.sets[0].n_keys

    @property
    def nnz(self) -> int:
        """Edges of all entries of the stack."""
        return sum(index_set.nnz for index_set in self)

    def __getitem__(self, at: tuple[int, int]) -> IndexSet:
        """The set of a batch entry and a head.

        Raises:
            KeyIndexError: there is no such entry.
        """
        try:
            return self.sets[int(self.which[at])]
        except (IndexError, TypeError, ValueError):
            raise KeyIndexError("at", repr(at), f"(entry, head) of a stack of shape {self.shape}") from None

    def __iter__(self) -> Iterator[IndexSet]:
        """The set of every head of the first entry, then of the next."""
        return (self.sets[at] for at in cast("list[int]", self.which.ravel().tolist()))

    def rows(self, start: int, stop: int) -> IndexSetStack:
        """The rows start..stop of every set."""
        return IndexSetStack([index_set.rows(start, stop) for index_set in self.sets], self.which)

    def to_mask(self) -> npt.NDArray[np.bool_]:
        """(B|1, H|1, Nq, Nk) bool."""
        return np.stack([index_set.to_mask() for index_set in self.sets])[self.which]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IndexSetStack):
            return NotImplemented
        return self.shape == other.shape and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    # It never changes, so a copy in this process is the stack itself; a pickle holds its sets.

    def __copy__(self) -> IndexSetStack:
        return self

    def __deepcopy__(self, memo: object) -> IndexSetStack:
        return self

    def __reduce__(self) -> tuple[type[IndexSetStack], tuple[tuple[IndexSet, ...], npt.NDArray[np.int64]]]:
        return IndexSetStack, (self.sets, self.which)

    def __repr__(self) -> str:
        return (
            f"IndexSetStack(shape={self.shape}, sets={len(self.sets)}, n_queries={self.n_queries}, "
            f"n_keys={self.n_keys}, nnz={self.nnz})"
        )


class _Held:
    """Numbers whose array holds on to something."""

    def __init__(self, numbers: npt.NDArray[np.int64], kept: object) -> None:
        self._numbers = numbers
        self._kept = kept

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return dict(self._numbers.__array_interface__)


def stack(sets: Sequence[IndexSet] | Sequence[Sequence[IndexSet]], kind: type[IndexSet]) -> IndexSetStack:
    """Stack sets of a kind by head, or by batch entry and head: see `IndexSet.stack`."""
    given: Any = sets
    if not isinstance(given, (list, tuple)) or not given:
        raise DTypeError(
            "sets", type(cast("object", sets)).__name__, "a list of index sets, or a list of such lists, not empty"
        )
    entries: list[list[Any]] = []
    nested = isinstance(given[0], (list, tuple))
    for entry in cast("list[Any]", given if nested else [given]):
        if not isinstance(entry, (list, tuple)) or not entry:
            raise DTypeError(
                "sets", type(cast("object", entry)).__name__, "for each batch entry a list of index sets, not empty"
            )
        entries.append(list(cast("list[Any]", entry)))
    if len({len(entry) for entry in entries}) > 1:
        raise ShapeError("sets", f"rows of {[len(entry) for entry in entries]}", "as many heads in every entry")
    found: list[IndexSet] = []
    which = np.zeros((len(entries), len(entries[0])), np.int64)
    for b, entry in enumerate(entries):
        for h, index_set in enumerate(entry):
            if not isinstance(index_set, kind):
                raise DTypeError("sets", type(index_set).__name__, "index sets")
            if found and index_set.shape != found[0].shape:
                given = f"{index_set.shape} beside {found[0].shape}"
                raise InvalidArgumentError("sets", given, "sets of as many queries and keys")
            which[b, h] = _place(found, index_set)
    return IndexSetStack(found, which)


def _place(found: list[IndexSet], index_set: IndexSet) -> int:
    """The place of an equal set, which is put there if there is none."""
    for place, other in enumerate(found):
        if other is index_set or (other.nnz == index_set.nnz and other == index_set):
            return place
    found.append(index_set)
    return len(found) - 1
