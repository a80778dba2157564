"""What `IndexSet.from_*` do: arguments checked, then one call of the extension.

Letters: Nq queries, Nk keys, E edges (query, key), K keys in a row, R runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core import _native
from fractal_core._arguments import INT32_MAX, flag, integer, pair, signed, vector
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "from_blocks",
    "from_csr",
    "from_mask",
    "from_offsets",
    "from_padded",
    "from_runs",
    "from_segments",
    "with_order",
]


def from_csr(indptr: npt.ArrayLike, indices: npt.ArrayLike, n_keys: int) -> _native.IndexSet:
    """See `IndexSet.from_csr`."""
    starts = _row_starts(indptr)
    keys = vector("indices", indices)
    n_keys = integer("n_keys", n_keys, 0, INT32_MAX)
    if keys.dtype != np.int32:
        outside = (keys < 0) | (keys >= n_keys)
        if outside.any():
            raise KeyIndexError("indices", f"key {keys[outside][0]}", f"0 <= key < n_keys = {n_keys}")
    return _native.IndexSet.from_csr(starts, keys.astype(np.int32, copy=False), n_keys)


def from_offsets(offsets: npt.ArrayLike, n: int, n_keys: int | None, q_offset: int | None) -> _native.IndexSet:
    """See `IndexSet.from_offsets`."""
    n = integer("n", n, 0, INT32_MAX)
    n_keys = n if n_keys is None else integer("n_keys", n_keys, 0, INT32_MAX)
    q_offset = n_keys - n if q_offset is None else integer("q_offset", q_offset, -(2**40), 2**40)
    return _native.IndexSet.from_offsets(vector("offsets", offsets), n, n_keys, q_offset)


def from_mask(mask: npt.ArrayLike) -> _native.IndexSet:
    """See `IndexSet.from_mask`."""
    return _native.IndexSet.from_mask(_bool_matrix(mask))


def from_padded(indices: npt.ArrayLike, n_keys: int) -> _native.IndexSet:
    """See `IndexSet.from_padded`."""
    array = signed("indices", indices)
    _check_matrix("indices", array)
    return _native.IndexSet.from_padded(array, integer("n_keys", n_keys, 0, INT32_MAX))


def from_runs(indptr: npt.ArrayLike, starts: npt.ArrayLike, lengths: npt.ArrayLike, n_keys: int) -> _native.IndexSet:
    """See `IndexSet.from_runs`."""
    rows = _row_starts(indptr)
    n_keys = integer("n_keys", n_keys, 0, INT32_MAX)
    return _native.IndexSet.from_runs(rows, vector("starts", starts), vector("lengths", lengths), n_keys)


def from_segments(
    cu_seqlens_q: npt.ArrayLike,
    cu_seqlens_k: npt.ArrayLike | None,
    causal: bool,
    window: int | tuple[int, int] | None,
    align: str,
) -> _native.IndexSet:
    """See `IndexSet.from_segments`."""
    queries = vector("cu_seqlens_q", cu_seqlens_q)
    keys = queries if cu_seqlens_k is None else vector("cu_seqlens_k", cu_seqlens_k)
    if align not in {"lower_right", "upper_left"}:
        raise InvalidArgumentError("align", repr(align), '"lower_right" or "upper_left"')
    sides = None if window is None else _sides(window)
    causal = flag("causal", causal)
    if queries.shape == keys.shape and queries.size and not (queries.any() and keys.any()):
        return _without_tokens(queries, keys)
    return _native.IndexSet.from_segments(queries, keys, causal, sides, align == "upper_left")


def _sides(window: object) -> tuple[int, int]:
    """Keys before and after a place."""
    given: list[Any] = list(cast("Any", window)) if isinstance(window, (tuple, list)) else [window, window]
    if len(given) != 2:
        raise ShapeError("window", tuple(given), "a number of keys, or (before, after)")
    before, after = (integer("window", side, 0, INT32_MAX) for side in given)
    return before, after


def _without_tokens(queries: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]) -> _native.IndexSet:
    """Segments of which all queries or all keys are 0 in number."""
    for name, ends in (("cu_seqlens_q", queries), ("cu_seqlens_k", keys)):
        if ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] > INT32_MAX:
            raise InvalidArgumentError(name, ends, "from 0, not decreasing, to at most 2^31 - 1")
    none = np.zeros(0, dtype=np.int64)
    return _native.IndexSet.from_runs(np.zeros(int(queries[-1]) + 1, dtype=np.int64), none, none, int(keys[-1]))


def from_blocks(
    mask: npt.ArrayLike, block_size: int | tuple[int, int], n_queries: int | None, n_keys: int | None
) -> _native.IndexSet:
    """See `IndexSet.from_blocks`."""
    array = _bool_matrix(mask)
    size = pair("block_size", block_size, INT32_MAX)
    whole = (array.shape[0] * size[0], array.shape[1] * size[1])
    n_queries = integer("n_queries", whole[0] if n_queries is None else n_queries, 0, INT32_MAX)
    n_keys = integer("n_keys", whole[1] if n_keys is None else n_keys, 0, INT32_MAX)
    needed = (-(-n_queries // size[0]), -(-n_keys // size[1]))
    if array.shape != needed:
        allowed = f"{needed}, blocks of {size} for {n_queries} queries and {n_keys} keys"
        raise ShapeError("mask", array.shape, allowed)
    starts = np.concatenate([[0], array.sum(axis=1).cumsum()])
    columns = np.nonzero(array)[1]
    full, none = np.ones(columns.size, dtype=bool), np.zeros((0, 1, 1), dtype=bool)
    return _native.IndexSet.from_blocks(size, starts, columns, full, none, (n_queries, n_keys))


def with_order(native: _native.IndexSet, order: npt.ArrayLike) -> _native.IndexSet:
    """See `IndexSet.with_order`."""
    array = vector("order", order)
    if array.size and (array.min() < 0 or array.max() >= native.n_queries):
        bad = array.max() if array.max() >= native.n_queries else array.min()
        raise KeyIndexError("order", f"query {bad}", f"0 <= query < n_queries = {native.n_queries}")
    return native.with_order(array.astype(np.uint32))


def _row_starts(indptr: npt.ArrayLike) -> npt.NDArray[np.int64]:
    starts = vector("indptr", indptr)
    if starts.size < 1:
        raise ShapeError("indptr", f"{starts.size} entries", "n_queries + 1 of them")
    return starts


def _bool_matrix(mask: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    array: npt.NDArray[Any] = np.asarray(mask)
    if array.dtype != np.bool_:
        raise DTypeError("mask", array.dtype, "bool")
    _check_matrix("mask", array)
    return array


def _check_matrix(argument: str, array: npt.NDArray[Any]) -> None:
    if array.ndim != 2:
        raise ShapeError(argument, array.shape, "two dimensions, rows by columns")
