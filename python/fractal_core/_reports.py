"""What is said about an index set: its reach and its cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Reach", "Report"]


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
    forward_ms: float
    """Milliseconds that a forward pass should take on this machine, for the sizes asked for."""
    backward_ms: float
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
