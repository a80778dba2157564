"""Statistics of the weights against a forward pass of our own on the same edges."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from fractal_core.bench.case import WIDTH, Case
from fractal_core.bench.clock import interleaved
from fractal_core.nn import attention_stats
from fractal_core.patterns import create

from benches.measurements.attention import random_keys
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["statistics"]


def statistics(
    settings: Settings, *, n: int = 4096, radius: int = 64, k: int = 64, width: int = WIDTH
) -> Iterator[Row]:
    """How long a pass of statistics takes beside a forward pass: of a window, and of random keys, its worst case."""
    sets = {
        "window": (f"window ±{radius}, n = {n}", create("window", radius=radius).index_set(n)),
        "random": (f"random lists K = {k}, n = {n}", random_keys(n, k)),
    }
    for name, (sizes, index_set) in sets.items():
        case = Case(index_set, width=width)
        q, keys = case.q.detach(), case.k.detach()

        def ours(q: torch.Tensor = q, keys: torch.Tensor = keys, case: Case = case) -> object:
            return attention_stats(q, keys, case.index_set)

        times = interleaved({"ours": ours, "forward": case.forward(case.ours)}, settings.count(21))
        what, note = f"statistics of the weights, {sizes}", "the forward pass runs in between"
        yield Row.faster(f"statistics/{name}", what, "our forward pass", times, theirs="forward", bar=1.0, note=note)
