"""A score of a sequence in 0 .. 1: a linear map of the mean of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core.errors import ShapeError
from fractal_core.nn._tokens import tokens

__all__ = ["Predictor"]


class Predictor(nn.Module):
    """sigmoid(W mean(x) + b), the mean over all tokens, or for each token over those up to it.

    Args:
        dims: E.
        outputs: O, numbers for each sequence or token.
        causal: a number for each token, from the tokens up to it; no later one enters.

    Attributes:
        linear: the map, from E to O.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range.
    """

    def __init__(self, dims: int, *, outputs: int = 1, causal: bool = False) -> None:
        super().__init__()
        self.dims = integer("dims", dims, 1, INT32_MAX)
        self.causal = flag("causal", causal)
        self.linear = nn.Linear(self.dims, integer("outputs", outputs, 1, INT32_MAX))

    def forward(self, x: Tensor) -> Tensor:
        """The scores.

        Args:
            x: (B, N, E); N is 1 or more where not causal.

        Returns:
            (B, O), or (B, N, O) where causal, in 0 .. 1.

        Raises:
            ShapeError: x has another shape, or no token that has a mean.
            DTypeError: x is no float tensor.
        """
        x = tokens("x", x, self.dims)
        if not self.causal:
            if x.shape[1] == 0:
                raise ShapeError("x", tuple(x.shape), "at least one token")
            return self.linear(x.mean(1)).sigmoid()
        # Sums of many tokens in half precision lose the last ones.
        total = (x if x.dtype == torch.float64 else x.float()).cumsum(1)
        count = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=total.dtype)
        return self.linear((total / count[:, None]).to(x.dtype)).sigmoid()
