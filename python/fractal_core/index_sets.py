"""Which keys each query attends to: the one currency of the package.

Letters: Nq queries, Nk keys, E edges (query, key), K keys in a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core import _native
from fractal_core._arguments import integer, integers
from fractal_core._reports import Reach, Report
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor
    from torch.nn.attention.flex_attention import BlockMask

__all__ = ["IndexSet"]

_MAX = 2**31 - 1
_REPORT_WORDS = 2**28
"""Words of 64 keys that a report's reach may touch a layer: a fraction of a second."""


class IndexSet:
    """Sorted unique keys for each query, listed or given by offsets that all queries share.

    Make one with `from_csr`, `from_offsets`, `from_mask` or `from_padded`, or take it from a pattern. It never changes.
    Two of them are equal where their rows are; `|` and `&` join and cut them row by row.
    """

    __slots__ = ("__weakref__", "_native")

    def __init__(self, native: _native.IndexSet) -> None:
        if not isinstance(native, _native.IndexSet):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("native", type(native).__name__, "an IndexSet of the extension; see the from_ methods")
        self._native = native

    # --- made from -----------------------------------------------------------------------------------------------

    @classmethod
    def from_csr(cls, indptr: npt.ArrayLike, indices: npt.ArrayLike, n_keys: int) -> IndexSet:
        """Listed rows.

        Args:
            indptr: (Nq + 1,) integers, not decreasing, from 0 to E: row i is `indices[indptr[i]:indptr[i + 1]]`.
            indices: (E,) integers in 0 .. n_keys - 1, strictly increasing within a row.
            n_keys: Nk, 1 to 2^31 - 1.

        Raises:
            InvalidArgumentError: row starts that decrease, rows that are unsorted or repeat a key.
            KeyIndexError: a key outside of 0 .. n_keys - 1.
            ShapeError: arrays that are not one-dimensional, or whose lengths do not fit together.
            DTypeError: arrays that hold no integers.
        """
        starts = _vector("indptr", indptr)
        if starts.size < 2:
            raise ShapeError("indptr", f"{starts.size} entries", "n_queries + 1 of them, at least 2")
        keys = _vector("indices", indices)
        n_keys = integer("n_keys", n_keys, 1, _MAX)
        if keys.dtype != np.int32:
            outside = (keys < 0) | (keys >= n_keys)
            if outside.any():
                raise KeyIndexError("indices", f"key {keys[outside][0]}", f"0 <= key < n_keys = {n_keys}")
        return cls(_native.IndexSet.from_csr(starts, keys.astype(np.int32, copy=False), n_keys))

    @classmethod
    def from_offsets(
        cls,
        offsets: npt.ArrayLike,
        n: int,
        n_keys: int | None = None,
        q_offset: int | None = None,
    ) -> IndexSet:
        """The same offsets at every query: key = query + q_offset - offset, left out where it is no key.

        Args:
            offsets: (K,) integers, each once; a positive one looks back.
            n: Nq, at least 1.
            n_keys: Nk; as many as queries unless said.
            q_offset: position of query 0 among the keys; n_keys - n unless said, so that the last query is at the
                last key.

        Raises:
            InvalidArgumentError: a repeated offset, or a length out of range.
            ShapeError: offsets that are not one-dimensional.
            DTypeError: offsets that are no integers.
        """
        n = integer("n", n, 1, _MAX)
        n_keys = n if n_keys is None else integer("n_keys", n_keys, 1, _MAX)
        q_offset = n_keys - n if q_offset is None else integer("q_offset", q_offset, -(2**40), 2**40)
        return cls(_native.IndexSet.from_offsets(_vector("offsets", offsets), n, n_keys, q_offset))

    @classmethod
    def from_mask(cls, mask: npt.ArrayLike) -> IndexSet:
        """The true entries of a dense mask.

        Args:
            mask: (Nq, Nk) bool, True where the query attends to the key.

        Raises:
            ShapeError: a mask that is not a matrix, or is empty.
            DTypeError: a mask that is not bool.
        """
        array: npt.NDArray[Any] = np.asarray(mask)
        if array.dtype != np.bool_:
            raise DTypeError("mask", array.dtype, "bool")
        _matrix("mask", array)
        return cls(_native.IndexSet.from_mask(array))

    @classmethod
    def from_padded(cls, indices: npt.ArrayLike, n_keys: int) -> IndexSet:
        """Rows of equal width, filled up with -1.

        Args:
            indices: (Nq, K) integers in -1 .. n_keys - 1, in any order, each key once in a row; -1 is a pad.
            n_keys: Nk, 1 to 2^31 - 1.

        Raises:
            KeyIndexError: an entry outside of -1 .. n_keys - 1.
            InvalidArgumentError: a key twice in one row.
            ShapeError: lists that are not a matrix, or are empty.
            DTypeError: lists that hold no integers.
        """
        array = integers("indices", indices)
        _matrix("indices", array)
        if array.dtype != np.int64:
            array = array.astype(np.int64)
        return cls(_native.IndexSet.from_padded(array, integer("n_keys", n_keys, 1, _MAX)))

    # --- what it is ----------------------------------------------------------------------------------------------

    @property
    def n_queries(self) -> int:
        """Nq, the number of rows."""
        return self._native.n_queries

    @property
    def n_keys(self) -> int:
        """Nk, the number of columns."""
        return self._native.n_keys

    @property
    def shape(self) -> tuple[int, int]:
        """(Nq, Nk)."""
        return self.n_queries, self.n_keys

    @property
    def nnz(self) -> int:
        """E, the number of edges (query, key)."""
        return self._native.nnz

    @property
    def q_offset(self) -> int:
        """Position of query 0 among the keys: as given to `from_offsets`, else n_keys - n_queries."""
        return self._native.q_offset

    @property
    def offsets(self) -> npt.NDArray[np.int64] | None:
        """(K,) int64, increasing, read-only: the offsets of every query, or None where rows are listed."""
        return self._native.offsets

    @property
    def indptr(self) -> npt.NDArray[np.int64]:
        """(Nq + 1,) int64: where each row starts in `indices`. A read-only view; offsets are written out once."""
        return self._native.indptr

    @property
    def indices(self) -> npt.NDArray[np.int32]:
        """(E,) int32 in 0 .. Nk - 1: the keys, increasing within a row. A read-only view, as `indptr`."""
        return self._native.indices

    @property
    def order(self) -> npt.NDArray[np.uint32] | None:
        """(Nq,) uint32, read-only: the order in which queries are cut into tiles, or None where consecutive."""
        return self._native.order

    @property
    def handle(self) -> npt.NDArray[np.int64]:
        """(1,) int64: this set's key for the attention ops. The array keeps the set alive."""
        return self._native.handle

    @property
    def is_causal(self) -> bool:
        """Whether no key lies after its query's own position, query + q_offset."""
        return self._native.is_causal()

    # --- written another way -------------------------------------------------------------------------------------

    def to_mask(self) -> npt.NDArray[np.bool_]:
        """(Nq, Nk) bool: the dense mask, the oracle of every kernel."""
        return self._native.to_mask()

    def to_padded(self) -> npt.NDArray[np.int32]:
        """(Nq, K) int32: rows filled up with -1 to the longest."""
        return self._native.to_padded()

    def to_block_mask(self, block_size: int = 128, device: str = "cpu") -> BlockMask:
        """The same set for `torch.nn.attention.flex_attention`. Needs torch; the dense mask goes to `device`.

        Args:
            block_size: side of a block in queries and keys.
            device: where FlexAttention is to run.
        """
        import torch
        from torch.nn.attention import flex_attention

        size = integer("block_size", block_size, 1, _MAX)
        mask = torch.from_numpy(self.to_mask()).to(device)
        last_query, last_key = self.n_queries - 1, self.n_keys - 1

        def attends(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            inside = (query <= last_query) & (key <= last_key)
            return mask[query.clamp(max=last_query), key.clamp(max=last_key)] & inside

        return flex_attention.create_block_mask(
            attends, None, None, self.n_queries, self.n_keys, device=device, BLOCK_SIZE=size
        )

    # --- what it costs and reaches --------------------------------------------------------------------------------

    def reach(self, layers: int = 64) -> Reach:
        """How much of the sequence up to `layers` stacked layers connect.

        Offsets take O(n K) bit operations a layer, listed rows O(E n).

        Args:
            layers: where to stop, at least 1.

        Raises:
            ShapeError: a set with more keys than queries or the other way round: it cannot be stacked.
        """
        layers = integer("layers", layers, 1, _MAX)
        causal, full, shares = self._native.reach(layers, 2**64 - 1) or (False, None, ())
        return Reach(causal, full, tuple(float(share) for share in shares))

    def report(self, layers: int = 64) -> Report:
        """Keys per query, how the plan runs them, and the reach.

        The reach is left out where queries and keys differ in number, or where it takes more than some seconds;
        `reach` always counts it.

        Args:
            layers: where to stop counting the reach, at least 1.
        """
        layers = integer("layers", layers, 1, _MAX)
        fewest, most = self._native.degrees()
        square = self.n_queries == self.n_keys
        reached = self._native.reach(layers, _REPORT_WORDS) if square else None
        plan = self._native.plan_report()
        edges, lanes = self.nnz, plan["tile_lanes"]
        return Report(
            n_queries=self.n_queries,
            n_keys=self.n_keys,
            edges=edges,
            keys_mean=edges / self.n_queries,
            keys_min=fewest,
            keys_max=most,
            tiles=plan["tiles"],
            tile_share=plan["tile_edges"] / max(edges, 1),
            tile_fill=plan["tile_edges"] / lanes if lanes else None,
            lanes_per_edge=(lanes + plan["row_edges"]) / edges if edges else None,
            index_bytes=plan["index_bytes"],
            layers=reached[1] if reached else None,
            reach=float(reached[2][-1]) if reached else None,
            prefix_stable=True if self.offsets is not None else None,
        )

    # --- made into another ---------------------------------------------------------------------------------------

    def transpose(self) -> IndexSet:
        """Keys as queries and queries as keys."""
        return IndexSet(self._native.transpose())

    def causal(self, q_offset: int | None = None) -> IndexSet:
        """Only the keys at or before each query's own position.

        Args:
            q_offset: position of query 0 among the keys; the set's own unless said.
        """
        if q_offset is not None:
            q_offset = integer("q_offset", q_offset, -(2**40), 2**40)
        return IndexSet(self._native.causal(q_offset))

    def rows(self, start: int, stop: int) -> IndexSet:
        """Queries start .. stop - 1 over the same keys.

        Raises:
            KeyIndexError: a range outside of 0 .. n_queries.
        """
        first, last = integer("start", start, 0, _MAX), integer("stop", stop, 0, _MAX)
        return IndexSet(self._native.rows(first, last))

    def prefix(self, n_queries: int, n_keys: int | None = None) -> IndexSet:
        """The first queries over the first keys: what a prefix-stable pattern gives at that length.

        Args:
            n_queries: how many queries stay.
            n_keys: how many keys stay; as many as queries unless said.

        Raises:
            KeyIndexError: more than there are.
        """
        n_queries = integer("n_queries", n_queries, 1, _MAX)
        n_keys = n_queries if n_keys is None else integer("n_keys", n_keys, 1, _MAX)
        return IndexSet(self._native.prefix(n_queries, n_keys))

    def with_order(self, order: npt.ArrayLike | Sequence[int]) -> IndexSet:
        """The same set whose queries are cut into tiles along `order`; results do not depend on it, speed does.

        Args:
            order: (Nq,) integers, a permutation of 0 .. Nq - 1.

        Raises:
            ShapeError, KeyIndexError, InvalidArgumentError: an order that is no permutation.
        """
        array = _vector("order", order)
        if array.size and (array.min() < 0 or array.max() >= self.n_queries):
            bad = array.max() if array.max() >= self.n_queries else array.min()
            raise KeyIndexError("order", f"query {bad}", f"0 <= query < n_queries = {self.n_queries}")
        return IndexSet(self._native.with_order(array.astype(np.uint32)))

    def __or__(self, other: IndexSet) -> IndexSet:
        """Keys of either set."""
        _check_other(self, other)
        return IndexSet(self._native.union(other._native))

    def __and__(self, other: IndexSet) -> IndexSet:
        """Keys of both sets."""
        _check_other(self, other)
        return IndexSet(self._native.intersection(other._native))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IndexSet):
            return NotImplemented
        return (
            self.shape == other.shape
            and self.nnz == other.nnz
            and bool(np.array_equal(self.indptr, other.indptr))
            and bool(np.array_equal(self.indices, other.indices))
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        kind = "listed" if self.offsets is None else f"{self.offsets.size} offsets"
        return f"IndexSet(n_queries={self.n_queries}, n_keys={self.n_keys}, nnz={self.nnz}, {kind})"


def _vector(argument: str, value: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = integers(argument, value)
    if array.ndim != 1:
        raise ShapeError(argument, array.shape, "one dimension")
    if array.dtype == np.uint64:
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise InvalidArgumentError(argument, array.max(), "values that fit into int64")
        array = array.astype(np.int64)
    return array


def _matrix(argument: str, array: npt.NDArray[Any]) -> None:
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(argument, array.shape, "two dimensions, n_queries by n_keys or keys in a row, none of them 0")


def _check_other(one: IndexSet, other: IndexSet) -> None:
    if not isinstance(other, IndexSet):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("other", type(other).__name__, "an IndexSet")
    if one.shape != other.shape:
        raise ShapeError("other", f"n_queries, n_keys = {other.shape}", f"{one.shape}, as here")
