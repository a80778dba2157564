"""The arguments of the attention kernels: one object for both passes.

Letters: B batches, H query heads, Hkv key heads (H is a multiple), Nq queries, Nk keys, D and Dv head sizes, E edges.
Arrays are read in place. Their last dimension is contiguous, other strides are free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Attention",
    "Force",
    "ForceGradients",
    "ForceSaved",
    "Gradients",
    "Modifiers",
    "Saved",
    "Statistics",
    "StatisticsGradients",
]


class Modifiers(NamedTuple):
    """Changes of the scores by rule: a soft cap, then, on the CPU, a bias by distance; and sinks in the denominator."""

    soft_cap: float | None
    """Above 0."""
    distances: NDArray[Any] | None
    """(H|1, L) in the accumulation dtype."""
    origin: int
    """Query and key take the entry origin + the place of the query - that of the key, or the nearest end."""
    query_places: NDArray[Any] | None
    """(Nq,) int32; their numbers where it is None."""
    key_places: NDArray[Any] | None
    """(Nk,) int32, likewise."""
    sinks: NDArray[Any] | None
    """(H,) in the accumulation dtype."""


class Attention(NamedTuple):
    """One call of attention."""

    q: NDArray[Any]
    """(B, H, Nq, D) of `dtype`; bfloat16 and float16 as their bits, uint16."""
    k: NDArray[Any]
    """(B, Hkv, Nk, D)."""
    v: NDArray[Any]
    """(B, Hkv, Nk, Dv); k for statistics and weights, in which values have no part."""
    index_set: int | NDArray[Any]
    """The key in `IndexSet.handle`, or lists of keys (B|1, Hkv|1, Nq, K), int32 or int64, in which -1 is a pad."""
    dtype: str
    """"f32", "f64", "bf16" or "f16"."""
    scale: float
    """Factor of the scores."""
    key_bias: NDArray[Any] | None = None
    """(B|1, H|1, Nk), float64 where `dtype` is "f64", else float32."""
    edge_bias: NDArray[Any] | None = None
    """(H|1, E), likewise."""
    key_padding: NDArray[Any] | None = None
    """(B, Nk) bool, True where a key is hidden."""
    dropout_p: float = 0.0
    """Probability that an attention weight is dropped."""
    seed: int = 0
    """Seed of the dropout, below 2**64."""
    executor: str = "rayon"
    """"rayon", "openmp" or "serial"."""
    threads: int = 1
    """Threads of "openmp"."""
    device: str = "cpu"
    """"cpu" or "gpu"."""
    modifiers: Modifiers | None = None


class Saved(NamedTuple):
    """What the forward pass left, and the incoming gradients."""

    out: NDArray[Any]
    """(B, H, Nq, Dv)."""
    lse: NDArray[Any]
    """(B, H, Nq)."""
    lse_rest: NDArray[Any]
    """(B, H, Nq), the rounding error of lse."""
    dout: NDArray[Any]
    """(B, H, Nq, Dv)."""
    dlse: NDArray[Any] | None = None
    """(B, H, Nq)."""


class Gradients(NamedTuple):
    """Where the gradients go, each in the shape of its input; those of biases are added to."""

    q: NDArray[Any]
    k: NDArray[Any]
    v: NDArray[Any] | None
    """None for statistics, in which values have no part."""
    key_bias: NDArray[Any] | None = None
    edge_bias: NDArray[Any] | None = None
    distances: NDArray[Any] | None = None
    """Not computed where it is None."""


class Statistics(NamedTuple):
    """Where statistics of the weights go, in the accumulation dtype."""

    entropy: NDArray[Any]
    """(B, H, Nq), in nats."""
    maximum: NDArray[Any]
    """(B, H, Nq)."""
    mean_distance: NDArray[Any]
    """(B, H, Nq), in keys."""
    column_mass: NDArray[Any]
    """(B, H, Nk)."""


class StatisticsGradients(NamedTuple):
    """The gradients of statistics, each in its shape; None counts as 0."""

    entropy: NDArray[Any] | None
    mean_distance: NDArray[Any] | None
    column_mass: NDArray[Any] | None


class Force(NamedTuple):
    """One call of force attention. G is 1, and all heads share their points, or it is H."""

    e: NDArray[Any]
    """(B, G, Nq, C) of `dtype`, points of the queries."""
    r: NDArray[Any]
    """(B, G, Nk, C), points of the keys."""
    v: NDArray[Any]
    """(B, H, Nk, Dv)."""
    a: NDArray[Any]
    """(B, G, Nq, H / G), contiguous."""
    c: NDArray[Any]
    """(B, G, Nk, H / G), contiguous."""
    strength: NDArray[Any]
    """(H,), factor of the forces."""
    rate: NDArray[Any]
    """(H,), not negative: forces decline as exp(-rate * distance)."""
    index_set: int | NDArray[Any]
    """The key in `IndexSet.handle`, or lists of keys (B|1, G|1, Nq, K), int32 or int64, in which -1 is a pad."""
    dtype: str
    """"f32" or "f64"."""
    q: NDArray[Any] | None
    """(B, H, Nq, D), or None."""
    k: NDArray[Any] | None
    """(B, H, Nk, D), or None."""
    key_padding: NDArray[Any] | None
    """(B, Nk) bool, True where a key is hidden."""
    scale: float
    """Factor of the dot products of q and k."""
    eps: float
    """Added to distances in the denominator, above 0."""
    executor: str
    """"rayon", "openmp" or "serial"."""
    threads: int
    """Threads of "openmp"."""


class ForceSaved(NamedTuple):
    """What the forward pass left, and the incoming gradients; all contiguous."""

    out: NDArray[Any]
    """(B, G, Nq, H / G, Dv)."""
    lse: NDArray[Any]
    """(B, G, Nq, H / G)."""
    dout: NDArray[Any]
    """(B, G, Nq, H / G, Dv)."""
    dlse: NDArray[Any] | None
    """(B, G, Nq, H / G)."""


class ForceGradients(NamedTuple):
    """Where the gradients go; those of v, q and k as (B, G, N, H / G, width), the others in the shape of the input."""

    e: NDArray[Any]
    r: NDArray[Any]
    v: NDArray[Any]
    a: NDArray[Any]
    c: NDArray[Any]
    strength: NDArray[Any]
    rate: NDArray[Any]
    q: NDArray[Any] | None
    k: NDArray[Any] | None
