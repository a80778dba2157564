"""One model in a process of its own, so that its memory and its time are its own.

Reads a JSON job from the first line of stdin and an order from each further one, writes one JSON event a line to
stdout. After each it says `paused` and waits in a blocking read for the next, so that it takes no time from the other
model's turn: `{"steps": n}` trains n steps, `{"until": seconds, "measure": bool}` trains on up to that training time,
`{"finish": true}` ends with the leak check and the sample. The end of stdin means that nobody asks any more.

The parent decides when to stop, so Ctrl-C, which a terminal sends to all, is left to it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from fractal_core.errors import FractalError

if TYPE_CHECKING:
    from fractal_core.demo.train import Event, Training

__all__ = ["main"]


_events: list[TextIO] = []


def _emit(event: Event) -> None:
    _events[-1].write(json.dumps(event) + "\n")
    _events[-1].flush()


def _order() -> dict[str, Any] | None:
    """The next line of stdin; None at its end."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def _obey(training: Training) -> bool:
    """Trains as ordered, turn by turn; whether it came to the order to finish."""
    while True:
        _emit({"event": "paused"})
        order = _order()
        if order is None:
            return False
        if "finish" in order:
            training.finish()
            return True
        if "until" in order:
            training.until(order["until"], measure=order["measure"])
        else:
            training.steps(order["steps"])


def _work(job: dict[str, Any]) -> None:
    import torch

    from fractal_core import patterns
    from fractal_core.demo.data import Corpus, load_text
    from fractal_core.demo.leak import leak
    from fractal_core.demo.model import LanguageModel
    from fractal_core.demo.sample import sample
    from fractal_core.demo.settings import Settings
    from fractal_core.demo.train import Training

    settings = Settings(**job["settings"])
    pattern = None if job["model"] == "dense" else patterns.create(settings.pattern)
    torch.manual_seed(settings.seed)
    corpus = Corpus.split(load_text(settings.text), settings.context)
    model = LanguageModel(settings, pattern)
    _emit(
        {
            "event": "ready",
            "parameters": sum(p.numel() for p in model.parameters()),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
    )
    if not _obey(Training(model, corpus, settings, _emit)):
        return
    sequence = torch.from_numpy(corpus.held_out_sequences(settings.context, 1)[0, :-1])
    _emit({"event": "leak", **leak(model, sequence).to_dict()})
    prompt = bytes(corpus.held_out[: min(192, settings.context // 2)].tolist())
    count = min(settings.sample_bytes, settings.context - len(prompt))
    streaming = pattern is None or not pattern.length_dependent
    began = time.perf_counter()
    text = sample(model, prompt, count, seed=settings.seed, streaming=streaming)
    _emit(
        {
            "event": "sample",
            "prompt": prompt.decode(errors="replace"),
            "text": text.decode(errors="replace"),
            "seconds": time.perf_counter() - began,
        }
    )
    _emit({"event": "done"})


def main() -> None:
    """Runs the job and the orders that stdin holds; a refusal becomes a `failed` event and exit code 1."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Stdout is for events alone: what a plug-in prints, from Python or below it, goes to stderr.
    _events.append(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    try:
        job = _order()
        if job is not None:
            _work(job)
    except FractalError as error:
        _emit({"event": "failed", "message": str(error)})
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
