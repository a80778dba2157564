"""How an index set is made: from rows, offsets, masks, runs, packed segments and blocks.

Letters: Nq queries, Nk keys, E edges (query, key), K keys in a row, R runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fractal_core import _native
from fractal_core._arguments import flag, integer, pair, signed, vector
from fractal_core._block_masks import native_from_block_mask
from fractal_core.errors import DTypeError, KeyIndexError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch.nn.attention.flex_attention import BlockMask

__all__ = ["FrontEnds"]

_MAX = 2**31 - 1
Made = TypeVar("Made", bound="FrontEnds")


class FrontEnds:
    """The `from_` methods of `IndexSet`."""

    __slots__ = ("__weakref__", "_native")

    def __init__(self, native: _native.IndexSet) -> None:
        if not isinstance(native, _native.IndexSet):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("native", type(native).__name__, "an IndexSet of the extension; see the from_ methods")
        self._native = native

    @classmethod
    def from_csr(cls: type[Made], indptr: npt.ArrayLike, indices: npt.ArrayLike, n_keys: int) -> Made:
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
        starts = vector("indptr", indptr)
        if starts.size < 2:
            raise ShapeError("indptr", f"{starts.size} entries", "n_queries + 1 of them, at least 2")
        keys = vector("indices", indices)
        n_keys = integer("n_keys", n_keys, 1, _MAX)
        if keys.dtype != np.int32:
            outside = (keys < 0) | (keys >= n_keys)
            if outside.any():
                raise KeyIndexError("indices", f"key {keys[outside][0]}", f"0 <= key < n_keys = {n_keys}")
        return cls(_native.IndexSet.from_csr(starts, keys.astype(np.int32, copy=False), n_keys))

    @classmethod
    def from_offsets(
        cls: type[Made],
        offsets: npt.ArrayLike,
        n: int,
        n_keys: int | None = None,
        q_offset: int | None = None,
    ) -> Made:
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
        return cls(_native.IndexSet.from_offsets(vector("offsets", offsets), n, n_keys, q_offset))

    @classmethod
    def from_mask(cls: type[Made], mask: npt.ArrayLike) -> Made:
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
    def from_padded(cls: type[Made], indices: npt.ArrayLike, n_keys: int) -> Made:
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
        array = signed("indices", indices)
        _matrix("indices", array)
        return cls(_native.IndexSet.from_padded(array, integer("n_keys", n_keys, 1, _MAX)))

    @classmethod
    def from_runs(
        cls: type[Made],
        indptr: npt.ArrayLike,
        starts: npt.ArrayLike,
        lengths: npt.ArrayLike,
        n_keys: int,
    ) -> Made:
        """Runs of consecutive keys; their number decides the memory of the set and its plan, not that of their keys.

        Args:
            indptr: (Nq + 1,) integers, not decreasing, from 0 to R: row i has the runs indptr[i] .. indptr[i + 1] - 1.
            starts: (R,) integers in 0 .. n_keys - 1, the first key of each run, increasing within a row.
            lengths: (R,) integers, 1 or more, how many keys each run has; runs of a row do not overlap.
            n_keys: Nk, 1 to 2^31 - 1.

        Raises:
            InvalidArgumentError: row starts that decrease, runs that are empty, unsorted or overlap.
            KeyIndexError: a run that leaves 0 .. n_keys - 1.
            ShapeError: arrays that are not one-dimensional, or whose lengths do not fit together.
            DTypeError: arrays that hold no integers.
        """
        rows = vector("indptr", indptr)
        if rows.size < 2:
            raise ShapeError("indptr", f"{rows.size} entries", "n_queries + 1 of them, at least 2")
        n_keys = integer("n_keys", n_keys, 1, _MAX)
        return cls(_native.IndexSet.from_runs(rows, vector("starts", starts), vector("lengths", lengths), n_keys))

    @classmethod
    def from_segments(
        cls: type[Made],
        cu_seqlens_q: npt.ArrayLike,
        cu_seqlens_k: npt.ArrayLike | None = None,
        *,
        causal: bool = False,
    ) -> Made:
        """Packed sequences: a query attends to the keys of its own segment. Held as one run a query.

        The arguments are those of FlashAttention's functions for sequences of different lengths.

        Args:
            cu_seqlens_q: (S + 1,) integers, not decreasing, from 0 to Nq: segment s has the queries cu_seqlens_q[s] ..
                cu_seqlens_q[s + 1] - 1.
            cu_seqlens_k: (S + 1,) integers, the same for the keys, from 0 to Nk; as cu_seqlens_q where None.
            causal: leave out the keys after each query, where the last query of a segment is at its last key.

        Raises:
            InvalidArgumentError: lengths that do not start at 0, decrease, or end at 0.
            ShapeError: arrays that are not one-dimensional, or not of one length.
            DTypeError: arrays that hold no integers, or a causal that is no bool.
        """
        queries = vector("cu_seqlens_q", cu_seqlens_q)
        keys = queries if cu_seqlens_k is None else vector("cu_seqlens_k", cu_seqlens_k)
        return cls(_native.IndexSet.from_segments(queries, keys, flag("causal", causal)))

    @classmethod
    def from_blocks(
        cls: type[Made],
        mask: npt.ArrayLike,
        block_size: int | tuple[int, int],
        n_queries: int | None = None,
        n_keys: int | None = None,
    ) -> Made:
        """Whole blocks of queries and keys. Held as runs, so that the size of a block costs nothing.

        Args:
            mask: (row blocks, column blocks) bool, True where the queries of a row block attend to the keys of a column
                block.
            block_size: queries and keys of a block, 1 or more; one number for both.
            n_queries: Nq, which the row blocks just cover; whole blocks where None.
            n_keys: Nk, which the column blocks just cover; whole blocks where None.

        Raises:
            ShapeError: a mask that is not a matrix, is empty, or has another number of blocks than cover the lengths.
            DTypeError: a mask that is not bool, or sizes that are no integers.
            InvalidArgumentError: a size out of range.
        """
        array: npt.NDArray[Any] = np.asarray(mask)
        if array.dtype != np.bool_:
            raise DTypeError("mask", array.dtype, "bool")
        _matrix("mask", array)
        size = pair("block_size", block_size, _MAX)
        whole = (array.shape[0] * size[0], array.shape[1] * size[1])
        n_queries = integer("n_queries", whole[0] if n_queries is None else n_queries, 1, _MAX)
        n_keys = integer("n_keys", whole[1] if n_keys is None else n_keys, 1, _MAX)
        needed = (-(-n_queries // size[0]), -(-n_keys // size[1]))
        if array.shape != needed:
            allowed = f"{needed}, blocks of {size} for {n_queries} queries and {n_keys} keys"
            raise ShapeError("mask", array.shape, allowed)
        starts = np.concatenate([[0], array.sum(axis=1).cumsum()])
        columns = np.nonzero(array)[1]
        full, none = np.ones(columns.size, dtype=bool), np.zeros((0, 1, 1), dtype=bool)
        return cls(_native.IndexSet.from_blocks(size, starts, columns, full, none, (n_queries, n_keys)))

    @classmethod
    def from_block_mask(cls: type[Made], block_mask: BlockMask) -> Made:
        """The pairs of a FlexAttention `BlockMask`. Its full blocks are taken as they are, `mask_mod` says the rest.

        Args:
            block_mask: of one batch and one head (both 1), any block size.

        Raises:
            DTypeError: not a `BlockMask`.
            ShapeError: more than one batch or head (take one index set for each), or too few or many rows of blocks.
            KeyIndexError: a block beyond the keys.
            InvalidArgumentError: a block listed twice.
        """
        return cls(native_from_block_mask(block_mask))


def _matrix(argument: str, array: npt.NDArray[Any]) -> None:
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(argument, array.shape, "two dimensions, rows by columns, none of them 0")
