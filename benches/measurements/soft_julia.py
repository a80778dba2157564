"""The soft Julia field and its gradients against torch, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from fractal_core.bench.peers import PeerError

from benches.processes import environment, in_turn
from benches.report.results import Row
from benches.settings import Settings
from benches.workers.soft_julia import DTYPES

__all__ = ["soft_julia"]

_NOTE = "paired processes in turn, the call after 0.1 s of calls; the other one's threads sleep"


def soft_julia(settings: Settings, *, points: int = 65_536, steps: int = 64) -> Iterator[Row]:
    """The soft field and its gradients by points, c, radius and smoothness against torch's autograd."""
    commands = {side: [sys.executable, side, str(points), str(steps)] for side in ("ours", "torch")}
    for dtype in DTYPES:
        name, peer, bar = f"soft-julia/{dtype}", "torch autograd, vectorised", 15.0
        what = f"soft Julia, {points} points × {steps}, {dtype}, forward + backward"
        try:
            times = in_turn(commands, environment(), "soft_julia", dtype, settings.count(15))
        except PeerError as error:
            yield Row(name, what, peer, bar=bar, note=str(error))
            continue
        yield Row.faster(name, what, peer, times, theirs="torch", bar=bar, note=_NOTE)
