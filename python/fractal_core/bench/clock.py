"""Calls timed in turn, A B A B …, so that a change in the machine's speed affects all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["SHORT", "Call", "Spread", "Times", "interleaved", "stays_faster"]

SHORT = 2e-3
"""Seconds that one timing of a short call should take."""

Call = Callable[[], object]


class Spread(NamedTuple):
    """A ratio of medians, and the lowest and highest ratio of a single pair."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Spread:
        """All three times a positive factor."""
        return Spread(*(factor * x for x in self))


class Times:
    """Seconds of each call, round by round.

    Args:
        seconds: For each name as many as there were rounds.
    """

    def __init__(self, seconds: Mapping[str, Sequence[float]]) -> None:
        self._seconds = {name: list(values) for name, values in seconds.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._seconds

    def median(self, name: str) -> float:
        """Median seconds of a call."""
        return statistics.median(self._seconds[name])

    def ms(self, name: str) -> float:
        """Median milliseconds of a call."""
        return 1e3 * self.median(name)

    def ratio(self, ours: str, peer: str) -> Spread:
        """How many times as long the peer takes: of medians, and over the pairs of each round."""
        pairs = [b / a for a, b in zip(self._seconds[ours], self._seconds[peer], strict=True)]
        return Spread(self.median(peer) / self.median(ours), min(pairs), max(pairs))


def interleaved(calls: Mapping[str, Call], rounds: int, *, least: float = 0.0) -> Times:
    """Times one of each call in every round, after a round that warms up.

    Args:
        calls: What to time; the order is the order of the calls.
        rounds: How many rounds count, at least 1.
        least: Seconds that one timing should take: shorter calls are repeated within it.
    """
    repeats = dict.fromkeys(calls, 1)
    for name, call in calls.items():
        call()
        if least:
            repeats[name] = max(1, math.ceil(least / max(_once(call, 1), 1e-7)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(_once(call, repeats[name]))
    return Times(seconds)


def stays_faster(lengths: Sequence[int], ratios: Sequence[float]) -> int | None:
    """The first of increasing lengths from which on every ratio is above 1; None if the last one is not."""
    found = None
    for n, ratio in zip(reversed(lengths), reversed(ratios), strict=True):
        if ratio <= 1.0:
            break
        found = n
    return found


def _once(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
