"""The time that a plan is expected to take, from its counts and the FMA peak.

A plan computes `tile_lanes` (query, key) pairs in tiles, masked ones included, and `row_edges` pairs as gathered dots.
Forward each takes 4 D floating-point operations, backward 10 D; tiles and rows run at a share of the peak that depends
on the SIMD level alone. What a call costs before any of it is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fractal_core.errors import InvalidArgumentError

__all__ = ["EFFICIENCY", "Efficiency", "predicted_ms"]


@dataclass(frozen=True)
class Efficiency:
    """Shares of the FMA peak at which the two parts of a plan run at head dimension 64, two threads.

    Measured by `fractal-core bench --only predicted` (Zen 4; NEON is set by hand). A guide: that measurement holds it
    against the clock, and rows shorter than a step of 16 keys take longer than it says. Scalar shares may be above 1,
    since the compiler vectorises the kernels at that level and not the peak loop.
    """

    tiles: float
    rows: float
    tiles_backward: float
    rows_backward: float


EFFICIENCY: Mapping[str, Efficiency] = {
    "avx512": Efficiency(0.65, 0.21, 0.63, 0.15),
    "avx2": Efficiency(0.51, 0.16, 0.50, 0.13),
    "neon": Efficiency(0.50, 0.20, 0.50, 0.15),
    "sse4.2": Efficiency(0.60, 0.19, 0.53, 0.18),
    "sse2": Efficiency(0.60, 0.19, 0.53, 0.18),
    "scalar": Efficiency(3.0, 0.78, 2.3, 0.83),
}

_CALL_MS = 0.03
"""What a call through torch costs without any work."""


def predicted_ms(
    plan: Mapping[str, int], *, level: str, peak_gflops: float, heads: int, head_dim: int, backward: bool = False
) -> float:
    """Milliseconds of a pass.

    Args:
        plan: `tile_lanes` and `row_edges`, pairs a head, as the plan's report counts them.
        level: SIMD level of the kernels.
        peak_gflops: FMA peak at that level and the thread count in use, in 1e9 operations a second, above 0.
        heads: Batch times query heads.
        head_dim: D.
        backward: Of a backward pass instead of a forward pass.

    Raises:
        InvalidArgumentError: An unknown level, or a peak that is not above 0.
    """
    if level not in EFFICIENCY:
        raise InvalidArgumentError("level", repr(level), f"one of {', '.join(EFFICIENCY)}")
    if not peak_gflops > 0:
        raise InvalidArgumentError("peak_gflops", peak_gflops, "above 0")
    share = EFFICIENCY[level]
    tiles, rows = (share.tiles_backward, share.rows_backward) if backward else (share.tiles, share.rows)
    operations = (10 if backward else 4) * head_dim * heads
    weighted = plan["tile_lanes"] / tiles + plan["row_edges"] / rows
    return _CALL_MS + operations * weighted / (peak_gflops * 1e6)
