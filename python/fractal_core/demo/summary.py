"""The figures of a demo in the words and numbers that the terminal, the report and `results.json` share."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from fractal_core import patterns
from fractal_core.demo.results import Comparison, Outcome, Pair, Run, Spread, compare
from fractal_core.demo.settings import Settings

__all__ = ["LIMIT", "Row", "Summary", "spread_text", "summarise"]

LIMIT = (
    "A run of minutes, with one seed and one learning rate for both models, shows cost, causality and how fast each "
    "model learns at first. It does not show which one is better after long training: early on, few nearby keys are "
    "easier to learn from than many."
)
REACH_LAYERS = 8


@dataclass(frozen=True)
class Row:
    """One line of the table of results."""

    what: str
    dense: str
    sparse: str
    note: str = ""


@dataclass
class Summary:
    """Everything that a run has shown.

    Attributes:
        settings: What was asked.
        pattern: Specification of the sparse model's pattern.
        cost: Cost and reach of its index set at the context's length.
        shares: Share of earlier positions that 1, 2, ... layers reach.
    """

    settings: Settings
    pattern: str
    cost: dict[str, Any]
    shares: tuple[float, ...]
    runs: tuple[Run, ...] = ()
    pairs: tuple[Pair, ...] = ()
    by_step: Comparison | None = None
    by_second: Comparison | None = None
    interrupted: bool = False
    seconds: float = 0.0
    machine: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def outline(self) -> str:
        """The model and the task in one line."""
        s = self.settings
        return (
            f"{s.layers} layers, {s.heads} heads of {s.dim // s.heads}, context {s.context}, batch {s.batch}, "
            f"{s.steps} steps; {self.cost['keys_mean']:.0f} instead of {self.dense_keys:.0f} keys per query"
        )

    @property
    def dense_keys(self) -> float:
        """Mean keys of a query of the dense causal model."""
        return (self.settings.context + 1) / 2

    def run(self, name: str) -> Run | None:
        """The run of a name, or None while there is none."""
        return next((run for run in self.runs if run.name == name), None)

    @property
    def speed(self) -> Spread | None:
        """How many times as fast a sparse step is, over the pairs of blocks; None before the first pair."""
        return Spread.of([pair.ratio for pair in self.pairs])

    def add(self, outcome: Outcome, *, seconds: float) -> None:
        """Takes in the runs."""
        self.runs, self.pairs = (outcome.dense, outcome.sparse), tuple(outcome.pairs)
        self.by_step, self.by_second = compare(outcome.dense, outcome.sparse)
        self.interrupted, self.seconds = outcome.interrupted, seconds
        ready = outcome.dense.facts.get("ready", {})
        self.machine = {
            "processor": _processor(),
            "system": platform.platform(terse=True),
            "threads": str(ready.get("threads", "unknown")),
            "fractal_core": version("fractal-attn"),
            "torch": str(ready.get("torch", "unknown")),
            "numpy": version("numpy"),
            "Python": platform.python_version(),
        }

    def rows(self) -> list[Row]:
        """The table of results; a figure that is not there yet is a dash."""
        dense, sparse = self.runs
        rows: list[Row] = []
        for title, found in (("steps", self.by_step), ("seconds", self.by_second)):
            if found is not None:
                at = f"after {found.at:.0f} {title} of training each"
                what = f"held-out bits per byte, equal {title}"
                rows.append(Row(what, f"{found.dense:.3f}", f"{found.sparse:.3f}", at))
        rows.append(Row("ms per step, median", _number(dense.step_ms, ".0f"), _number(sparse.step_ms, ".0f")))
        speed = self.speed
        if speed is not None:
            rows.append(Row("speed, median of pairs", "1", f"{speed.median:.2f}×", spread_text(speed)))
        rows.append(Row("steps in that time", str(len(dense.steps)), str(len(sparse.steps))))
        share = self.cost["keys_mean"] / self.dense_keys
        keys = Row(
            "keys per query, mean", f"{self.dense_keys:.1f}", f"{self.cost['keys_mean']:.1f}", f"{share:.1%} of dense"
        )
        rows.append(keys)
        rows.append(Row("peak memory of the process", _mebibytes(dense.peak_bytes), _mebibytes(sparse.peak_bytes)))
        grown = (_mebibytes(dense.growth_bytes), _mebibytes(sparse.growth_bytes))
        rows.append(Row("of which training", *grown, "over the process before its first step"))
        rows.append(Row("leak from the future", _leak(dense), _leak(sparse), "largest change and gradient, must be 0"))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON values."""
        return {
            "settings": self.settings.to_dict(),
            "pattern": self.pattern,
            "cost": self.cost,
            "reach_by_layer": list(self.shares),
            "interrupted": self.interrupted,
            "seconds": self.seconds,
            "equal_steps": self.by_step.to_dict() if self.by_step else None,
            "equal_seconds": self.by_second.to_dict() if self.by_second else None,
            "paired": {
                "speed": self.speed.to_dict() if self.speed else None,
                "blocks": [pair.to_dict() for pair in self.pairs],
            },
            "runs": {run.name: run.to_dict() for run in self.runs},
            "machine": self.machine,
            "limit": LIMIT,
        }


def spread_text(speed: Spread) -> str:
    """How far the pairs of blocks lie apart."""
    pairs = "1 pair of blocks" if speed.count == 1 else f"{speed.count} pairs of blocks"
    (low, high), (least, most) = speed.quartiles, speed.range
    return f"{pairs}: half within {low:.2f}–{high:.2f}×, all within {least:.2f}–{most:.2f}×"


def summarise(settings: Settings) -> Summary:
    """The start of a summary: what the pattern costs and reaches at this length, before anything is trained.

    Raises:
        PluginError: The pattern is unknown or did not load.
        InvalidArgumentError: A parameter of it is out of range, or its length is not the context's.
    """
    pattern = patterns.create(settings.pattern)
    found = pattern.index_set(settings.context, settings.context, causal=True)
    return Summary(
        settings=settings,
        pattern=settings.pattern,
        cost=found.report().to_dict(),
        shares=found.reach(REACH_LAYERS).shares,
    )


def _processor() -> str:
    name = platform.processor() or platform.machine()
    if sys.platform == "linux":
        try:
            with open("/proc/cpuinfo", encoding="utf-8") as lines:
                name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), name)
        except OSError:
            pass
    return f"{name}, {os.cpu_count()} logical cores"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _mebibytes(count: int | None) -> str:
    return "–" if count is None else f"{count / 2**20:.0f} MiB"


def _leak(run: Run) -> str:
    found = run.facts.get("leak")
    if found is None:
        return "–"
    return "exactly 0" if found["exact"] else f"{found['logit_change']:g}, {found['gradient']:g}"
