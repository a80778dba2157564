"""Which of two devices runs a call, by costs that are fitted to measured calls and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fractal_core._locks import ForkSafeLock
from fractal_core.gpu.costs import Cost, Features, fit

__all__ = ["DEVICES", "Measure", "Prediction", "Router"]

DEVICES = ("cpu", "gpu")

Measure = Callable[[str, str, tuple[int, ...]], float]
"""Seconds of a call of an op on a device, by its size."""

_measuring = ForkSafeLock()

_MARGIN = 1.05
"""How many times as fast the GPU must be expected to be: where both are equal the CPU keeps the GPU free."""


class Prediction(NamedTuple):
    """What a call is expected to take."""

    device: str
    """The device that takes less."""
    seconds: Mapping[str, float]
    """On each device."""


class Router:
    """Costs of ops on the CPU and on one GPU, measured when an op is first asked about.

    Args:
        measure: Times a call.
        sizes: The sizes of an op that are timed.
        features: What a call of a size has much of.
        known: Costs from an earlier time, by op and device.
        learnt: Is told the costs of an op when they have been measured.
    """

    def __init__(
        self,
        measure: Measure,
        sizes: Callable[[str], Sequence[tuple[int, ...]]],
        features: Callable[[str, tuple[int, ...]], Features],
        known: Mapping[str, Mapping[str, Cost]] | None = None,
        learnt: Callable[[str, Mapping[str, Cost]], None] | None = None,
    ) -> None:
        self._measure, self._sizes, self._features = measure, sizes, features
        self._costs: dict[str, Mapping[str, Cost]] = dict(known or {})
        self._learnt = learnt

    def costs(self, op: str) -> Mapping[str, Cost]:
        """The costs of an op by device; measured at the first question."""
        if op not in self._costs:
            # Threads that come at once wait for the one that measures, so that no two disturb each other.
            with _measuring:
                if op not in self._costs:
                    self._costs[op] = self._learn(op)
        return self._costs[op]

    def _learn(self, op: str) -> Mapping[str, Cost]:
        sizes = self._sizes(op)
        calls = [self._features(op, size) for size in sizes]
        found = {device: fit(calls, [self._measure(op, device, size) for size in sizes]) for device in DEVICES}
        if self._learnt is not None:
            self._learnt(op, found)
        return found

    def predict(self, op: str, features: Features) -> Prediction:
        """What a call takes on each device, and which one it should run on."""
        seconds = {device: cost.seconds(features) for device, cost in self.costs(op).items()}
        return Prediction("gpu" if seconds["gpu"] * _MARGIN < seconds["cpu"] else "cpu", seconds)
