"""The study: every optimizer tuned alike on every task, then run from more seeds, then the controls."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch

from fractal_core.study.contenders import Contender, contenders, missing
from fractal_core.study.controls import control_of, controls_of, mean_momentum
from fractal_core.study.results import Entry, StudyResults, TaskResults
from fractal_core.study.settings import StudySettings
from fractal_core.study.task import Task
from fractal_core.study.tasks import task_of
from fractal_core.study.training import train

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["count_entries", "run_study"]

_SEARCH_SEED = 100
_FACTOR = math.sqrt(10)

Listen = Callable[[str, Entry], None]


def count_entries(settings: StudySettings) -> int:
    """How many times `run_study` calls its listener."""
    return len(settings.tasks) * sum(1 + len(controls_of(c) if c.adapts else ()) for c in contenders())


def run_study(settings: StudySettings, listen: Listen) -> StudyResults:
    """Runs all of it, on one thread.

    Args:
        settings: what to run.
        listen: called with the name of a task and each of its entries as it is done.

    Raises:
        FractalError: something that a task needs is not installed; nothing has run.
    """
    began = time.perf_counter()
    tasks = [task_of(name) for name in settings.tasks]
    results = StudyResults(settings.to_dict(), _machine(), missing())
    with _one_thread():
        for task in tasks:
            results.tasks.append(_task(task, settings, listen))
    results.seconds = time.perf_counter() - began
    return results


def _task(task: Task, settings: StudySettings, listen: Listen) -> TaskResults:
    steps = settings.steps(task.steps)
    found = TaskResults(task.name, task.kind, task.title, steps, task.facts)
    for contender in contenders():
        entry = Entry(contender.name, contender.title)
        rate = _search(task, contender, steps, settings, entry.tried)
        entry.runs = [
            train(task, contender, rate, seed, steps, watch=contender.adapts) for seed in range(settings.seeds)
        ]
        if contender.adapts:
            recorded = [run.momenta for run in entry.runs]
            entry.momentum = mean_momentum(recorded)
        found.entries.append(entry)
        listen(task.name, entry)
        if contender.adapts:
            found.controls[contender.name] = {
                control: _control(task, contender, control, rate, steps, settings, entry)
                for control in controls_of(contender)
            }
            for control in found.controls[contender.name].values():
                listen(task.name, control)
    return found


def _control(  # noqa: PLR0917
    task: Task, contender: Contender, control: str, rate: float, steps: int, settings: StudySettings, entry: Entry
) -> Entry:
    recorded = [run.momenta for run in entry.runs]
    made = [control_of(contender, control, seed, recorded) for seed in range(settings.seeds)]
    runs = [train(task, one, rate, seed, steps) for seed, one in enumerate(made)]
    return Entry(made[0].name, made[0].title, runs=runs)


def _search(task: Task, contender: Contender, steps: int, settings: StudySettings, tried: dict[float, float]) -> float:
    """The rate with the lowest mean validation loss; more are tried while it lies at an edge."""

    def ask(place: int) -> None:
        rate = contender.rate * _FACTOR**place
        losses = [
            train(task, contender, rate, _SEARCH_SEED + i, steps).validation for i in range(settings.search_seeds)
        ]
        tried[rate] = sum(losses) / len(losses)

    low = -(settings.rates // 2)
    high = low + settings.rates - 1
    for place in range(low, high + 1):
        ask(place)
    for _ in range(settings.extensions):
        best = min(tried, key=lambda rate: tried[rate])
        if best == min(tried):
            low -= 1
            ask(low)
        elif best == max(tried):
            high += 1
            ask(high)
        else:
            break
    return min(tried, key=lambda rate: tried[rate])


@contextmanager
def _one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _machine() -> dict[str, str]:
    found = {"system": platform.platform(terse=True), "Python": platform.python_version(), "threads": "1"}
    for name in ("fractal-attn", "torch", "numpy", "scikit-learn", "schedulefree"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
