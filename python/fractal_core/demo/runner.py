"""Runs the two workers one after the other and gathers what they say; stops cleanly when asked to."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from fractal_core.demo.results import Run
from fractal_core.demo.settings import Settings
from fractal_core.errors import FractalError

__all__ = ["run_models"]

Listener = Callable[[Run, Mapping[str, Any]], None]


def _run(job: dict[str, object], run: Run, listen: Listener) -> None:
    """Starts one worker and feeds its events to the run and the listener.

    Raises:
        FractalError: The worker refused its job or died.
    """
    command = [sys.executable, "-m", "fractal_core.demo.worker"]
    with tempfile.TemporaryFile("w+") as complaints:
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True, encoding="utf-8"
        )
        try:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(json.dumps(job))
            worker.stdin.close()
            for line in worker.stdout:
                event = json.loads(line)
                if event["event"] == "failed":
                    raise FractalError(event["message"])
                run.take(event)
                listen(run, event)
            code = worker.wait()
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        if code != 0 or not run.finished:
            complaints.seek(0)
            last = complaints.read().strip().splitlines()[-1:] or ["no message"]
            raise FractalError(f"training the {run.title} model failed (exit code {code}): {last[0]}")


def run_models(settings: Settings, listen: Listener) -> tuple[Run, Run, bool]:
    """Trains the dense model, then the sparse one for the same steps and on for the same seconds.

    Args:
        settings: What to train.
        listen: Called for each event of a worker.

    Returns:
        The dense run, the sparse run, and whether Ctrl-C cut them short. What was done until then is in them.

    Raises:
        FractalError: A worker refused its job or died.
    """
    dense, sparse = Run("dense", "dense"), Run("sparse", settings.pattern)
    try:
        _run({"settings": settings.to_dict(), "model": "dense", "seconds": None}, dense, listen)
        _run({"settings": settings.to_dict(), "model": "sparse", "seconds": dense.seconds}, sparse, listen)
    except KeyboardInterrupt:
        return dense, sparse, True
    return dense, sparse, False
