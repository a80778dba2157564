"""Sparse attention: weights of the cells of an index set, and of no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.errors import DTypeError, ShapeError
from fractal_core.index_sets import IndexSet

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class EdgeWeights:
    """Weights of the cells of an index set, for functions that take matrices: no array of shape (N, M) is made.

    Whatever a function gives of the dense matrix with the index set as its support, it gives of these.

    Attributes:
        index_set: The cells, which are the support, of N queries and M keys.
        values: Shape (..., nnz), floats or booleans, in the order of the index set: query after query, keys increasing.

    Raises:
        ShapeError: The last axis of `values` is not as long as the index set.
        DTypeError: An argument has no fitting type.
    """

    index_set: IndexSet
    values: npt.NDArray[Any]

    def __post_init__(self) -> None:
        """Checks the parts."""
        if not isinstance(self.index_set, IndexSet):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("index_set", type(self.index_set).__name__, "an IndexSet")
        values: npt.NDArray[Any] = np.asarray(self.values)
        if values.dtype.kind not in "iufb":
            raise DTypeError("values", values.dtype, "a real dtype, or booleans")
        if values.ndim < 1 or values.shape[-1] != self.index_set.nnz:
            raise ShapeError("values", values.shape, f"(..., {self.index_set.nnz}), one for each cell")
        object.__setattr__(self, "values", values)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the dense matrices, (..., N, M)."""
        return (*self.values.shape[:-1], *self.index_set.shape)

    def to_dense(self) -> npt.NDArray[Any]:
        """The matrices, (..., N, M), 0 outside of the index set; for small ones."""
        dense = np.zeros(self.shape, self.values.dtype)
        counts = np.diff(self.index_set.indptr)
        dense[..., np.repeat(np.arange(len(counts)), counts), self.index_set.indices] = self.values
        return dense
