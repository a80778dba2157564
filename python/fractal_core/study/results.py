"""What was found, and the verdict by the rule that was set before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fractal_core.study.training import Run

__all__ = ["RULE", "SEEDS", "Entry", "Spread", "StudyResults", "TaskResults", "Verdict"]

RULE = (
    "A FAM is called useful if its median test loss is below that of its matched constant by more than the larger of "
    "the two interquartile ranges over the seeds, on tasks of at least 2 kinds, with at least 5 seeds. Otherwise it is "
    "an experimental diagnostic."
)
SEEDS = 5
"""Seeds that the rule asks for."""
_KINDS = 2


class Spread(NamedTuple):
    """The median of runs and their interquartile range."""

    median: float
    iqr: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of at least one value; infinite ones count."""
        low, middle, high = _quartiles(values)
        return cls(middle, 0.0 if low == high else high - low)


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    """By the nearest values, since infinite ones cannot be weighed."""
    method = "linear" if all(map(math.isfinite, values)) else "nearest"
    found = np.percentile(np.array(values), [25, 50, 75], method=method)
    return float(found[0]), float(found[1]), float(found[2])


@dataclass
class Entry:
    """One contender, or control, on one task.

    Attributes:
        name: for programs.
        title: for people.
        tried: validation loss by rate, the mean over the search's seeds; empty for a control.
        runs: at the chosen rate.
        momentum: mean of the adapted momenta, where there are some.
    """

    name: str
    title: str
    tried: dict[float, float] = field(default_factory=dict[float, float])
    runs: list[Run] = field(default_factory=list[Run])
    momentum: float | None = None

    @property
    def rate(self) -> float:
        """The chosen rate."""
        return self.runs[0].rate

    @property
    def at_edge(self) -> bool:
        """Whether the chosen rate is the lowest or highest of those tried."""
        return bool(self.tried) and self.rate in {min(self.tried), max(self.tried)}

    @property
    def test(self) -> Spread:
        """Of the test losses."""
        return Spread.of([run.test for run in self.runs])

    @property
    def accuracy(self) -> float | None:
        """The median, where the task has one."""
        found = [run.accuracy for run in self.runs if run.accuracy is not None]
        return float(np.median(found)) if len(found) == len(self.runs) else None

    def to_target(self, target: float) -> tuple[float, float]:
        """Median steps and seconds to a validation loss; infinite where half of the runs never get there."""
        points = [run.first_below(target) for run in self.runs]
        steps = [math.inf if point is None else float(point.step) for point in points]
        seconds = [math.inf if point is None else point.seconds for point in points]
        return Spread.of(steps).median, Spread.of(seconds).median

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is infinite is null."""
        return {
            "name": self.name,
            "title": self.title,
            "tried": {f"{rate:.6g}": _plain(loss) for rate, loss in self.tried.items()},
            "rate": self.rate,
            "at_edge": self.at_edge,
            "momentum": _plain(self.momentum),
            "runs": [
                {
                    "seed": run.seed,
                    "test": _plain(run.test),
                    "accuracy": run.accuracy,
                    "curve": [[p.step, round(p.seconds, 4), _plain(p.loss)] for p in run.curve],
                }
                for run in self.runs
            ],
        }


def _plain(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@dataclass
class TaskResults:
    """All contenders and controls on one task."""

    name: str
    kind: str
    title: str
    steps: int
    facts: dict[str, str]
    entries: list[Entry] = field(default_factory=list[Entry])
    controls: dict[str, dict[str, Entry]] = field(default_factory=dict[str, dict[str, Entry]])
    """By contender, then by control."""

    @property
    def target(self) -> float:
        """The validation loss that steps and seconds are counted to: the median of `ema` at its end."""
        return Spread.of([run.validation for run in self.entry("ema").runs]).median

    def entry(self, name: str) -> Entry:
        """The entry of a contender."""
        return next(entry for entry in self.entries if entry.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "title": self.title,
            "steps": self.steps,
            "facts": self.facts,
            "target": _plain(self.target),
            "entries": [entry.to_dict() for entry in self.entries],
            "controls": {
                name: {control: entry.to_dict() for control, entry in found.items()}
                for name, found in self.controls.items()
            },
        }


class Verdict(NamedTuple):
    """A FAM against one of its controls: the tasks where it is better, and worse, by more than the spread."""

    better: tuple[str, ...]
    worse: tuple[str, ...]
    kinds: int
    """Kinds of tasks among the better ones."""


@dataclass
class StudyResults:
    """The whole study."""

    settings: dict[str, Any]
    machine: dict[str, str]
    missing: dict[str, str]
    tasks: list[TaskResults] = field(default_factory=list[TaskResults])
    seconds: float = 0.0

    def adaptive(self) -> list[str]:
        """Names of the FAMs."""
        return list(self.tasks[0].controls) if self.tasks else []

    def verdict(self, name: str, control: str = "matched") -> Verdict:
        """A FAM against a control, by the rule."""
        better: list[TaskResults] = []
        worse: list[TaskResults] = []
        for task in self.tasks:
            ours, theirs = task.entry(name).test, task.controls[name][control].test
            spread = max(ours.iqr, theirs.iqr)
            if theirs.median - ours.median > spread:
                better.append(task)
            elif ours.median - theirs.median > spread:
                worse.append(task)
        kinds = {task.kind for task in better}
        return Verdict(tuple(t.name for t in better), tuple(t.name for t in worse), len(kinds))

    def useful(self) -> list[str]:
        """The FAMs that the rule calls useful; none with fewer seeds than it asks for."""
        if self.settings["seeds"] < SEEDS:
            return []
        return [name for name in self.adaptive() if self.verdict(name).kinds >= _KINDS]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "settings": self.settings,
            "machine": self.machine,
            "missing": self.missing,
            "rule": RULE,
            "seconds": self.seconds,
            "useful": self.useful(),
            "verdicts": {
                name: {control: self.verdict(name, control)._asdict() for control in self.tasks[0].controls[name]}
                for name in self.adaptive()
            },
            "tasks": [task.to_dict() for task in self.tasks],
        }
