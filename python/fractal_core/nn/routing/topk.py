"""Mixture of depths: a fixed number of tokens, those of the largest scores."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, integer
from fractal_core._torch import checks
from fractal_core._torch.dtypes import at_least_single
from fractal_core.nn._tokens import tokens
from fractal_core.nn.routing.protocol import Routing
from fractal_core.nn.routing.straight import masked_mean

__all__ = ["TopKRouter"]


class TopKRouter(nn.Module):
    """Keeps the ceil(rate N) tokens of each sample that have the largest scores; gate sigmoid(score).

    The choice among all tokens looks at later ones. So a small predictor is trained beside it, on tokens that carry no
    gradient, to tell from a token alone whether it is chosen: its cross-entropy is the loss. With causal=True in eval
    mode its answers are the decisions, and nothing looks ahead. In training the choice itself does look ahead, as in
    the source. Shapes are static but for that causal eval.

    Source: D. Raposo et al., "Mixture-of-Depths: Dynamically allocating compute in transformer-based language models"
    (2024); there the gate is the score itself.

    Args:
        dims: E, size of the tokens.
        rate: the share of tokens to keep, 0 < rate <= 1.

    Raises:
        InvalidArgumentError: a value is out of its range.
        DTypeError: an argument is of another type than listed.
    """

    def __init__(self, dims: int, rate: float = 0.5) -> None:
        super().__init__()
        self.dims = integer("dims", dims, 1, INT32_MAX)
        self.rate = checks.share("rate", rate)
        hidden = max(self.dims // 4, 4)
        self.score = nn.Linear(self.dims, 1)
        self.predictor = nn.Sequential(nn.Linear(self.dims, hidden), nn.SiLU(), nn.Linear(hidden, 1))

    def extra_repr(self) -> str:
        """What `repr` shows beside the projections."""
        return f"rate={self.rate}"

    def forward(
        self, x: Tensor, *, state: Tensor | None = None, mask: Tensor | None = None, causal: bool = True
    ) -> Routing:
        """As `Router`, but that in training decisions depend on later tokens."""
        tokens("x", x, self.dims)
        scores = self.score(x).squeeze(2)
        predicted = at_least_single(self.predictor(x.detach()).squeeze(2))
        # ceil(rate N), and not one more where rate N is an integer that floats miss.
        count = math.ceil(self.rate * x.shape[1] - 1e-9)
        ranked = scores.detach() if mask is None else scores.detach().masked_fill(~mask, -torch.inf)
        chosen = ranked.topk(count, dim=1).indices
        keep = torch.zeros_like(scores, dtype=torch.bool).scatter(1, chosen, True)
        if mask is not None:
            keep = keep & mask
        each = F.binary_cross_entropy_with_logits(predicted, keep.to(predicted.dtype), reduction="none")
        loss = masked_mean(each, mask)
        alone = causal and not self.training
        if alone:
            keep = predicted > 0
        return Routing(keep, (keep * scores.sigmoid()).to(x.dtype), loss, state, None if alone else count)
