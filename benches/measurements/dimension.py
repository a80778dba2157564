"""Box counting against the peer that counts boxes of attention, and all heads of a model of usual size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from fractal_core import dimension
from fractal_core.bench.clock import interleaved
from fractal_core.bench.peers import PeerError

from benches.peers.analysis import PEER, box_dimension
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["counting", "heads"]

_SIDES = (2, 4, 8, 16, 32)


def counting(settings: Settings, *, n: int = 2048) -> Iterator[Row]:
    """The peer's own number, from the same matrix: boxes of a set, and with the threshold that makes the set."""
    peer = PEER
    rows = [
        Row("dimension/count", f"boxes of 5 sides in a set of {n}² cells", peer, bar=40),
        Row("dimension/threshold", f"the median of {n}² float32 weights, and the boxes above it", peer, bar=10),
    ]
    try:
        theirs = box_dimension()
    except PeerError as error:
        yield from (replace(row, note=str(error)) for row in rows)
        return
    weights = np.random.default_rng(0).random((n, n), dtype=np.float32)
    chosen = weights > np.median(weights)

    def count() -> object:
        return dimension.box_dimension(chosen, mode="raw", scales=_SIDES)

    def threshold() -> object:
        return dimension.box_dimension(weights, foreground=("quantile", 0.5), mode="raw", scales=_SIDES)

    times = interleaved({"count": count, "threshold": threshold, "peer": lambda: theirs(weights)}, settings.count(7))
    for row, name in zip(rows, ("count", "threshold"), strict=True):
        note = "the peer finds the median too" if name == "count" else "both from weights to the number"
        yield Row.faster(row.name, row.what, peer, times, ours=name, theirs="peer", bar=row.bar, note=note)


def heads(settings: Settings, *, shape: tuple[int, int, int, int] = (12, 12, 512, 512)) -> Iterator[Row]:
    """D0, D1, D2 and the statistics of all rows, of every head."""
    logits = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    weights = np.exp(logits) * np.tri(shape[-1], dtype=np.float32)
    weights /= weights.sum(-1, keepdims=True)

    def ours() -> object:
        return dimension.renyi_dimension(weights, "causal", q=[0, 1, 2]), dimension.row_statistics(weights, "causal")

    times = interleaved({"ours": ours}, settings.count(5))
    what = f"D0, D1, D2 and statistics of all rows, {' × '.join(map(str, shape))}, float32, causal"
    seconds = times.ms("ours") / 1e3
    yield Row("dimension/heads", what, "half a second", "s", seconds, ours_ms=times.ms("ours"), bar=0.5, at_most=True)
