"""Handwritten digits of 8 x 8 pixels, as scikit-learn ships them, and a small convolutional network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fractal_core.errors import FractalError
from fractal_core.study.task import Measured

__all__ = ["Digits"]

_PARTS = {"train": slice(0, 1000), "validation": slice(1000, 1350), "test": slice(1350, 1797)}
_BATCH = 32


class Digits:
    """1797 pictures: 1000 to train, 350 to choose the rate, 447 to report.

    Raises:
        FractalError: scikit-learn is not installed.
    """

    name = kind = "digits"
    title = "handwritten digits (scikit-learn), two convolutions and a linear layer; test cross-entropy"
    steps = 200

    def __init__(self) -> None:
        try:
            from sklearn.datasets import load_digits  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
        except ImportError as error:
            raise FractalError("the task digits needs scikit-learn: pip install scikit-learn") from error
        pixels, labels = cast("tuple[Any, Any]", load_digits(return_X_y=True))
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        self._pixels = (torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16 - 0.3)[order]
        self._labels = torch.tensor(labels, dtype=torch.int64)[order]
        self.facts = {"pictures": str(len(labels))}

    def _part(self, part: str) -> tuple[Tensor, Tensor]:
        return self._pixels[_PARTS[part]], self._labels[_PARTS[part]]

    def model(self, seed: int) -> nn.Module:
        """11,000 weights."""
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )

    def losses(self, model: nn.Module, seed: int) -> Callable[[torch.Generator], Tensor]:
        """Batches of 32, drawn anew each time."""
        del seed
        pixels, labels = self._part("train")

        def loss(generator: torch.Generator) -> Tensor:
            chosen = torch.randint(len(labels), (_BATCH,), generator=generator)
            return F.cross_entropy(model(pixels[chosen]), labels[chosen])

        return loss

    @torch.no_grad()
    def measure(self, model: nn.Module, part: str) -> Measured:
        """Cross-entropy and the share of pictures that are read right."""
        pixels, labels = self._part(part)
        logits = model(pixels)
        accuracy = (logits.argmax(-1) == labels).float().mean()
        return Measured(F.cross_entropy(logits, labels).item(), accuracy.item())
