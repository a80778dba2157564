"""The one training loop of all contenders."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from fractal_core.study.contenders import Contender, momenta
from fractal_core.study.task import Task

__all__ = ["Point", "Run", "train"]

_CHECKPOINTS = 12


class Point(NamedTuple):
    """The validation loss after so many steps and seconds of training."""

    step: int
    seconds: float
    loss: float


@dataclass
class Run:
    """One training run; a loss that is no longer finite is infinite, and ends it.

    Attributes:
        seed: of weights and batches.
        rate: the highest learning rate.
        curve: validation losses; seconds are the processor's, of training alone.
        test: the loss of the test part at the end.
        accuracy: likewise, where the task has one.
        momenta: (T,) by parameter, where they were asked for.
    """

    seed: int
    rate: float
    curve: list[Point] = field(default_factory=list[Point])
    test: float = math.inf
    accuracy: float | None = None
    momenta: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict[str, "npt.NDArray[np.float64]"])

    @property
    def validation(self) -> float:
        """The last validation loss."""
        return self.curve[-1].loss if self.curve else math.inf

    def first_below(self, target: float) -> Point | None:
        """The first measurement at or below a loss, or None."""
        return next((point for point in self.curve if point.loss <= target), None)


def train(task: Task, contender: Contender, rate: float, seed: int, steps: int, *, watch: bool = False) -> Run:
    """Trains a model of a task from a seed.

    Args:
        task: what is trained.
        contender: how.
        rate: the highest learning rate.
        seed: of weights and batches; torch's own generator is left as it was.
        steps: how many.
        watch: keep the momenta.
    """
    run = Run(seed, rate)
    kept: dict[str, list[float]] = {}
    with torch.random.fork_rng(devices=[]):
        model = task.model(seed)
        setup = contender.make(model, rate, steps)
        schedules = setup.schedules(steps)
        next_loss = task.losses(model, seed)
        generator = torch.Generator().manual_seed(1000 + seed)
        count = min(_CHECKPOINTS, max(1, steps // 10))
        marks = {round(steps * (i + 1) / count) for i in range(count)}
        used = 0.0
        setup.mode(training=True)
        for step in range(steps):
            setup.before(step)
            began = time.process_time()
            for optimizer in setup.optimizers:
                optimizer.zero_grad()
            loss = next_loss(generator)
            loss.backward()
            for optimizer in setup.optimizers:
                optimizer.step()
            for schedule in schedules:
                schedule.step()
            used += time.process_time() - began
            if not math.isfinite(loss.item()):
                run.curve.append(Point(step + 1, used, math.inf))
                return run
            if watch:
                for name, alpha in momenta(setup).items():
                    kept.setdefault(name, []).append(alpha.item())
            if step + 1 in marks:
                setup.mode(training=False)
                found = task.measure(model, "validation").loss
                run.curve.append(Point(step + 1, used, found if math.isfinite(found) else math.inf))
                setup.mode(training=True)
        setup.mode(training=False)
        measured = task.measure(model, "test")
    run.test = measured.loss if math.isfinite(measured.loss) else math.inf
    run.accuracy = measured.accuracy
    run.momenta = {name: np.array(values) for name, values in kept.items()}
    return run
