"""What a task is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn

__all__ = ["Measured", "Task"]


class Measured(NamedTuple):
    """What is measured of a model."""

    loss: float
    accuracy: float | None = None


class Task(Protocol):
    """Data, a model and its loss. Two runs of one seed see the same weights and the same batches in the same order."""

    name: str
    kind: str
    """Tasks of one kind count once in the verdict."""
    title: str
    """One line: data, model, what is measured."""
    steps: int
    """Usual steps of a run."""
    facts: dict[str, str]
    """What must be known to repeat it, such as a digest of the data."""

    def model(self, seed: int) -> nn.Module:
        """A new model; the seed decides its weights."""
        ...

    def losses(self, model: nn.Module, seed: int) -> Callable[[torch.Generator], Tensor]:
        """Gives the loss of the next batch, with its graph, each time it is called."""
        ...

    def measure(self, model: nn.Module, part: str) -> Measured:
        """Of the part `validation` or `test`."""
        ...
