"""Which keys each query attends to: the one currency of the package.

Letters: Nq queries, Nk keys, E edges (query, key), K keys in a row, R runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from fractal_core import _native
from fractal_core._arguments import integer, pair, vector
from fractal_core._block_masks import to_block_mask
from fractal_core._cost import peak_gflops, predicted_ms
from fractal_core._front_ends import FrontEnds
from fractal_core._reports import Reach, Report
from fractal_core._travel import State, restore, state
from fractal_core.errors import DTypeError, KeyIndexError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from torch.nn.attention.flex_attention import BlockMask

__all__ = ["IndexSet"]

_MAX = 2**31 - 1
_REPORT_WORDS = 2**28
"""Words of 64 keys that a report's reach may touch a layer: a fraction of a second."""


class IndexSet(FrontEnds):
    """Sorted unique keys for each query: listed, in runs, or given by offsets that all queries share.

    Make one with `from_csr`, `from_offsets`, `from_mask`, `from_padded`, `from_runs`, `from_segments`, `from_blocks` or
    `from_block_mask`, or take it from a pattern. It never changes. Two of them are equal where their rows are; `|` and
    `&` join and cut them row by row.
    """

    __slots__ = ()

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

        Blocks that are wholly in are listed as full; inside of the others `mask_mod` searches the set's rows, offsets
        or runs, which go to `device`.

        Args:
            block_size: queries and keys of a block; one number for both.
            device: where FlexAttention is to run.

        Raises:
            InvalidArgumentError, DTypeError, ShapeError: a block_size that is neither.
        """
        return to_block_mask(self._native, pair("block_size", block_size, _MAX), device)

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

    def report(
        self,
        layers: int = 64,
        *,
        heads: int = 1,
        head_dim: int = 64,
        dtype: Literal["float32", "float64"] = "float32",
        threads: int | None = None,
    ) -> Report:
        """Keys per query, how the plan runs them and how long that should take, and the reach.

        The reach is left out where queries and keys differ in number, or where it takes more than some seconds;
        `reach` always counts it.

        The predicted times are the plan's counts over this machine's FMA peak, which is measured once a process, in
        some milliseconds, and shares of it that were fitted on one machine: within about a quarter there for windows,
        ladders, neighbourhoods and random keys of a few thousand queries, a guide elsewhere. Biases, dropout, narrow
        dtypes and arrays that do not fit into the caches take longer.

        Args:
            layers: where to stop counting the reach, at least 1.
            heads: B H, batch times query heads, of the predicted times.
            head_dim: D, 1 .. 4096.
            dtype: of q, k and v.
            threads: on which the kernels run; as many as NumPy callers get unless said.

        Raises:
            InvalidArgumentError: a number out of its range, or another dtype.
            DTypeError: no integer where one is asked for.
        """
        layers = integer("layers", layers, 1, _MAX)
        plan = self._native.plan_report()
        info = _native.thread_info()
        threads = int(info["threads"]) if threads is None else integer("threads", threads, 1, 1024)
        heads, head_dim = integer("heads", heads, 1, _MAX), integer("head_dim", head_dim, 1, 4096)

        def took(*, backward: bool) -> float:
            return predicted_ms(
                plan,
                self.n_queries,
                shifted=self.offsets is not None,
                level=str(info["simd"]),
                peak_gflops=threads * peak_gflops(),
                heads=heads,
                head_dim=head_dim,
                dtype=dtype,
                backward=backward,
            )

        fewest, most = self._native.degrees()
        square = self.n_queries == self.n_keys
        reached = self._native.reach(layers, _REPORT_WORDS) if square else None
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
            forward_ms=took(backward=False),
            backward_ms=took(backward=True),
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
        array = vector("order", order)
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


def _check_other(one: IndexSet, other: IndexSet) -> None:
    if not isinstance(other, IndexSet):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("other", type(other).__name__, "an IndexSet")
    if one.shape != other.shape:
        raise ShapeError("other", f"n_queries, n_keys = {other.shape}", f"{one.shape}, as here")
