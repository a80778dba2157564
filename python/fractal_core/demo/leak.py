"""Does the future leak into the past? Not "nearly never": every difference and every gradient must be exactly zero."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from fractal_core.demo.model import LanguageModel

__all__ = ["Leak", "leak"]


@dataclass(frozen=True)
class Leak:
    """What came through from the future at the worst of the cuts; both figures are 0.0 in a causal model.

    Attributes:
        cuts: Positions after which the input was changed.
        logit_change: Largest change of an earlier logit when all later bytes change.
        gradient: Largest gradient of an earlier output with respect to a later input.
    """

    cuts: tuple[int, ...]
    logit_change: float
    gradient: float

    def to_dict(self) -> dict[str, object]:
        """The figures as plain JSON values."""
        return {**asdict(self), "exact": self.logit_change == 0.0 and self.gradient == 0.0}


def leak(model: LanguageModel, sequence: Tensor) -> Leak:
    """Changes the future at a quarter, a half and three quarters of a sequence and looks at the past.

    Args:
        model: The model, in any mode; left in evaluation mode.
        sequence: Shape (N,), int64 in [0, 255], N at least 4.

    Returns:
        The largest change and the largest gradient over all cuts.
    """
    model.eval()
    n = len(sequence)
    cuts = (n // 4, n // 2, 3 * n // 4)
    change = gradient = 0.0
    with torch.no_grad():
        before = model(sequence[None])[0]
        for cut in cuts:
            altered = sequence.clone()
            altered[cut + 1 :] = (altered[cut + 1 :] + 97) % 256
            after = model(altered[None])[0]
            change = max(change, float((after[: cut + 1] - before[: cut + 1]).abs().max()))
            if torch.equal(after[cut + 1 :], before[cut + 1 :]):  # a model that reads nothing leaks nothing
                change = float("nan")
    for cut in cuts:
        embedded = model.embed(sequence[None]).detach().requires_grad_()
        earlier = model.from_embedding(embedded)[0, : cut + 1]
        weights = torch.linspace(-1.0, 1.0, earlier.numel()).view_as(earlier)
        (found,) = torch.autograd.grad((earlier * weights).sum(), embedded)
        gradient = max(gradient, float(found[0, cut + 1 :].abs().max()))
    return Leak(cuts, change, gradient)
