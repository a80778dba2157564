"""The predicted time of a plan against the clock."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from fractal_core.bench.case import HEADS, WIDTH, Case
from fractal_core.bench.clock import interleaved
from fractal_core.patterns import create

from benches.measurements.attention import random_keys
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["predicted"]


def predicted(settings: Settings, *, n: int = 4096, side: int = 64, width: int = WIDTH) -> Iterator[Row]:
    """Predicted over measured time of four plans, forward and backward."""
    sets = {
        "window": (f"window ±64, n = {n}", create("window", radius=64).index_set(n)),
        "random": (f"random lists K = 64, n = {n}", random_keys(n, 64)),
        "ladder": (
            f"causal window 64 ∪ Cantor b = 4, n = {n}",
            create("window:radius=64|cantor:base=4").index_set(n, causal=True),
        ),
        "neighbourhood": (
            f"neighbourhood 7 × 7 on {side} × {side}",
            create("neighborhood", kernel_size=7, shape=(side, side)).index_set(side * side),
        ),
    }
    for name, (what, index_set) in sets.items():
        case = Case(index_set, width=width)
        report = index_set.report(1, predict=True, heads=HEADS, head_dim=width, threads=torch.get_num_threads())
        calls = {"forward": case.forward(case.ours), "backward": case.backward(case.ours)}
        times = interleaved(calls, settings.count(9))
        for direction, expected in (("forward", report.forward_ms), ("backward", report.backward_ms)):
            assert expected is not None
            yield Row(
                f"predicted/{name}-{direction}",
                f"predicted time, {what}, {direction}",
                "the clock",
                "of measured",
                expected / times.ms(direction),
                ours_ms=expected,
                peer_ms=times.ms(direction),
                limit=1.0,
            )
