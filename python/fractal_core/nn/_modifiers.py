"""Modifiers as the op takes them: all biases by distance as one table, and where queries and keys stand."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

import numpy as np
import torch

from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn.modifiers import Alibi, DisplacementTable, DistanceTable, Modifier, Sink, SoftCap, SpanRamp, T5Bias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from fractal_core.nn._inputs import Inputs

__all__ = ["Modified", "modified", "with_sinks", "without_distances"]

Kind = TypeVar("Kind")
_BY_DISTANCE = (Alibi, DistanceTable, T5Bias, SpanRamp)
_KINDS = (SoftCap, Sink, DisplacementTable, *_BY_DISTANCE)


class Modified(NamedTuple):
    """What the op takes beside the call, in the accumulation dtype."""

    distances: Tensor | None = None
    """(H|1, L), added by distance."""
    places: Tensor | None = None
    """(Nq + Nk,) int32: where the queries and then the keys stand; their numbers where it is None."""
    sinks: Tensor | None = None
    """(H,)."""
    origin: int = 0
    """The entry of a query and a key at one place."""
    soft_cap: float = 0.0
    """0 where there is none."""


def modified(
    given: Sequence[Modifier], *, heads: int, first_position: int, n_queries: int, n_keys: int, dtype: torch.dtype
) -> Modified:
    """Check the modifiers and put them together.

    Args:
        given: modifiers in any order.
        heads: H.
        first_position: query i stands at first_position + i.
        n_queries: Nq.
        n_keys: Nk.
        dtype: the accumulation dtype.
    """
    if not isinstance(cast("object", given), (tuple, list)):
        raise DTypeError("modifiers", type(given).__name__, "a tuple of modifiers")
    for modifier in given:
        if not isinstance(modifier, _KINDS):  # pyright: ignore[reportUnnecessaryIsInstance]
            allowed = ", ".join(kind.__name__ for kind in _KINDS)
            raise DTypeError("modifiers", type(cast("object", modifier)).__name__, allowed)
    cap, sink, grid = _single(given, SoftCap), _single(given, Sink), _single(given, DisplacementTable)
    lines = [modifier for modifier in given if isinstance(modifier, _BY_DISTANCE)]
    sinks = None if sink is None else _of_heads(sink.logits, heads, one=False).to(dtype).contiguous()
    soft_cap = 0.0 if cap is None else cap.cap
    if soft_cap > torch.finfo(dtype).max:
        raise InvalidArgumentError("cap", soft_cap, f"at most {torch.finfo(dtype).max}, the largest {dtype}")
    if grid is not None:
        table, places, origin = _on_grid(grid, lines, heads, (first_position, n_queries, n_keys), dtype)
        return Modified(table, places, sinks, origin, soft_cap)
    if not lines:
        return Modified(sinks=sinks, soft_cap=soft_cap)
    table, origin = _by_distance(lines, heads, (first_position, n_queries, n_keys), dtype)
    return Modified(table, None, sinks, origin, soft_cap)


def without_distances(changed: Modified, given: Inputs) -> tuple[Tensor | None, Modified]:
    """For the GPU, whose kernel has no tables: their entries as a bias of each edge, beside the one that there is.

    Raises:
        InvalidArgumentError: tables over a stack of sets or lists of keys.
    """
    if changed.distances is None:
        return given.edge_bias, changed
    if given.rows is None:
        allowed = "an index set for biases by distance on the GPU, or device='cpu'"
        raise InvalidArgumentError("index_set", "a stack or lists of keys", allowed)
    queries = torch.from_numpy(np.repeat(np.arange(given.rows.n_queries), np.diff(given.rows.indptr)))
    keys = torch.from_numpy(given.rows.indices.astype(np.int64))
    if changed.places is not None:
        n = given.rows.n_queries
        queries, keys = changed.places[:n].long()[queries], changed.places[n:].long()[keys]
    entries = (queries - keys + changed.origin).clamp(0, changed.distances.shape[1] - 1)
    of_edges = changed.distances.index_select(1, entries)
    if given.edge_bias is not None:
        of_edges = of_edges + given.edge_bias
    return of_edges, changed._replace(distances=None, places=None, origin=0)


def with_sinks(out: Tensor, lse: Tensor, sinks: Tensor) -> tuple[Tensor, Tensor]:
    """Output and lse with a logit in each denominator, from those without."""
    share = torch.sigmoid(lse - sinks[:, None]).unsqueeze(-1)
    return out * share.to(out.dtype), torch.logaddexp(lse, sinks[:, None])


def _single(given: Sequence[Modifier], kind: type[Kind]) -> Kind | None:
    found = [modifier for modifier in given if isinstance(modifier, kind)]
    if len(found) > 1:
        raise InvalidArgumentError("modifiers", f"{len(found)} of {kind.__name__}", "at most one of it")
    return found[0] if found else None


def _of_heads(tensor: Tensor, heads: int, *, one: bool = True) -> Tensor:
    """A tensor with an entry for each head, or for all."""
    if tensor.shape[0] != heads and not (one and tensor.shape[0] == 1):
        allowed = f"({heads}{'|1' if one else ''}, ...), an entry for each head"
        raise ShapeError("modifiers", tuple(tensor.shape), allowed)
    return tensor


def _sum(
    lines: Sequence[Alibi | DistanceTable | T5Bias | SpanRamp], distances: Tensor, heads: int, dtype: torch.dtype
) -> Tensor:
    tables = [_of_heads(line.table(distances), heads).to(dtype) for line in lines]
    total = tables[0]
    for table in tables[1:]:
        total = total + table
    return total


def _by_distance(
    lines: Sequence[Alibi | DistanceTable | T5Bias | SpanRamp],
    heads: int,
    sizes: tuple[int, int, int],
    dtype: torch.dtype,
) -> tuple[Tensor, int]:
    """The sum of tables of distances, and the entry of query 0 and key 0."""
    first_position, n_queries, n_keys = sizes
    if len(lines) == 1 and isinstance(lines[0], DistanceTable):
        # The kernel itself takes the end entries beyond the radius.
        table = _of_heads(lines[0].values, heads).to(dtype).contiguous()
        return table, lines[0].radius + first_position
    low, high = first_position - n_keys + 1, first_position + n_queries - 1
    distances = torch.arange(low, high + 1)
    return _sum(lines, distances, heads, dtype).contiguous(), first_position - low


def _on_grid(
    grid: DisplacementTable,
    lines: Sequence[Alibi | DistanceTable | T5Bias | SpanRamp],
    heads: int,
    sizes: tuple[int, int, int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, int]:
    """The table by displacements of a grid, where the tokens stand in it, and the entry of displacement 0."""
    first_position, n_queries, n_keys = sizes
    shape = tuple(grid.shape)
    if math.prod(shape) != n_keys or first_position < 0 or first_position + n_queries > n_keys:
        allowed = f"a grid of the {n_keys} keys, on which all queries stand"
        raise ShapeError("modifiers", f"a grid of {shape}", allowed)
    table = _of_heads(grid.grid_table(), heads).to(dtype)
    if lines:
        raster = _raster(shape)
        table = table + _sum(lines, raster.reshape(-1), heads, dtype).reshape(-1, *raster.shape)
    at, origin = _places(shape)
    places = torch.cat([at[first_position : first_position + n_queries], at])
    return table.reshape(table.shape[0], -1).contiguous(), places, origin


def _raster(shape: tuple[int, ...]) -> Tensor:
    """The distance in the order of the tokens of each displacement."""
    found = torch.zeros((), dtype=torch.int64)
    for side in shape:
        found = found[..., None] * side + torch.arange(1 - side, side)
    return found


@lru_cache(maxsize=32)
def _places(shape: tuple[int, ...]) -> tuple[Tensor, int]:
    """A number for each token, whose differences are those of displacements; and how far entries are from them."""
    found, origin = torch.zeros((), dtype=torch.int64), 0
    for side in shape:
        width = 2 * side - 1
        found = found[..., None] * width + torch.arange(side)
        origin = origin * width + side - 1
    return found.reshape(-1).to(torch.int32), origin
