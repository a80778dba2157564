"""Statistics of sparse attention: entropy, maximum, distance and the use of keys, without ever making the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fractal_core._arguments import vector
from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.nn import _functorch
from fractal_core.nn._empty import statistics_of_nothing
from fractal_core.nn._inputs import inputs
from fractal_core.nn._statistics import attention_statistics, attention_weights
from fractal_core.nn.ops import refuse_tangents

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.index_sets import IndexSet
    from fractal_core.nn._inputs import Inputs

__all__ = ["AttentionStats", "RowWeights", "attention_stats", "statistics_of"]


_INTEGERS = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8})


class RowWeights(NamedTuple):
    """The weights of R chosen rows, in the manner of CSR; they carry no gradient."""

    rows: Tensor
    """(R,) int64, the queries, as they were given."""
    indptr: Tensor
    """(R + 1,) int64: row r has the places indptr[r] to indptr[r + 1]."""
    indices: Tensor
    """(edges,) int64, the key of each place, increasing within a row."""
    weights: Tensor
    """(B, H, edges), float32 (float64 for float64)."""


class AttentionStats(NamedTuple):
    """Statistics of the weights p_ij of query i over its keys j; float32 (float64 for float64)."""

    entropy: Tensor
    """(B, H, Nq): -sum_j p_ij log p_ij in nats; 0 for a query without keys, as for the next two."""
    maximum: Tensor
    """(B, H, Nq): the greatest p_ij; without a gradient."""
    mean_distance: Tensor
    """(B, H, Nq): sum_j p_ij |i - j|, where query i stands at position i + Nk - Nq of the keys."""
    column_mass: Tensor
    """(B, H, Nk): sum_i p_ij, how much each key is used."""
    weights: RowWeights | None
    """Those of the chosen rows; None where none were asked for."""


def attention_stats(
    q: Tensor,
    k: Tensor,
    index_set: IndexSet | Tensor,
    *,
    bias: Tensor | None = None,
    edge_bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    scale: float | None = None,
    q_offset: int | None = None,
    rows: npt.ArrayLike | Tensor | None = None,
) -> AttentionStats:
    """Statistics of the weights of `sparse_attention`, from one pass over the index set that never makes them.

    Entropy, mean distance and column mass have gradients for q, k and both biases. Nothing of size Nq x Nk is made,
    forward or backward; both run on the CPU. Equal bit for bit for every number of threads. A query without any key has
    entropy, maximum and mean distance 0 and gradient 0; sizes of 0 are as for `sparse_attention`. Under CPU autocast, q
    and k are cast to the autocast dtype.

    Args:
        q: (B, H, Nq, D), float32, float64, bfloat16 or float16, last dimension contiguous.
        k: (B, Hkv, Nk, D), the dtype of q, last dimension contiguous; H is a multiple of Hkv.
        index_set: which keys each query attends to, as for `sparse_attention`: a set, or lists of keys, in which a key
            that is listed twice has two weights.
        bias: added to the scores of each key: (Nk,), (H|1, Nk) or (B|1, H|1, Nk), any float dtype.
        edge_bias: added to the score of each edge: (E,) or (H|1, E), E = index_set.nnz edges in row order.
        key_padding_mask: (B, Nk) bool, True where a key is to be ignored.
        scale: factor of the scores, finite; 1 / sqrt(D) where None.
        q_offset: query i takes row i + q_offset of the index set, and stands where that row does:
            at position i + q_offset + Nk - n_queries. n_queries - Nq where None, so that the last query stands at the
            last key.
        rows: (R,) integers from 0 to Nq - 1, queries whose weights are wanted, in any order; needs an index set.

    Returns:
        Entropy, maximum and mean distance (B, H, Nq), column mass (B, H, Nk), and the weights of the chosen rows.

    Raises:
        DTypeError: a tensor is of another dtype, or an argument of another type, than listed.
        ShapeError: shapes do not fit together, or a head size is 0.
        InvalidArgumentError: a value is out of its range, a tensor is not on the CPU, its last dimension is not
            contiguous, or rows are wanted of lists of keys.
        KeyIndexError: one of rows is no query.
        NotImplementedError: under a transform of `torch.func`, or forward-mode differentiation.
    """
    given = inputs(
        q,
        k,
        None,
        index_set,
        bias=bias,
        edge_bias=edge_bias,
        key_padding_mask=key_padding_mask,
        scale=scale,
        q_offset=q_offset,
    )
    return statistics_of(given, rows)


def statistics_of(given: Inputs, rows: npt.ArrayLike | Tensor | None = None) -> AttentionStats:
    """`attention_stats` of checked arguments."""
    if given.keys.ndim == 2:
        raise DTypeError("index_set", "a stack of index sets", "one, for statistics")
    if given.edge_bias is not None and given.edge_bias.ndim == 3:
        raise ShapeError("edge_bias", tuple(given.edge_bias.shape), "(E,) or (H|1, E) for statistics")
    of_call = (given.q, given.k, given.keys, given.key_bias, given.edge_bias, given.key_padding_mask, given.scale)
    differentiable = [t for t in (*of_call[:2], *of_call[3:5]) if t is not None]
    refuse_tangents(differentiable)
    if _functorch.is_active():
        raise NotImplementedError("attention_stats has no rule for torch.func; use torch.autograd")
    chosen = None if rows is None else _chosen(given, rows)
    weights = None
    if chosen is not None:
        queries, indptr, keys = (torch.from_numpy(array) for array in chosen)
        if given.empty:
            values = given.q.new_zeros((*given.q.shape[:2], keys.shape[0]), dtype=accumulation_dtype(given.q.dtype))
        else:
            with torch.no_grad():
                values = attention_weights(*of_call, queries, keys.shape[0])
        weights = RowWeights(queries, indptr, keys, values)
    if given.empty:
        return AttentionStats(*statistics_of_nothing(given), weights)
    return AttentionStats(*attention_statistics(*of_call, given.first_position), weights)


def _chosen(
    given: Inputs, rows: npt.ArrayLike | Tensor
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The chosen queries, and row starts and keys of their rows."""
    if given.rows is None:
        raise InvalidArgumentError("rows", "rows of lists of keys", "None where index_set holds lists of keys")
    if isinstance(rows, Tensor):
        if rows.dtype not in _INTEGERS:
            raise DTypeError("rows", rows.dtype, "integers")
        checks.on_cpu("rows", rows)
        rows = rows.numpy()
    queries = vector("rows", rows)
    last = given.q.shape[2] - 1
    for query in queries.tolist():
        if not 0 <= query <= last:
            raise KeyIndexError("rows", query, f"0 to {last}")
    queries = queries.astype(np.int64)
    lists = [given.rows.rows(query, query + 1).indices.astype(np.int64) for query in queries.tolist()]
    indptr = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(keys) for keys in lists], out=indptr[1:])
    return queries, indptr, np.concatenate([np.zeros(0, np.int64), *lists])
