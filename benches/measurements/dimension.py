"""Dimensions of attention against fractal-attention-analysis, and all heads of a model against half a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from fractal_core import dimension as fd
from fractal_core.bench.clock import interleaved
from fractal_core.bench.peers import PeerError

from benches.peers.median_boxes import median_box_dimension
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["dimension"]

SCALES = (2, 4, 8, 16, 32)
"""Those of the peer."""


def dimension(settings: Settings, *, n: int = 2048, layers: int = 12, heads: int = 12, tokens: int = 512) -> Iterator[Row]:
    """Counting boxes, threshold and counting, and D_0 to D_2 with the row statistics of all heads.

    Args:
        settings: How many rounds.
        n: Side of the matrix for boxes.
        layers: Layers of the model, for all heads.
        heads: Heads of a layer.
        tokens: Tokens of the model's input.
    """
    rng = np.random.default_rng(0)
    weights = rng.random((n, n), np.float32)
    above = weights > np.median(weights)
    peer = "fractal-attention-analysis"
    ours = {
        "counting": ("box counts of a set", 40.0, lambda: fd.box_dimension(above, mode="raw", scales=SCALES)),
        "threshold": (
            "a threshold for each row, and box counts",
            10.0,
            lambda: fd.box_dimension(weights, foreground=("uniform", 1.0), mode="raw", scales=SCALES),
        ),
        "median": (
            "the median, and box counts",
            None,
            lambda: fd.box_dimension(weights, foreground=("quantile", 0.5), mode="raw", scales=SCALES),
        ),
    }
    for name, (what, bar, call) in ours.items():
        row = Row(f"dimension/{name}", f"{what}, {n} x {n}, float32", peer, bar=bar)
        try:
            theirs = median_box_dimension()
        except PeerError as error:
            yield replace(row, note=str(error))
            continue
        times = interleaved({"ours": call, "peer": lambda: theirs(weights)}, settings.count(11))
        note = "the peer's call with its median and counts"
        yield Row.faster(row.name, row.what, peer, times, theirs="peer", bar=bar, note=note)
    logits = rng.normal(size=(layers, heads, tokens, tokens)).astype(np.float32)
    maps = np.exp(logits)
    maps /= maps.sum(axis=-1, keepdims=True)

    def all_heads() -> None:
        fd.renyi_dimension(maps, q=[0, 1, 2])
        fd.row_statistics(maps)

    try:
        theirs = median_box_dimension()
    except PeerError as error:
        yield Row("dimension/all-heads", "all heads", peer, note=str(error))
        return
    calls = {"ours": all_heads, "peer": lambda: [theirs(head) for layer in maps for head in layer]}
    times = interleaved(calls, settings.count(5))
    what = f"D_0 to D_2 and row statistics, ({layers}, {heads}, {tokens}, {tokens}), float32"
    yield Row.faster("dimension/all-heads", what, peer, times, theirs="peer", note="the peer gives one dimension a head")
