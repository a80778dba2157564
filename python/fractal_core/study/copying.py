"""Copying at a distance: the second half of a sequence is its first half again."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fractal_core.study.task import Measured
from fractal_core.study.transformer import Transformer

__all__ = ["Copying"]

_SYMBOLS, _DISTANCE, _BATCH, _WIDTH = 16, 6, 32, 32


class Copying:
    """Random symbols, then the same again; only the second half counts."""

    name = kind = "copying"
    title = "copying 6 of 16 symbols from 6 places before, a transformer of one layer; test cross-entropy"
    steps = 200

    def __init__(self) -> None:
        self._held_out = {
            part: _drawn(128, torch.Generator().manual_seed(seed)) for part, seed in (("validation", 11), ("test", 12))
        }
        self.facts = {"chance": f"{torch.tensor(float(_SYMBOLS)).log().item():.3f} nats"}

    def model(self, seed: int) -> nn.Module:
        """14,000 weights."""
        torch.manual_seed(seed)
        return Transformer(_SYMBOLS, 2 * _DISTANCE, _WIDTH, layers=1)

    def losses(self, model: nn.Module, seed: int) -> Callable[[torch.Generator], Tensor]:
        """32 new sequences each time."""
        del seed
        return lambda generator: _measured(model, _drawn(_BATCH, generator))[0]

    @torch.no_grad()
    def measure(self, model: nn.Module, part: str) -> Measured:
        """Cross-entropy and accuracy over the second half of 128 sequences."""
        loss, accuracy = _measured(model, self._held_out[part])
        return Measured(loss.item(), accuracy.item())


def _drawn(count: int, generator: torch.Generator) -> Tensor:
    first = torch.randint(_SYMBOLS, (count, _DISTANCE), generator=generator)
    return torch.cat([first, first], 1)


def _measured(model: nn.Module, symbols: Tensor) -> tuple[Tensor, Tensor]:
    logits = model(symbols[:, :-1])[:, _DISTANCE - 1 :].flatten(0, 1)
    wanted = symbols[:, _DISTANCE:].flatten()
    return F.cross_entropy(logits, wanted), (logits.argmax(-1) == wanted).float().mean()
