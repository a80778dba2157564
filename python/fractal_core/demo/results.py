"""What the runs have shown: curves, comparisons at equal steps and at equal seconds, and their plain form."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Comparison", "Outcome", "Pair", "Point", "Run", "Spread", "compare"]


@dataclass(frozen=True)
class Point:
    """A place on a curve: after `step` steps and `seconds` of training, `bits` a byte."""

    step: int
    seconds: float
    bits: float


@dataclass
class Run:
    """One model's training as far as it came.

    Attributes:
        name: `dense` or `sparse`.
        title: What people call it.
        steps: Training loss after each step.
        took: Seconds of each step.
        held_out: Held-out loss at the checkpoints.
        facts: Everything else that the worker said, by event.
        finished: Whether the worker came to its end.
    """

    name: str
    title: str
    steps: list[Point] = field(default_factory=list["Point"])
    took: list[float] = field(default_factory=list[float])
    held_out: list[Point] = field(default_factory=list["Point"])
    facts: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    finished: bool = False

    def take(self, event: Mapping[str, Any]) -> None:
        """Adds what a worker said."""
        kind = event["event"]
        if kind in {"step", "held_out"}:
            point = Point(int(event["step"]), float(event["seconds"]), float(event["bits"]))
            (self.steps if kind == "step" else self.held_out).append(point)
            if kind == "step":
                self.took.append(float(event["took"]))
        elif kind == "done":
            self.finished = True
        else:
            self.facts[kind] = {k: v for k, v in event.items() if k != "event"}

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return self.steps[-1].seconds if self.steps else 0.0

    @property
    def step_ms(self) -> float | None:
        """Median milliseconds of a step, without the first, which also warms up."""
        took = self.took[1:] or self.took
        return statistics.median(took) * 1e3 if took else None

    @property
    def peak_bytes(self) -> int | None:
        """Highest resident memory of the process while training."""
        return self.facts.get("trained", {}).get("memory_peak")

    @property
    def growth_bytes(self) -> int | None:
        """How much training added to what the process held before the first step."""
        trained = self.facts.get("trained", {})
        peak, rest = trained.get("memory_peak"), trained.get("memory_at_rest")
        return None if peak is None or rest is None else peak - rest

    def bits_at_step(self, step: int) -> float | None:
        """Held-out bits a byte after exactly `step` steps, None where not measured."""
        return next((p.bits for p in self.held_out if p.step == step), None)

    def bits_at_second(self, seconds: float) -> float | None:
        """Held-out bits a byte after `seconds` of training, on the straight line between checkpoints."""
        return _between([(p.seconds, p.bits) for p in self.held_out], seconds)

    def to_dict(self) -> dict[str, Any]:
        """The run as plain JSON values."""
        return {
            "title": self.title,
            "finished": self.finished,
            "steps": len(self.steps),
            "seconds": self.seconds,
            "step_ms": self.step_ms,
            "peak_bytes": self.peak_bytes,
            "training_bytes": self.growth_bytes,
            "data_order": self.facts.get("trained", {}).get("order"),
            "leak": self.facts.get("leak"),
            "sample": self.facts.get("sample"),
            "environment": self.facts.get("ready"),
            "training_curve": [[p.step, p.seconds, p.bits] for p in self.steps],
            "held_out_curve": [[p.step, p.seconds, p.bits] for p in self.held_out],
        }


@dataclass(frozen=True)
class Pair:
    """A block of steps of each model, one right after the other, so that a busy minute slows both.

    Attributes:
        first: Name of the model that began.
        steps: Steps of each block.
        dense: Seconds of the dense model's block.
        sparse: Seconds of the sparse model's block.
    """

    first: str
    steps: int
    dense: float
    sparse: float

    @property
    def ratio(self) -> float:
        """Seconds a step of the dense model over those of the sparse one: how many times as fast the sparse one is."""
        return (self.dense / self.steps) / (self.sparse / self.steps)

    def to_dict(self) -> dict[str, object]:
        """The pair as plain JSON values."""
        sizes = {"steps": self.steps, "dense": self.dense, "sparse": self.sparse, "ratio": self.ratio}
        return {"first": self.first, **sizes}


@dataclass(frozen=True)
class Spread:
    """Where numbers lie: their median, the quartiles around it, the least and the most."""

    count: int
    median: float
    quartiles: tuple[float, float]
    range: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """The spread of values, None where there are none."""
        if not values:
            return None
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
        return cls(len(values), middle, (low, high), (min(values), max(values)))

    def to_dict(self) -> dict[str, object]:
        """The spread as plain JSON values."""
        return {"median": self.median, "quartiles": list(self.quartiles), "range": list(self.range)}


@dataclass
class Outcome:
    """What the two models' training has given so far.

    Attributes:
        dense: The dense model's run.
        sparse: The sparse model's run.
        pairs: The pairs of blocks that both finished, in order.
        interrupted: Whether Ctrl-C cut it short.
    """

    dense: Run
    sparse: Run
    pairs: list[Pair] = field(default_factory=list["Pair"])
    interrupted: bool = False


@dataclass(frozen=True)
class Comparison:
    """Two runs at one place: the same step or the same second, and held-out bits a byte of each."""

    at: float
    dense: float
    sparse: float

    def to_dict(self) -> dict[str, float]:
        """The comparison as plain JSON values."""
        return {"at": self.at, "dense": self.dense, "sparse": self.sparse}


def compare(dense: Run, sparse: Run) -> tuple[Comparison | None, Comparison | None]:
    """Both runs at the last step that both measured, and at the last second that both trained."""
    steps = {p.step for p in dense.held_out} & {p.step for p in sparse.held_out} - {0}
    second = min((run.held_out[-1].seconds if run.held_out else 0.0) for run in (dense, sparse))
    by_step = by_second = None
    if steps:
        step = max(steps)
        one, other = dense.bits_at_step(step), sparse.bits_at_step(step)
        if one is not None and other is not None:
            by_step = Comparison(step, one, other)
    if second > 0.0:
        one, other = dense.bits_at_second(second), sparse.bits_at_second(second)
        if one is not None and other is not None:
            by_second = Comparison(second, one, other)
    return by_step, by_second


def _between(line: Sequence[tuple[float, float]], x: float) -> float | None:
    """Height of a piecewise straight line at x; None outside of it."""
    for (x0, y0), (x1, y1) in itertools.pairwise(line):
        if x0 <= x <= x1:
            return y1 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return None
