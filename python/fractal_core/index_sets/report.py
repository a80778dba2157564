"""What is said about an index set: its reach and its cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from fractal_core import _native
from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core.errors import InvalidArgumentError
from fractal_core.index_sets.cost import DTYPES, peak_gflops, predicted_ms

__all__ = ["Reach", "Report", "reach_of", "report_of"]

_WORDS = 2**28
"""Words of 64 keys that a report's reach may touch a layer: a fraction of a second."""


@dataclass(frozen=True)
class Reach:
    """How much of a sequence stacked layers connect; every layer keeps a token's own state."""

    causal: bool
    """Whether only pairs with key <= query count, because no query sees a later key."""
    layers: int | None
    """Layers until every such pair is connected, or None if not within the layers asked for."""
    shares: tuple[float, ...]
    """Share of the pairs connected by 1, 2, … layers, 0 to 1; ends where it stops growing."""

    @property
    def share(self) -> float:
        """Share of the pairs connected in the end."""
        return self.shares[-1]


@dataclass(frozen=True)
class Report:
    """Cost and reach of an index set; None where it is not known."""

    n_queries: int
    n_keys: int
    edges: int
    keys_mean: float
    """Mean keys per query."""
    keys_min: int
    keys_max: int
    tiles: int
    """Tiles of at most 16 queries that the plan runs."""
    tile_share: float
    """Share of the edges that run in tiles, 0 to 1; the others run as rows."""
    tile_fill: float | None
    """Edges in tiles over lanes computed for them, 0 to 1; None where no tile holds a key."""
    lanes_per_edge: float | None
    """Dot products computed for each edge, 1 at best; None without edges."""
    index_bytes: int
    """Memory of the plan's index; O(K) in all for offsets."""
    forward_ms: float | None
    """Milliseconds that a forward pass should take on this machine, for the sizes asked for; None if not predicted."""
    backward_ms: float | None
    """The same of a backward pass."""
    layers: int | None
    """Layers until every (earlier) position is reached; None if not within those asked for, or not counted."""
    reach: float | None
    """Share of the pairs reached in the end, 0 to 1; None if not counted."""
    prefix_stable: bool | None
    """Whether a position's keys stay when the sequence grows."""

    def to_dict(self) -> dict[str, object]:
        """All fields, for printing."""
        return asdict(self)


def reach_of(native: _native.IndexSet, layers: int) -> Reach:
    """See `IndexSet.reach`."""
    layers = integer("layers", layers, 1, INT32_MAX)
    if native.n_queries == native.n_keys == 0:
        return Reach(native.is_causal(), None, ())
    causal, full, shares = native.reach(layers, 2**64 - 1) or (False, None, ())
    return Reach(causal, full, tuple(float(share) for share in shares))


def report_of(
    native: _native.IndexSet,
    layers: int,
    *,
    predict: bool,
    heads: int,
    head_dim: int,
    dtype: str,
    threads: int | None,
) -> Report:
    """See `IndexSet.report`."""
    layers = integer("layers", layers, 1, INT32_MAX)
    heads, head_dim = integer("heads", heads, 1, INT32_MAX), integer("head_dim", head_dim, 1, 4096)
    threads = None if threads is None else integer("threads", threads, 1, 1024)
    if dtype not in DTYPES:
        raise InvalidArgumentError("dtype", repr(dtype), f"one of {', '.join(DTYPES)}")
    predict = flag("predict", predict)
    plan = native.plan_report()
    shifted = native.offsets is not None
    forward_ms = backward_ms = None
    if predict:
        info = _native.thread_info()
        threads = int(info["threads"]) if threads is None else threads
        forward_ms, backward_ms = (
            predicted_ms(
                plan,
                native.n_queries,
                shifted=shifted,
                level=str(info["simd"]),
                peak_gflops=threads * peak_gflops(),
                heads=heads,
                head_dim=head_dim,
                dtype=dtype,
                backward=backward,
            )
            for backward in (False, True)
        )
    fewest, most = native.degrees()
    square = native.n_queries == native.n_keys > 0
    reached = native.reach(layers, _WORDS) if square else None
    edges, lanes = native.nnz, plan["tile_lanes"]
    return Report(
        n_queries=native.n_queries,
        n_keys=native.n_keys,
        edges=edges,
        keys_mean=edges / max(native.n_queries, 1),
        keys_min=fewest,
        keys_max=most,
        tiles=plan["tiles"],
        tile_share=plan["tile_edges"] / max(edges, 1),
        tile_fill=plan["tile_edges"] / lanes if lanes else None,
        lanes_per_edge=(lanes + plan["row_edges"]) / edges if edges else None,
        index_bytes=plan["index_bytes"],
        forward_ms=forward_ms,
        backward_ms=backward_ms,
        layers=reached[1] if reached else None,
        reach=float(reached[2][-1]) if reached else None,
        prefix_stable=True if shifted else None,
    )
