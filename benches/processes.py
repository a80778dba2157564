"""Measurements that need a process of their own: another interpreter, another SIMD level, a fresh memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from fractal_core.bench.clock import Times
from fractal_core.bench.peers import PeerError

__all__ = ["Worker", "alternating", "answer", "environment", "in_turn"]

_ROOT = Path(__file__).resolve().parents[1]


def environment(**changes: str) -> dict[str, str]:
    """This process's variables with some of them set."""
    return {**os.environ, **changes}


def answer(words: Sequence[str], env: Mapping[str, str]) -> Any:  # noqa: ANN401
    """What a module prints as JSON on its last line, run in a fresh interpreter at the repository's root.

    Raises:
        PeerError: It failed; the message is its last line.
    """
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, env=dict(env), cwd=_ROOT, check=False
    )
    if done.returncode:
        raise PeerError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


class Worker:
    """A process that runs a named task each time it is asked, and says how long it took.

    Args:
        words: The command that runs the worker, at the repository's root.
        env: Its environment.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            list(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(env),
            cwd=_ROOT,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def seconds(self, task: str) -> float:
        """Runs a task once.

        Raises:
            PeerError: The process ended; the message is its last line.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{task}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            _, errors = self._process.communicate()
            raise PeerError((errors.strip().splitlines() or ["the worker ended without a word"])[-1])
        return float(line)


def alternating(workers: Mapping[str, Worker], task: str, rounds: int) -> Times:
    """Seconds of one task in each worker in turn, after a round that warms up; the others wait meanwhile."""
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds + 1):
        for name, worker in workers.items():
            took = worker.seconds(task)
            if number:
                seconds[name].append(took)
    return Times(seconds)


def in_turn(
    commands: Mapping[str, Sequence[str]], env: Mapping[str, str], worker: str, task: str, rounds: int
) -> Times:
    """`alternating` over a worker for each name: an interpreter, and the arguments of a module of `benches.workers`.

    Raises:
        PeerError: A worker ended.
    """
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker([python, "-sE", "-m", f"benches.workers.{worker}", *arguments], env))
            for name, (python, *arguments) in commands.items()
        }
        return alternating(workers, task, rounds)
