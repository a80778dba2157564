"""Lets the two workers train in turns and gathers what they say; stops both cleanly when asked to or when one fails."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import IO, Any

from fractal_core.demo.results import Outcome, Pair, Run
from fractal_core.demo.settings import Settings
from fractal_core.errors import FractalError

__all__ = ["run_models"]

Listener = Callable[[Run, Mapping[str, Any]], None]


class _Worker:
    """A model's process. It works only between an order and its next `paused` event, then waits in a blocking read."""

    def __init__(self, run: Run, listen: Listener, complaints: IO[str]) -> None:
        self.run = run
        self._listen = listen
        self._complaints = complaints
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fractal_core.demo.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            encoding="utf-8",
        )

    def stop(self) -> None:
        """Ends the process, whatever it does."""
        process = self._process
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # an order that never reached it
                pipe.close()

    def ask(self, **order: object) -> list[float]:
        """Gives an order and feeds the events up to its end to the run and the listener.

        Returns:
            Seconds of each step trained meanwhile.

        Raises:
            FractalError: The worker refused its job or died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        before = len(self.run.took)
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "paused":
                return self.run.took[before:]
            if event["event"] == "failed":
                raise FractalError(event["message"])
            self.run.take(event)
            self._listen(self.run, event)
        if not self.run.finished or self._process.wait() != 0:
            raise self._failure()
        return self.run.took[before:]

    def _failure(self) -> FractalError:
        code = self._process.wait()
        self._complaints.seek(0)
        last = self._complaints.read().strip().splitlines()[-1:] or ["no message"]
        return FractalError(f"training the {self.run.title} model failed (exit code {code}): {last[0]}")


def _take_turns(settings: Settings, dense: _Worker, sparse: _Worker, paired: Callable[[Pair], None]) -> None:
    """Trains both for the asked steps in pairs of blocks, the sparse one on for the dense one's seconds, and ends both.

    The first step of each, which also warms up, belongs to no pair. Who comes first changes with each pair, so that a
    machine which grows faster or slower favours neither. After a pair that the dense model began, the sparse one spends
    what it has left of the dense one's seconds, so that the comparison at equal seconds has seen the same neighbours
    too; and each model follows itself as often as the other does.
    """
    for worker in (dense, sparse):
        worker.ask(settings=settings.to_dict(), model=worker.run.name)
    for worker in (dense, sparse):
        worker.ask(steps=1)
    seen, order = len(dense.run.held_out), (dense, sparse)
    while len(dense.run.steps) < settings.steps:
        count = min(settings.block_steps, settings.steps - len(dense.run.steps))
        took = {worker.run.name: sum(worker.ask(steps=count)) for worker in order}
        paired(Pair(order[0].run.name, count, took["dense"], took["sparse"]))
        if order[0] is dense:
            known = len(dense.run.held_out)
            sparse.ask(until=dense.run.seconds, measure=known > seen)
            seen = known
        order = (order[1], order[0])
    sparse.ask(until=dense.run.seconds, measure=False)
    for worker in (dense, sparse):
        worker.ask(finish=True)


def run_models(settings: Settings, listen: Listener, paired: Callable[[Pair], None]) -> Outcome:
    """Trains both models in turns, each in a process of its own, the sparse one on for the dense one's seconds.

    Args:
        settings: What to train.
        listen: Called for each event of a worker.
        paired: Called after each pair of blocks.

    Returns:
        Both runs, the pairs of blocks, and whether Ctrl-C cut them short. What was done until then is in them.

    Raises:
        FractalError: A worker refused its job or died; the other one was ended too.
    """
    outcome = Outcome(Run("dense", "dense"), Run("sparse", settings.pattern))

    def keep(pair: Pair) -> None:
        outcome.pairs.append(pair)
        paired(pair)

    try:
        with ExitStack() as stack:
            workers: list[_Worker] = []
            for run in (outcome.dense, outcome.sparse):
                complaints = stack.enter_context(tempfile.TemporaryFile("w+"))
                workers.append(_Worker(run, listen, complaints))
                stack.callback(workers[-1].stop)
            _take_turns(settings, workers[0], workers[1], keep)
    except KeyboardInterrupt:
        outcome.interrupted = True
    return outcome
