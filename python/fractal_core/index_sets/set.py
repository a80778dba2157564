"""The index set: made, read, asked and joined by short methods; `build`, `report` and the extension do the work.

Letters: Nq queries, Nk keys, E edges (query, key), K keys in a row, R runs, S segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fractal_core import _native
from fractal_core._arguments import INT32_MAX, integer, pair
from fractal_core.errors import DTypeError, ShapeError
from fractal_core.index_sets import build
from fractal_core.index_sets.block_masks import natives_from_block_mask, to_block_mask
from fractal_core.index_sets.plan import Plan, plan_of
from fractal_core.index_sets.report import Reach, Report, reach_of, report_of
from fractal_core.index_sets.stack import IndexSetStack, stack
from fractal_core.index_sets.travel import State, restore, state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt
    from torch.nn.attention.flex_attention import BlockMask
    from typing_extensions import Self

__all__ = ["IndexSet"]


class IndexSet:
    """Sorted unique keys for each query: listed, in runs, or given by offsets that all queries share.

    Make one with `from_csr`, `from_offsets`, `from_mask`, `from_padded`, `from_runs`, `from_segments`, `from_blocks` or
    `from_block_mask`, or take it from a pattern. It never changes. Two of them are equal where their rows are; `|` and
    `&` join and cut them row by row.
    """

    __slots__ = ("__weakref__", "_native")

    def __init__(self, native: _native.IndexSet) -> None:
        if not isinstance(native, _native.IndexSet):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("native", type(native).__name__, "an IndexSet of the extension; see the from_ methods")
        self._native = native

    # --- how it is made ------------------------------------------------------------------------------------------

    @classmethod
    def from_csr(cls, indptr: npt.ArrayLike, indices: npt.ArrayLike, n_keys: int) -> Self:
        """Listed rows.

        Args:
            indptr: (Nq + 1,) integers, not decreasing, from 0 to E: row i is `indices[indptr[i]:indptr[i + 1]]`.
            indices: (E,) integers in 0 .. n_keys - 1, strictly increasing within a row.
            n_keys: Nk, 0 to 2^31 - 1.

        Raises:
            InvalidArgumentError: row starts that decrease, rows that are unsorted or repeat a key.
            KeyIndexError: a key outside of 0 .. n_keys - 1.
            ShapeError, DTypeError: arrays that are not one-dimensional, do not fit together, or hold no integers.
        """
        return cls(build.from_csr(indptr, indices, n_keys))

    @classmethod
    def from_offsets(
        cls, offsets: npt.ArrayLike, n: int, n_keys: int | None = None, q_offset: int | None = None
    ) -> Self:
        """The same offsets at every query: key = query + q_offset - offset, left out where it is no key.

        Args:
            offsets: (K,) integers, each once; a positive one looks back.
            n: Nq, 0 to 2^31 - 1.
            n_keys: Nk; as many as queries unless said.
            q_offset: position of query 0 among the keys; n_keys - n unless said, so that the last query is at the
                last key.

        Raises:
            InvalidArgumentError: a repeated offset, or a length out of range.
            ShapeError, DTypeError: offsets that are not one-dimensional, or no integers.
        """
        return cls(build.from_offsets(offsets, n, n_keys, q_offset))

    @classmethod
    def from_mask(cls, mask: npt.ArrayLike) -> Self:
        """The true entries of a dense mask.

        Args:
            mask: (Nq, Nk) bool, True where the query attends to the key.

        Raises:
            ShapeError, DTypeError: a mask that is not a matrix, or not bool.
        """
        return cls(build.from_mask(mask))

    @classmethod
    def from_padded(cls, indices: npt.ArrayLike, n_keys: int) -> Self:
        """Rows of equal width, filled up with -1.

        Args:
            indices: (Nq, K) integers in -1 .. n_keys - 1, in any order, each key once in a row; -1 is a pad.
            n_keys: Nk, 0 to 2^31 - 1.

        Raises:
            KeyIndexError: an entry outside of -1 .. n_keys - 1.
            InvalidArgumentError: a key twice in one row.
            ShapeError, DTypeError: lists that are not a matrix, or hold no integers.
        """
        return cls(build.from_padded(indices, n_keys))

    @classmethod
    def from_runs(cls, indptr: npt.ArrayLike, starts: npt.ArrayLike, lengths: npt.ArrayLike, n_keys: int) -> Self:
        """Runs of consecutive keys; their number decides the memory of the set and its plan, not that of their keys.

        Args:
            indptr: (Nq + 1,) integers, not decreasing, from 0 to R: row i has the runs indptr[i] .. indptr[i + 1] - 1.
            starts: (R,) integers in 0 .. n_keys - 1, the first key of each run, increasing within a row.
            lengths: (R,) integers, 1 or more, how many keys each run has; runs of a row do not overlap.
            n_keys: Nk, 0 to 2^31 - 1.

        Raises:
            InvalidArgumentError: row starts that decrease, runs that are empty, unsorted or overlap.
            KeyIndexError: a run that leaves 0 .. n_keys - 1.
            ShapeError, DTypeError: arrays that are not one-dimensional, do not fit together, or hold no integers.
        """
        return cls(build.from_runs(indptr, starts, lengths, n_keys))

    @classmethod
    def from_segments(
        cls,
        cu_seqlens_q: npt.ArrayLike,
        cu_seqlens_k: npt.ArrayLike | None = None,
        *,
        causal: bool = False,
        window: int | tuple[int, int] | None = None,
        align: Literal["lower_right", "upper_left"] = "lower_right",
    ) -> Self:
        """Packed sequences: a query attends to the keys of its own segment. Held as one run a query.

        The arguments are those of FlashAttention's functions for sequences of different lengths.

        Args:
            cu_seqlens_q: (S + 1,) integers, not decreasing, from 0 to Nq: segment s has the queries cu_seqlens_q[s] ..
                cu_seqlens_q[s + 1] - 1.
            cu_seqlens_k: (S + 1,) integers, the same for the keys, from 0 to Nk; as cu_seqlens_q where None.
            causal: leave out the keys after each query's own place.
            window: at most so many keys before and after it, one number or two.
            align: where the queries of a segment stand that has another number of keys: the last one at the last key
                ("lower_right"), or the first one at the first key ("upper_left").

        Raises:
            InvalidArgumentError: lengths that do not start at 0, or decrease; a window below 0; another `align`.
            ShapeError, DTypeError: arrays that are not one-dimensional, not of one length, or hold no integers; a
                causal that is no bool.
        """
        return cls(build.from_segments(cu_seqlens_q, cu_seqlens_k, causal, window, align))

    @classmethod
    def from_blocks(
        cls,
        mask: npt.ArrayLike,
        block_size: int | tuple[int, int],
        n_queries: int | None = None,
        n_keys: int | None = None,
    ) -> Self:
        """Whole blocks of queries and keys. Held as runs, so that the size of a block costs nothing.

        Args:
            mask: (row blocks, column blocks) bool, True where the queries of a row block attend to the keys of a column
                block.
            block_size: queries and keys of a block, 1 or more; one number for both.
            n_queries: Nq, which the row blocks just cover; whole blocks where None.
            n_keys: Nk, which the column blocks just cover; whole blocks where None.

        Raises:
            ShapeError: a mask that is not a matrix, or has another number of blocks than cover the lengths.
            DTypeError: a mask that is not bool, or sizes that are no integers.
            InvalidArgumentError: a size out of range.
        """
        return cls(build.from_blocks(mask, block_size, n_queries, n_keys))

    @staticmethod
    def stack(sets: Sequence[IndexSet] | Sequence[Sequence[IndexSet]]) -> IndexSetStack:
        """Sets that differ by head, or by batch entry and head. Equal ones are held, and planned, once.

        Args:
            sets: a list of H|1 sets, or for each of B|1 batch entries such a list; all over as many queries and keys.

        Raises:
            DTypeError: no list, or something else than sets in it.
            ShapeError: entries with another number of heads.
            InvalidArgumentError: sets of another shape.
        """
        return stack(sets, IndexSet)

    @classmethod
    def from_block_mask(cls, block_mask: BlockMask) -> Self | IndexSetStack:
        """The pairs of a FlexAttention `BlockMask`. Its full blocks are taken as they are, `mask_mod` says the rest.

        Args:
            block_mask: any block size. Of one batch and one head (both 1) it gives a set, of several a stack.

        Raises:
            DTypeError: not a `BlockMask`.
            ShapeError: too few or many rows of blocks.
            KeyIndexError: a block beyond the keys.
            InvalidArgumentError: a block listed twice.
        """
        entries = natives_from_block_mask(block_mask)
        if len(entries) == len(entries[0]) == 1:
            return cls(entries[0][0])
        return cls.stack([[cls(native) for native in heads] for heads in entries])

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
    def runs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]] | None:
        """(Nq + 1,) int64 row starts and (R, 2) int32 runs [first, end), read-only; None where rows are not runs."""
        return self._native.runs

    @property
    def indptr(self) -> npt.NDArray[np.int64]:
        """(Nq + 1,) int64: where each row starts in `indices`, read-only. Offsets and runs are written out once."""
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

    def to_block_mask(self, block_size: int | tuple[int, int] = 128, device: str = "cpu") -> BlockMask:
        """The same set for `torch.nn.attention.flex_attention`. Needs torch; makes no dense mask.

        Blocks that are wholly in are listed as full. Inside of the others `mask_mod` looks into a table on `device`: of
        distances for offsets, else of a bit for each pair of those blocks.

        Args:
            block_size: queries and keys of a block; one number for both.
            device: where FlexAttention is to run.

        Raises:
            InvalidArgumentError, DTypeError, ShapeError: a block_size that is neither.
        """
        return to_block_mask(self._native, pair("block_size", block_size, INT32_MAX), device)

    # --- what it costs and reaches --------------------------------------------------------------------------------

    def reach(self, layers: int = 64) -> Reach:
        """How much of the sequence up to `layers` stacked layers connect.

        Offsets take O(n K) bit operations a layer, listed rows O(E n).

        Args:
            layers: where to stop, at least 1.

        Raises:
            ShapeError: a set with more keys than queries or the other way round: it cannot be stacked.
        """
        return reach_of(self._native, layers)

    def plan(self) -> Plan:
        """The tiles and rows that this set runs as, and their transpose: read-only views, no copies.

        Made on first use and kept with the set. `Plan` says how the arrays are to be read.

        Raises:
            OutOfMemoryError: no room for it.
        """
        return plan_of(self._native)

    def report(
        self,
        layers: int = 64,
        *,
        predict: bool = False,
        heads: int = 1,
        head_dim: int = 64,
        dtype: Literal["float32", "float64"] = "float32",
        threads: int | None = None,
    ) -> Report:
        """Keys per query, how the plan runs them, the reach and, if asked for, how long that should take.

        The reach is left out where queries and keys differ in number, or where it takes more than some seconds;
        `reach` always counts it.

        Predicted times are the plan's counts over this machine's FMA peak, which the first prediction of a process
        measures in some milliseconds, and shares of it that were fitted on one machine: within about a quarter there
        for windows, ladders, neighbourhoods and random keys of a few thousand queries, a guide elsewhere. Biases,
        dropout, narrow dtypes and arrays that do not fit into the caches take longer.

        Args:
            layers: where to stop counting the reach, at least 1.
            predict: give `forward_ms` and `backward_ms`, for the sizes that follow; they are None otherwise.
            heads: B H, batch times query heads, of the predicted times.
            head_dim: D, 1 .. 4096.
            dtype: of q, k and v.
            threads: on which the kernels run; as many as NumPy callers get unless said.

        Raises:
            InvalidArgumentError: a number out of its range, or another dtype.
            DTypeError: no integer where one is asked for.
        """
        return report_of(
            self._native, layers, predict=predict, heads=heads, head_dim=head_dim, dtype=dtype, threads=threads
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
        first, last = integer("start", start, 0, INT32_MAX), integer("stop", stop, 0, INT32_MAX)
        return IndexSet(self._native.rows(first, last))

    def prefix(self, n_queries: int, n_keys: int | None = None) -> IndexSet:
        """The first queries over the first keys: what a prefix-stable pattern gives at that length.

        Args:
            n_queries: how many queries stay.
            n_keys: how many keys stay; as many as queries unless said.

        Raises:
            KeyIndexError: more than there are.
        """
        n_queries = integer("n_queries", n_queries, 0, INT32_MAX)
        n_keys = n_queries if n_keys is None else integer("n_keys", n_keys, 0, INT32_MAX)
        return IndexSet(self._native.prefix(n_queries, n_keys))

    def with_order(self, order: npt.ArrayLike | Sequence[int]) -> IndexSet:
        """The same set whose queries are cut into tiles along `order`; results do not depend on it, speed does.

        Args:
            order: (Nq,) integers, a permutation of 0 .. Nq - 1.

        Raises:
            ShapeError, KeyIndexError, InvalidArgumentError: an order that is no permutation.
        """
        return IndexSet(build.with_order(self._native, order))

    def __or__(self, other: IndexSet) -> IndexSet:
        """Keys of either set."""
        return IndexSet(self._native.union(self._like(other)))

    def __and__(self, other: IndexSet) -> IndexSet:
        """Keys of both sets."""
        return IndexSet(self._native.intersection(self._like(other)))

    def _like(self, other: IndexSet) -> _native.IndexSet:
        if not isinstance(other, IndexSet):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("other", type(other).__name__, "an IndexSet")
        if self.shape != other.shape:
            raise ShapeError("other", f"n_queries, n_keys = {other.shape}", f"{self.shape}, as here")
        return other._native

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IndexSet):
            return NotImplemented
        return self._native.same_rows(other._native)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    # It never changes, so a copy in this process is the set itself; a pickle holds its form, arrays and order.

    def __copy__(self) -> IndexSet:
        return self

    def __deepcopy__(self, memo: object) -> IndexSet:
        return self

    def __reduce__(self) -> tuple[Callable[..., IndexSet], tuple[type[IndexSet], State]]:
        return restore, (IndexSet, state(self))

    def __repr__(self) -> str:
        kind = "listed"
        if self.offsets is not None:
            kind = f"{self.offsets.size} offsets"
        elif self.runs is not None:
            kind = f"{len(self.runs[1])} runs"
        return f"IndexSet(n_queries={self.n_queries}, n_keys={self.n_keys}, nnz={self.nnz}, {kind})"
