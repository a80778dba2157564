"""The language reference that ships with Python, character by character."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fractal_core.demo.data import load_text
from fractal_core.study.task import Measured
from fractal_core.study.transformer import Transformer

__all__ = ["Text"]

_CONTEXT, _BATCH, _WIDTH = 32, 8, 32
_HELD_OUT = 48
"""Sequences of the validation and of the test part that are read."""


class Text:
    """Eight tenths of the text to train, then one to choose the rate, then one to report.

    Raises:
        FractalError: this Python has no `pydoc_data`.
    """

    name = kind = "text"
    title = "Python's own reference by character, a transformer of two layers; test cross-entropy, nats a character"
    steps = 160

    def __init__(self) -> None:
        text = load_text()
        known, codes = np.unique(np.frombuffer(text, dtype=np.uint8), return_inverse=True)
        self._symbols = len(known)
        symbols = torch.tensor(codes, dtype=torch.int64)
        n = len(symbols)
        self._train = symbols[: n * 8 // 10]
        self._held_out = {
            "validation": _sequences(symbols[n * 8 // 10 : n * 9 // 10]),
            "test": _sequences(symbols[n * 9 // 10 :]),
        }
        self.facts = {"bytes": str(n), "SHA-256": hashlib.sha256(text).hexdigest()}

    def model(self, seed: int) -> nn.Module:
        """32,000 weights."""
        torch.manual_seed(seed)
        return Transformer(self._symbols, _CONTEXT, _WIDTH)

    def losses(self, model: nn.Module, seed: int) -> Callable[[torch.Generator], Tensor]:
        """8 sequences of 32 characters, drawn anew each time."""
        del seed

        def loss(generator: torch.Generator) -> Tensor:
            starts = torch.randint(len(self._train) - _CONTEXT, (_BATCH, 1), generator=generator)
            chosen = self._train[starts + torch.arange(_CONTEXT + 1)]
            return _cross_entropy(model, chosen)

        return loss

    @torch.no_grad()
    def measure(self, model: nn.Module, part: str) -> Measured:
        """Cross-entropy of sequences that lie evenly in a part."""
        return Measured(_cross_entropy(model, self._held_out[part]).item())


def _sequences(symbols: Tensor) -> Tensor:
    starts = torch.linspace(0, len(symbols) - _CONTEXT - 1, _HELD_OUT).long()
    return symbols[starts[:, None] + torch.arange(_CONTEXT + 1)]


def _cross_entropy(model: nn.Module, chosen: Tensor) -> Tensor:
    logits = model(chosen[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), chosen[:, 1:].flatten())
