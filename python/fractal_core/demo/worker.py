"""One model in a process of its own, so that its memory and its time are its own.

Reads one JSON job from stdin, writes one JSON event a line to stdout. The parent decides when to stop, so Ctrl-C, which
a terminal sends to both, is left to it.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from fractal_core.errors import FractalError

if TYPE_CHECKING:
    from fractal_core.demo.train import Event

__all__ = ["main"]


def _emit(event: Event) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _work(job: dict[str, Any]) -> None:
    import torch

    from fractal_core import patterns
    from fractal_core.demo.data import Corpus, load_text
    from fractal_core.demo.leak import leak
    from fractal_core.demo.model import LanguageModel
    from fractal_core.demo.sample import sample
    from fractal_core.demo.settings import Settings
    from fractal_core.demo.train import train

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
    train(model, corpus, settings, _emit, seconds=job["seconds"])
    sequence = torch.from_numpy(corpus.held_out_sequences(settings.context, 1)[0, :-1])
    _emit({"event": "leak", **leak(model, sequence).to_dict()})
    prompt = bytes(corpus.held_out[: min(192, settings.context // 2)].tolist())
    count = min(settings.sample_bytes, settings.context - len(prompt))
    streaming = not getattr(pattern, "length_dependent", False)
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
    """Runs the job that stdin describes; a refusal becomes a `failed` event and exit code 1."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _work(json.load(sys.stdin))
    except FractalError as error:
        _emit({"event": "failed", "message": str(error)})
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
