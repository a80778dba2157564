"""The plan of an index set, as arrays: how it runs, for kernels that are not ours and for a look at it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from fractal_core import _native

__all__ = ["Plan", "plan_of"]

TILE = 16
"""Queries of a tile."""


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """The tables of a plan: read-only views of the extension's own memory, which they keep alive.

    Queries are cut into tiles of 16 along `order`: tile t has the positions 16 t to 16 t + 15, and position p is query
    `order[p]`, or p where `order` is None. A query has the keys of its tile whose mask has its bit, and its row keys:
    none twice, together its row of the set.

    A *listed* plan::

        tile_ptr    0        2     3          entries of tile t: tile_ptr[t] to tile_ptr[t + 1]
                    |        |     |
        tile_keys   [ 4   7 ][ 32  40 ]       a key that some queries of the tile share
        tile_masks  [ 5   3 ][  0 255 ]       bit l: position 16 t + l uses it
                               ^   ^
                               |   the next entry: how many keys the run has (40), and their mask
                               mask 0: a run of consecutive keys begins at this key

        row_ptr     0     2  2       5        row keys of position p: row_ptr[p] to row_ptr[p + 1]
        row_keys    [ 1 9 ]  [ 2 3 8 ]        increasing

    By key, for gradients: `key_edges[key_ptr[j]:key_ptr[j + 1]]` are `[query, index in row_keys]` of key j.

    A *shifted* plan, of offsets, has one tile for all queries: `tile_keys` (but for the length of a run) count from the
    position `16 t + q_offset` of the tile's first query among the keys, and lane l has the row offsets
    `row_offsets[row_ptr[l]:row_ptr[l + 1]]`, decreasing: key `16 t + l + q_offset - offset`. Keys outside of the Nk
    and lanes past the last query do not count. By key: of residue `r = (j - q_offset) % 16`, the offsets
    `residue_offsets[residue_ptr[r]:residue_ptr[r + 1]]` name the queries `j - q_offset + offset`, as far as there are.
    The number of a row edge is `t * len(row_offsets)` and its slot.
    """

    form: Literal["listed", "shifted"]
    n_queries: int
    n_keys: int
    q_offset: int
    order: npt.NDArray[np.uint32] | None
    """(Nq,), the query at each position; None for 0, 1, 2, ..."""
    tile_keys: npt.NDArray[np.uint32] | npt.NDArray[np.int32]
    """Entries of tiles, uint32; shifted: relative, int32."""
    tile_masks: npt.NDArray[np.uint16]
    """Of each entry, the positions that use it; 0 begins a run."""
    row_ptr: npt.NDArray[np.uint64]
    """(Nq + 1,) by position; shifted: (17,) by lane."""
    tile_ptr: npt.NDArray[np.uint64] | None = None
    """(tiles + 1,); listed alone."""
    row_keys: npt.NDArray[np.uint32] | None = None
    """Listed alone."""
    row_offsets: npt.NDArray[np.int64] | None = None
    """Shifted alone."""
    row_slots: npt.NDArray[np.uint32] | None = None
    """The slot of each row offset among the tile's row edges; shifted alone."""
    key_ptr: npt.NDArray[np.uint64] | None = None
    """(Nk + 1,); listed alone."""
    key_edges: npt.NDArray[np.uint32] | None = None
    """(row edges, 2); listed alone."""
    residue_ptr: npt.NDArray[np.uint64] | None = None
    """(17,); shifted alone."""
    residue_offsets: npt.NDArray[np.int64] | None = None
    """Increasing within a residue; shifted alone."""
    residue_slots: npt.NDArray[np.uint32] | None = None
    """Shifted alone."""

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return -(-self.n_queries // TILE)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that this form has, by name."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in held.items() if isinstance(value, np.ndarray)}

    def __repr__(self) -> str:
        size = sum(array.nbytes for array in self.arrays().values())
        return f"Plan({self.form}, {self.n_queries} x {self.n_keys}, {self.tiles} tiles, {size} bytes)"


def plan_of(native: _native.IndexSet) -> Plan:
    """The plan of a set, made on first use and kept with it."""
    arrays: dict[str, Any] = native.plan_arrays()
    if "key_edges" in arrays:
        arrays["key_edges"] = arrays["key_edges"].reshape(-1, 2)
    listed = "tile_ptr" in arrays
    return Plan(
        form="listed" if listed else "shifted",
        n_queries=native.n_queries,
        n_keys=native.n_keys,
        q_offset=native.q_offset,
        order=native.order if listed else None,
        **arrays,
    )
