"""The span `octaves`: each head looks half as far back as the one before it, and the first one learns how far."""

from __future__ import annotations

import math

import torch
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn import Span
from torch import Tensor, nn

__all__ = ["Octaves"]


class Octaves(Span):
    """Spans `z, z / 2, z / 4, ...` of the heads, z = S sigmoid(logit): one learned number for a layer.

    Args:
        dims: size of the tokens, not used; layers pass it to every kind.
        heads: heads of the layer.
        max_span: S, in keys.
        ramp: keys behind a span over which weights fall to 0.
        initial: the first head's span at the start, above 0 and below S; 0.9 S where None.
    """

    halves: Tensor

    def __init__(self, dims: int, heads: int, max_span: int, ramp: float = 32.0, initial: float | None = None) -> None:
        del dims
        super().__init__(heads, max_span, ramp)
        share = 0.9 if initial is None else self.start(initial, 1.0)
        if not 0 < share < 1:
            raise InvalidArgumentError("initial", initial, f"above 0 and below max_span = {max_span}")
        self.logit = nn.Parameter(torch.tensor(math.log(share / (1 - share))))
        self.register_buffer("halves", 0.5 ** torch.arange(heads), persistent=False)

    def forward(self, x: Tensor | None = None) -> Tensor:
        """(heads,) spans in keys; the tokens x are not read."""
        return self.max_span * self.logit.sigmoid() * self.halves
