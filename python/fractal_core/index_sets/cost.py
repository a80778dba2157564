"""The time that a plan is expected to take, from its counts and the FMA peak of the machine.

A plan computes `tile_lanes` (query, key) pairs in tiles, masked ones included, and `row_edges` pairs as gathered dots.
Forward each takes 4 D floating-point operations, backward 10 D; tiles and rows run at a share of the peak that depends
on the SIMD level. Rows of listed keys go 16 keys a step. What a query costs besides (reading q, writing the output, the
softmax) is counted in pairs, and what a call costs before any of it is added.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from fractal_core import _native
from fractal_core._locks import ForkSafeLock
from fractal_core.errors import InvalidArgumentError

__all__ = ["DTYPES", "EFFICIENCY", "Efficiency", "peak_gflops", "predicted_ms"]


@dataclass(frozen=True)
class Efficiency:
    """Shares of the FMA peak at which the two parts of a plan run at head dimension 64, two threads.

    Fitted to `make bench ARGS="--only predicted"` at AVX-512 (Zen 4) and scaled from there for the other levels.
    Scalar shares may be above 1, since the compiler vectorises the kernels at that level and not the peak loop.
    """

    tiles: float
    rows: float
    tiles_backward: float
    rows_backward: float


EFFICIENCY: Mapping[str, Efficiency] = {
    "avx512": Efficiency(0.77, 0.25, 0.60, 0.18),
    "avx2": Efficiency(0.60, 0.19, 0.48, 0.16),
    "neon": Efficiency(0.59, 0.24, 0.48, 0.18),
    "sse4.2": Efficiency(0.71, 0.23, 0.50, 0.22),
    "scalar": Efficiency(3.5, 0.93, 2.2, 1.0),
}

_STEP = 16
"""Keys of a row's step."""
_SHIFTED = 1.4
"""How many times as fast rows are that all queries share as offsets."""
_QUERY, _ROW = 32, 28
"""Pairs at the peak's speed that a query costs, and its row on top."""
_CALL_MS = 0.03
"""What a call costs without any work."""
DTYPES = {"float32": 1, "float64": 2}
"""How many vectors a dtype takes for one of float32."""

_lock = ForkSafeLock()
_measured: float | None = None


def peak_gflops() -> float:
    """1e9 float32 operations a second of one thread, measured on the first call of a process and kept.

    Threads that come at once wait for the one that measures, so that no two disturb each other.
    """
    global _measured  # noqa: PLW0603
    with _lock:
        if _measured is None:
            _measured = _measure()
        return _measured


def _measure() -> float:
    """The best of some short runs of the peak loop."""
    steps, best = 20_000, 0.0
    for _ in range(8):
        start = time.perf_counter()
        operations = _native.fma_chains(steps, 1, "serial", 1)
        best = max(best, operations / (time.perf_counter() - start) / 1e9)
    return best


def predicted_ms(
    plan: Mapping[str, int],
    n_queries: int,
    *,
    shifted: bool,
    level: str,
    peak_gflops: float,
    heads: int,
    head_dim: int,
    dtype: str = "float32",
    backward: bool = False,
) -> float:
    """Milliseconds of a pass.

    Args:
        plan: `tile_lanes` and `row_edges`, pairs a head, as the plan's report counts them.
        n_queries: Nq.
        shifted: Whether the rows are offsets that all queries share.
        level: SIMD level of the kernels.
        peak_gflops: Float32 FMA peak of all threads in use, in 1e9 operations a second, above 0.
        heads: Batch times query heads.
        head_dim: D.
        dtype: "float32" or "float64".
        backward: Of a backward pass instead of a forward pass.

    Raises:
        InvalidArgumentError: An unknown level or dtype, or a peak that is not above 0.
    """
    if level not in EFFICIENCY:
        raise InvalidArgumentError("level", repr(level), f"one of {', '.join(EFFICIENCY)}")
    if dtype not in DTYPES:
        raise InvalidArgumentError("dtype", repr(dtype), f"one of {', '.join(DTYPES)}")
    if not peak_gflops > 0:
        raise InvalidArgumentError("peak_gflops", peak_gflops, "above 0")
    share = EFFICIENCY[level]
    tiles, rows = (share.tiles_backward, share.rows_backward) if backward else (share.tiles, share.rows)
    edges = plan["row_edges"]
    with_row = min(edges, n_queries)
    pairs = edges / _SHIFTED if shifted else -(-edges // (_STEP * max(with_row, 1))) * _STEP * with_row
    weighted = plan["tile_lanes"] / tiles + pairs / rows + _QUERY * n_queries + _ROW * with_row
    operations = (10 if backward else 4) * head_dim * heads * DTYPES[dtype]
    return _CALL_MS + operations * weighted / (peak_gflops * 1e6)
