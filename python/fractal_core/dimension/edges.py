"""Sparse attention: the weights of an index set's edges, for what would not fit as a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core.dimension.given import floats
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.index_sets import IndexSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EdgeWeights:
    """The weights of some attention, edge by edge; the index set is the support.

    Attributes:
        index_set: N queries by M keys.
        values: Shape (..., nnz), float32 or float64, in the order of `index_set.indices`.
    """

    index_set: IndexSet
    values: npt.NDArray[Any]

    def __init__(self, index_set: IndexSet, values: npt.ArrayLike) -> None:
        """Check and keep.

        Raises:
            InvalidArgumentError: A weight is negative or not finite.
            ShapeError: The last axis is not as long as the set has edges, or an axis has length 0.
            DTypeError: No index set, or no real dtype.
        """
        if not isinstance(cast("object", index_set), IndexSet):
            raise DTypeError("index_set", type(index_set).__name__, "an IndexSet")
        array = floats("values", values)
        shape = array.shape
        if not shape or shape[-1] != index_set.nnz or 0 in shape:
            raise ShapeError("values", shape, f"(..., {index_set.nnz}), an edge at least")
        if not (np.isfinite(array) & (array >= 0)).all():
            raise InvalidArgumentError("values", "a weight that is negative or not finite", "finite weights, 0 or more")
        object.__setattr__(self, "index_set", index_set)
        object.__setattr__(self, "values", array)

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes."""
        return self.values.shape[:-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """What the shape of the matrices would be, (..., N, M)."""
        return (*self.lead, *self.index_set.shape)

    @property
    def rows(self) -> npt.NDArray[Any]:
        """Shape (matrices, nnz)."""
        return self.values.reshape(-1, self.index_set.nnz)

    def to_dense(self) -> npt.NDArray[Any]:
        """The matrices, (..., N, M), 0 outside of the set."""
        found = np.zeros(self.shape, self.values.dtype)
        query, key = coordinates(self.index_set)
        found[..., query, key] = self.values
        return found

    def __getitem__(self, index: Any) -> EdgeWeights:  # noqa: ANN401  # whatever NumPy takes
        """Some of the leading axes."""
        if not self.lead:
            raise InvalidArgumentError("index", index, "nothing: this is a single matrix")
        return EdgeWeights(self.index_set, self.values[index])


def no_other_support(support: object) -> None:
    """Refuses a support beside the index set."""
    if not (isinstance(support, str) and support == "full"):
        raise InvalidArgumentError("support", repr(support), "nothing for EdgeWeights: the index set is the support")


def coordinates(index_set: IndexSet) -> tuple[Integers, Integers]:
    """Query and key of every edge, (nnz,)."""
    counts = np.diff(index_set.indptr)
    return np.repeat(np.arange(index_set.n_queries), counts), index_set.indices.astype(np.int64)


def uniform(index_set: IndexSet) -> Floats:
    """The weights of attention that is even over the keys of every row, (1, nnz)."""
    counts = np.diff(index_set.indptr)
    return np.repeat(1.0 / np.maximum(counts, 1), counts)[None]


def joined(index_set: IndexSet, values: npt.NDArray[Any], sides: Sequence[int]) -> Iterator[list[Floats]]:
    """The mass of every box that holds an edge, for each side: (matrices) arrays of (boxes,)."""
    query, key = coordinates(index_set)
    done: list[tuple[int, Integers, Integers, list[Floats]]] = [(1, query, key, [v.astype(np.float64) for v in values])]
    columns = np.int64(index_set.n_keys)
    for side in sides:
        # Boxes of boxes: from the largest side that divides this one.
        base, rows, cols, masses = max((level for level in done if side % level[0] == 0), key=lambda level: level[0])
        if side > base:
            boxes = rows // (side // base) * columns + cols // (side // base)
            order = np.argsort(boxes, kind="stable")
            boxes = boxes[order]
            starts = np.flatnonzero(np.concatenate([[True], boxes[1:] != boxes[:-1]]))
            masses = [np.add.reduceat(mass[order], starts) for mass in masses]
            rows, cols = np.divmod(boxes[starts], columns)
            done.append((side, rows, cols, masses))
        yield masses


def moments(index_set: IndexSet, values: npt.NDArray[Any], sides: Sequence[int], orders: Sequence[float]) -> Floats:
    """As the extension's `measure_moments` of the matrices, (matrices, sides, orders, 4)."""
    if any(q < 0 for q in orders):
        raise InvalidArgumentError("q", list(orders), "0 or more for EdgeWeights: no box lies in a sparse support")
    if any(not abs(q) <= 1000 for q in orders):
        raise InvalidArgumentError("q", list(orders), "numbers in 0 ..= 1000")
    found = np.full((len(values), len(sides), len(orders), 4), np.nan)
    found[..., 2:] = 0
    for k, masses in enumerate(joined(index_set, values, sides)):
        for matrix, mass in enumerate(masses):
            total = mass.sum()
            if not total > 0:
                continue
            logs = np.log(mass[mass > 0] / total)
            for i, q in enumerate(orders):
                shift = q * logs.max()
                terms = np.exp(q * logs - shift)
                whole = terms.sum()
                found[matrix, k, i] = (np.log(whole) + shift, terms @ logs / whole, len(logs), 0)
    return found


def statistics(  # noqa: PLR0917
    index_set: IndexSet,
    values: npt.NDArray[Any],
    top_p: float,
    top_k: int,
    below: float,
    sinks: int,
    local: int,
    tokens: npt.NDArray[np.int64] | None,
) -> dict[str, Floats]:
    """As the extension's `row_statistics` of the matrices, each (matrices, N)."""
    n, m = index_set.shape
    query, key = coordinates(index_set)
    starts = index_set.indptr[:-1].astype(np.int64)
    keys = np.diff(index_set.indptr).astype(np.float64)
    own = query + m - n
    several = keys > 1
    found: dict[str, list[Floats]] = {}

    def add(name: str, of: Floats) -> None:
        found.setdefault(name, []).append(of)

    def total(of: Floats) -> Floats:
        return np.bincount(query, of, minlength=n).astype(np.float64)

    for given in values:
        x = given.astype(np.float64)
        mass = total(x)
        some = mass > 0
        p = np.divide(x, mass[query], out=np.zeros_like(x), where=some[query])

        def put(name: str, of: Floats, where: npt.NDArray[np.bool_] = some) -> None:
            add(name, np.where(where, of, np.nan))

        logs = np.log(p, out=np.zeros_like(p), where=p > 0)
        squares, entropy = total(p * p), np.maximum(total(-p * logs), 0.0)
        largest = np.zeros(n)
        largest[keys > 0] = np.maximum.reduceat(p, starts[keys > 0])
        falling = np.lexsort((-p, query))
        place = np.arange(len(p)) - starts[query]
        # Sums within rows, of so many that only a longer float keeps them apart from rounding.
        running = np.cumsum(p[falling], dtype=np.longdouble)
        before = np.concatenate([[np.longdouble(0)], running])[starts]
        reached = total(((running - before[query]) < top_p - 1e-12).astype(np.float64)) + 1
        with np.errstate(invalid="ignore", divide="ignore"):
            root = np.sqrt(keys)
            add("mass", mass)
            add("keys", keys)
            put("entropy", entropy)
            put("normalized_entropy", entropy / np.log(keys), some & several)
            put("effective_support", 1 / squares)
            put("maximum", largest)
            rank = keys[query] - place
            put("gini", np.maximum(total((2 * rank - keys[query] - 1) * p[falling]) / keys, 0.0), some & several)
            put("hoyer", np.clip((root - 1 / np.sqrt(squares)) / (root - 1), 0.0, 1.0), some & several)
            put("top_p_keys", np.minimum(reached, total((p > 0).astype(np.float64))))
            put("top_k_mass", total(np.where(place < top_k, p[falling], 0.0)))
            put("below", total((p < below / keys[query]).astype(np.float64)) / keys, some & several)
            put("sink", total(np.where(key < sinks, p, 0.0)))
            put("previous", total(np.where(key == own - 1, p, 0.0)))
            put("local", total(np.where(np.abs(own - key) <= local, p, 0.0)))
            put("distance", total(np.abs(own - key) * p))
            if tokens is None:
                put("induction", np.full(n, np.nan))
            else:
                follows = (key >= 1) & (key <= own) & (tokens[key - 1] == tokens[np.maximum(own, 0)])
                put("induction", total(np.where(follows, p, 0.0)))
    return {name: np.stack(of) for name, of in found.items()}
