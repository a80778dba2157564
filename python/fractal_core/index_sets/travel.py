"""An index set as plain bytes and back: for pickles, copies to other processes, and exported programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core.index_sets import IndexSet

__all__ = ["State", "restore", "state"]

State = tuple[str, int, int, int, tuple[bytes, ...], "bytes | None"]
"""Form, Nq, Nk, q_offset, the bytes of its arrays, and those of its order."""

_DTYPES = {"offsets": ("<i8",), "runs": ("<i8", "<i4"), "listed": ("<i8", "<i4")}


def _bytes(array: npt.NDArray[Any], dtype: str) -> bytes:
    return array.astype(dtype, copy=False).tobytes()


def state(index_set: IndexSet) -> State:
    """What `restore` takes. Offsets stay offsets and runs stay runs, so the size is that of the set's own memory."""
    if index_set.offsets is not None:
        form, arrays = "offsets", (index_set.offsets,)
    elif index_set.runs is not None:
        form, arrays = "runs", index_set.runs
    else:
        form, arrays = "listed", (index_set.indptr, index_set.indices)
    held = tuple(_bytes(array, dtype) for array, dtype in zip(arrays, _DTYPES[form], strict=True))
    order = index_set.order
    return (
        form,
        index_set.n_queries,
        index_set.n_keys,
        index_set.q_offset,
        held,
        None if order is None else _bytes(order, "<u4"),
    )


def restore(made_by: type[IndexSet], given: State) -> IndexSet:
    """The set, of the class `made_by`, of a `state`, through the checks of every new set.

    Raises:
        InvalidArgumentError, ShapeError, KeyIndexError, DTypeError: a state that no set gave.
    """
    form, n_queries, n_keys, q_offset, arrays, order = given
    if form not in _DTYPES:
        raise InvalidArgumentError("form", repr(form), "'offsets', 'runs' or 'listed'")
    if len(arrays) != len(_DTYPES[form]):
        raise ShapeError("arrays", f"{len(arrays)} of them", f"{len(_DTYPES[form])} for a set of {form}")
    held = [_array("arrays", part, dtype) for part, dtype in zip(arrays, _DTYPES[form], strict=True)]
    if form == "offsets":
        made = made_by.from_offsets(held[0], n_queries, n_keys, q_offset)
    elif form == "runs":
        runs = held[1].astype(np.int64)
        if runs.size % 2:
            raise ShapeError("arrays", f"{runs.size} ends of runs", "an even number")
        made = made_by.from_runs(held[0], runs[::2], runs[1::2] - runs[::2], n_keys)
    else:
        made = made_by.from_csr(held[0], held[1], n_keys)
    if made.n_queries != n_queries:
        raise ShapeError("arrays", f"rows of {made.n_queries} queries", f"n_queries = {n_queries}")
    return made if order is None else made.with_order(_array("order", order, "<u4"))


def _array(argument: str, given: bytes, dtype: str) -> npt.NDArray[Any]:
    size = np.dtype(dtype).itemsize
    if len(given) % size:
        raise ShapeError(argument, f"{len(given)} bytes", f"a multiple of {size}")
    array: npt.NDArray[Any] = np.frombuffer(given, dtype=np.dtype(dtype))
    return array.astype(array.dtype.type, copy=False)
