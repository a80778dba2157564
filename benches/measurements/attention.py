"""Attention against its peers at fixed sizes, and as a share of the FMA peak of the same run.

Operations are counted on the pattern's own edges: 4 D an edge and head forward, 10 D backward (five products against
two). What masked lanes compute on top is a cost, not work done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from fractal_core.bench.case import WIDTH, Case
from fractal_core.bench.clock import Call, Spread, Times, interleaved
from fractal_core.bench.peers import Attend, PeerError, causal, dense, masked
from fractal_core.index_sets import IndexSet
from fractal_core.patterns import create

from benches.machine import fma_chains, level
from benches.peers.attention import flex_window, gather, local
from benches.report.results import Row
from benches.settings import Settings

__all__ = [
    "Peak",
    "ladder",
    "neighbourhood",
    "random_keys",
    "random_lists",
    "shares",
    "window_forward",
    "window_training",
]

_IN_TURN = "the peer's call runs in between"
_PEAK = "the peak's loop runs in between"


class Peak:
    """The FMA peak at the level, the threads and on the pool of our calls from torch.

    Args:
        steps: Length of the chains; the default takes some milliseconds a call.
    """

    def __init__(self, steps: int = 50_000) -> None:
        self._steps = steps
        self._tasks = 16 * torch.get_num_threads()
        self.flops = self()

    def __call__(self) -> int:
        """Runs the chains once and gives their operations."""
        return fma_chains(self._steps, self._tasks)

    def share(self, times: Times, ours: str, flops: float) -> Spread:
        """Our operations in a second as a share of the peak's."""
        return times.ratio(ours, "peak").scaled(flops / self.flops)

    def limit(self, seconds: float, times: Times, flops: float) -> float:
        """How many times faster than a peer that takes so long a kernel at the peak would be."""
        return seconds * self.flops / (flops * times.median("peak"))


@dataclass(frozen=True)
class Peer:
    """A peer of a comparison: its name for people, how to get ready, and the bar."""

    title: str
    prepare: Callable[[], Attend]
    bar: float | None = None


def _against(
    settings: Settings,
    name: str,
    what: str,
    case: Case,
    peers: Mapping[str, Peer],
    *,
    training: bool,
    usual: int,
    share_bar: float | None = None,
) -> Iterator[Row]:
    """Rows for each peer and one for the share of the peak: of the forward, or with training of the backward pass."""
    make = case.training if training else case.forward
    ours, peak, rounds = make(case.ours), Peak(), settings.count(usual)
    direction, share_of = ("backward", case.backward(case.ours)) if training else ("forward", ours)
    peak_times = interleaved({"ours": share_of, "peak": peak}, rounds)
    for key, peer in peers.items():
        row, title = f"{name}/{key}", peer.title
        try:
            theirs = make(peer.prepare())
        except PeerError as error:
            yield Row(row, what, title, bar=peer.bar, note=str(error))
            continue
        times = interleaved({"ours": ours, "theirs": theirs}, rounds)
        limit = peak.limit(times.median("theirs"), peak_times, case.flops * (3.5 if training else 1.0))
        yield Row.faster(row, what, title, times, theirs="theirs", bar=peer.bar, limit=limit, note=_IN_TURN)
    share = peak.share(peak_times, "ours", case.flops * (2.5 if training else 1.0))
    sizes = what.rpartition(", ")[0]
    yield Row.share(f"{name}/peak", f"{sizes}, {direction}", "FMA peak", share, bar=share_bar, note=_PEAK)


def window_forward(
    settings: Settings, *, n: int = 4096, radius: int = 64, width: int = WIDTH, flex: bool = True
) -> Iterator[Row]:
    """A window's forward pass against dense and masked SDPA, FlexAttention and local-attention."""
    case = Case(create("window", radius=radius).index_set(n), width=width)
    peers = {
        "dense": Peer("SDPA dense", lambda: dense, 28),
        "masked": Peer("SDPA with the mask", lambda: masked(case.index_set)),
        "flex": Peer("FlexAttention, compiled", lambda: flex_window(radius, case.q, case.k, case.v), 3),
        "local": Peer("local-attention", lambda: local(radius)),
    }
    if not flex:
        del peers["flex"]
    what = f"window ±{radius}, n = {n}, forward"
    yield from _against(settings, "window-forward", what, case, peers, training=False, usual=21, share_bar=0.5)


