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

__all__ = ["Event", "held_out_bits", "train"]

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


def train(
    model: LanguageModel,
    corpus: Corpus,
    settings: Settings,
    emit: Callable[[Event], None],
    *,
    seconds: float | None = None,
) -> None:
    """Trains for the asked steps and, when `seconds` is given, on until that much training time is used.

    Only the steps' own time counts; measuring does not. The learning rate warms up and then stays, so that the two
    models can be compared at any point of their curves.

    Args:
        model: The model, float32; changed in place.
        corpus: Training and held-out bytes.
        settings: Steps, batch, context, rate and seed.
        emit: Receives `step`, `held_out` and `trained` events.
        seconds: Training time to use up after the asked steps, never exceeded by them; None to stop at the steps.
    """
    batches = Batches(corpus.train, settings.context, settings.batch, settings.seed)
    held_out = torch.from_numpy(corpus.held_out_sequences(settings.context, settings.held_out_sequences))
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95))
    checkpoints = checkpoint_steps(settings)
    every = max(1, settings.steps // settings.checkpoints)

    def measure(step: int) -> None:
        emit({"event": "held_out", "step": step, "seconds": used, "bits": held_out_bits(model, held_out)})

    used, step = 0.0, 0
    measure(0)
    at_rest, order = resident_bytes(), ""
    longest, measured, measured_at = 0.0, 0, 0.0
    while step < settings.steps or (seconds is not None and used + longest <= seconds):
        began = time.perf_counter()
        sequences = torch.from_numpy(next(batches))
        rate = settings.learning_rate * min(1.0, (step + 1) / WARM_UP_STEPS)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = _nats(model, sequences)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        bits = float(loss.detach()) / math.log(2)
        took = time.perf_counter() - began
        used, step = used + took, step + 1
        longest = took if longest == 0.0 else 0.8 * longest + 0.2 * took
        emit({"event": "step", "step": step, "seconds": used, "took": took, "bits": bits})
        if step == settings.steps:
            order = batches.order
        late = step > settings.steps and (
            step - measured >= every and used - measured_at >= (seconds or 0.0) / settings.checkpoints
        )
        if step in checkpoints or late:
            measure(step)
            measured, measured_at = step, used
    if measured != step:
        measure(step)
    emit({"event": "trained", "order": order, "memory_at_rest": at_rest, "memory_peak": peak_bytes()})
