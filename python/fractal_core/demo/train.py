"""The one training loop of both models: same seed, same bytes in the same order, held-out loss at checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fractal_core.demo.data import Batches, Corpus
from fractal_core.demo.memory import peak_bytes, resident_bytes
from fractal_core.demo.model import LanguageModel
from fractal_core.demo.settings import Settings

__all__ = ["Event", "Training", "held_out_bits"]

Event = dict[str, object]
WARM_UP_STEPS = 10


def _nats(model: LanguageModel, sequences: Tensor) -> Tensor:
    logits = model(sequences[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten())


@torch.no_grad()
def held_out_bits(model: LanguageModel, sequences: Tensor) -> float:
    """Mean bits a byte over held-out sequences (S, N + 1), int64; one sequence at a time, so memory stays small."""
    model.eval()
    nats = [float(_nats(model, sequences[i : i + 1])) for i in range(len(sequences))]
    model.train()
    return sum(nats) / len(nats) / math.log(2)


def checkpoint_steps(settings: Settings) -> set[int]:
    """Steps after which the held-out text is read: dense at first, where the curve is steep, then even."""
    count = min(settings.checkpoints, settings.steps)
    return {round(settings.steps * (i / count) ** 1.5) or 1 for i in range(1, count + 1)}


class Training:
    """A model on its way: it trains as far as each call says and waits for the next, so that two can take turns.

    Only the steps' own time counts; measuring does not, nor does waiting. The learning rate warms up and then stays, so
    that the two models can be compared at any point of their curves. How the steps are cut into calls changes nothing
    about them.

    Args:
        model: The model, float32; changed in place.
        corpus: Training and held-out bytes.
        settings: Steps, batch, context, rate and seed.
        emit: Receives `step`, `held_out` and `trained` events.
    """

    def __init__(self, model: LanguageModel, corpus: Corpus, settings: Settings, emit: Callable[[Event], None]) -> None:
        self._model, self._settings, self._emit = model, settings, emit
        self._batches = Batches(corpus.train, settings.context, settings.batch, settings.seed)
        self._held_out = torch.from_numpy(corpus.held_out_sequences(settings.context, settings.held_out_sequences))
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95))
        self._checkpoints = checkpoint_steps(settings)
        self._used, self._step, self._longest, self._order = 0.0, 0, 0.0, ""
        self._measured = -1
        self._measure()
        self._at_rest = resident_bytes()

    def steps(self, count: int) -> None:
        """Trains `count` steps."""
        for _ in range(count):
            self._train()

    def until(self, seconds: float, *, measure: bool = False) -> None:
        """Trains on until `seconds` of training are used in all, and never past them.

        Args:
            seconds: Training time since the start.
            measure: Read the held-out text at the end, if the asked steps, which have checkpoints, are over.
        """
        while self._used + self._longest <= seconds:
            self._train()
        if measure and self._step > self._settings.steps:
            self._measure()

    def finish(self) -> None:
        """Measures where training ended and says what it needed."""
        self._measure()
        peak = peak_bytes()
        self._emit({"event": "trained", "order": self._order, "memory_at_rest": self._at_rest, "memory_peak": peak})

    def _measure(self) -> None:
        if self._measured != self._step:
            bits = held_out_bits(self._model, self._held_out)
            self._emit({"event": "held_out", "step": self._step, "seconds": self._used, "bits": bits})
            self._measured = self._step

    def _train(self) -> None:
        began = time.perf_counter()
        sequences = torch.from_numpy(next(self._batches))
        rate = self._settings.learning_rate * min(1.0, (self._step + 1) / WARM_UP_STEPS)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        loss = _nats(self._model, sequences)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        bits = float(loss.detach()) / math.log(2)
        took = time.perf_counter() - began
        self._used, self._step = self._used + took, self._step + 1
        self._longest = took if self._longest == 0.0 else 0.8 * self._longest + 0.2 * took
        self._emit({"event": "step", "step": self._step, "seconds": self._used, "took": took, "bits": bits})
        if self._step == self._settings.steps:
            self._order = self._batches.order
        if self._step in self._checkpoints:
            self._measure()