def window_training(settings: Settings, *, n: int = 4096, radius: int = 64, width: int = WIDTH) -> Iterator[Row]:
    """A window's forward and backward pass against dense and masked SDPA and local-attention."""
    case = Case(create("window", radius=radius).index_set(n), width=width)
    peers = {
        "dense": Peer("SDPA dense", lambda: dense, 26),
        "masked": Peer("SDPA with the mask", lambda: masked(case.index_set), 26),
        "local": Peer("local-attention", lambda: local(radius)),
    }
    what = f"window ±{radius}, n = {n}, forward + backward"
    yield from _against(settings, "window-training", what, case, peers, training=True, usual=15, share_bar=0.5)


def random_lists(settings: Settings, *, n: int = 4096, k: int = 64, width: int = WIDTH) -> Iterator[Row]:
    """Random keys: the worst case, against keys gathered by torch."""
    case = Case(random_keys(n, k), width=width)
    peers = {
        "gather": Peer("gather in torch", lambda: gather(case.index_set), None),
        "dense": Peer("SDPA dense", lambda: dense),
    }
    what = f"random lists K = {k}, n = {n}, forward"
    yield from _against(settings, "random", what, case, peers, training=False, usual=9, share_bar=0.12)
    peers["gather"] = Peer("gather in torch", lambda: gather(case.index_set), 40)
    what = f"random lists K = {k}, n = {n}, forward + backward"
    yield from _against(settings, "random-training", what, case, peers, training=True, usual=9, share_bar=0.12)


def random_keys(n: int, k: int) -> IndexSet:
    """Lists of k different keys for each query, drawn evenly from all n."""
    rng = np.random.default_rng(0)
    keys = np.sort(rng.integers(0, n, (n, k), dtype=np.int64), axis=1)
    for row in np.flatnonzero((np.diff(keys, axis=1) == 0).any(axis=1)):
        keys[row] = rng.choice(n, k, replace=False, shuffle=False)
    return IndexSet.from_padded(keys, n)


def ladder(settings: Settings, *, n: int = 16_384, radius: int = 64, width: int = WIDTH) -> Iterator[Row]:
    """A causal window with a Cantor ladder against causal SDPA."""
    pattern = f"window:radius={radius}|cantor:base=4"
    case = Case(create(pattern).index_set(n, causal=True), width=width)
    for training, bar, usual in ((False, 30, 9), (True, 25, 5)):
        peers = {"causal": Peer("SDPA, is_causal=True", lambda: causal, bar)}
        what = f"causal window {radius} ∪ Cantor b = 4, n = {n}, {'forward + backward' if training else 'forward'}"
        name = "ladder-training" if training else "ladder"
        yield from _against(settings, name, what, case, peers, training=training, usual=usual)


def neighbourhood(settings: Settings, *, side: int = 128, window: int = 7, width: int = WIDTH) -> Iterator[Row]:
    """A square neighbourhood of tokens in raster layout against dense SDPA."""
    case = Case(create("hilbert", window=window, shape=(side, side)).index_set(side * side), width=width)
    peers = {"dense": Peer("SDPA dense", lambda: dense, 120)}
    what = f"neighbourhood {window} × {window} on {side} × {side}, n = {side * side}, forward + backward"
    yield from _against(settings, "neighbourhood", what, case, peers, training=True, usual=5)


def shares(settings: Settings, *, n: int = 4096, radius: int = 64, width: int = WIDTH) -> Iterator[Row]:
    """A window's forward and backward pass as shares of the peak at this process's SIMD level, without a peer."""
    simd = level()
    case = Case(create("window", radius=radius).index_set(n), width=width)
    peak = Peak()
    calls: dict[str, Call] = {
        "forward": case.forward(case.ours),
        "backward": case.backward(case.ours),
        "peak": peak,
    }
    times = interleaved(calls, settings.count(25))
    for direction, factor in (("forward", 1.0), ("backward", 2.5)):
        share = peak.share(times, direction, factor * case.flops)
        what, note = f"window ±{radius}, n = {n}, {direction}", f"at level {simd}, alone in a process of its own"
        yield Row.share(f"level-{simd}/{direction}", what, f"FMA peak of {simd}", share, bar=0.5, note=note)
