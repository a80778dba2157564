"""A straight-through Gumbel-sigmoid for each token, with a target for the rate."""

from __future__ import annotations

import math

from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, integer
from fractal_core._torch import checks
from fractal_core._torch.dtypes import at_least_single
from fractal_core.nn._tokens import tokens
from fractal_core.nn.routing.protocol import Routing
from fractal_core.nn.routing.straight import bernoulli, masked_mean

__all__ = ["GumbelRouter"]

_START = 2.0
"""The logit of keeping at the start: probability 0.88, so that a fresh stack is nearly the plain one."""


class GumbelRouter(nn.Module):
    """Keeps a token with a probability that is learned from it.

    With importance i = sigmoid(w x + b), a token is kept where i > threshold. In training, logistic noise is added to
    the logit of i, so that a token is kept with probability pi = sigmoid(logit(i) - logit(threshold)); the gradient is
    that of the softened draw. The loss is (mean pi - rate)^2, with the mean over all tokens of the call. Causal, as
    each token decides for itself.

    Source: E. Jang, S. Gu and B. Poole (2016); A. Veit and S. Belongie, "Convolutional Networks with Adaptive Inference
    Graphs" (2018); for tokens of a transformer D. Zeng et al., "Learning to Skip for Language Modeling" (2023).

    Args:
        dims: E, size of the tokens.
        rate: the share of tokens to keep, 0 < rate <= 1; the loss pulls the mean probability there.
        threshold: of the importance, 0 < threshold < 1.
        temperature: of the softened draw, above 0.

    Raises:
        InvalidArgumentError: a value is out of its range.
        DTypeError: an argument is of another type than listed.
    """

    def __init__(self, dims: int, rate: float = 0.5, threshold: float = 0.5, temperature: float = 1.0) -> None:
        super().__init__()
        self.dims = integer("dims", dims, 1, INT32_MAX)
        self.rate = checks.share("rate", rate)
        self.threshold = checks.share("threshold", threshold, below=True)
        self.temperature = checks.positive("temperature", temperature)
        self._shift = math.log(self.threshold / (1 - self.threshold))
        self.importance = nn.Linear(self.dims, 1)
        nn.init.constant_(self.importance.bias, _START + self._shift)

    def extra_repr(self) -> str:
        """What `repr` shows beside the projection."""
        return f"rate={self.rate}, threshold={self.threshold}, temperature={self.temperature}"

    def forward(
        self, x: Tensor, *, state: Tensor | None = None, mask: Tensor | None = None, causal: bool = True
    ) -> Routing:
        """As `Router`."""
        del causal
        tokens("x", x, self.dims)
        logits = at_least_single(self.importance(x).squeeze(2)) - self._shift
        gate = bernoulli(logits, self.temperature, self.training)
        loss = (masked_mean(logits.sigmoid(), mask) - self.rate).square()
        return Routing(gate > 0.5, gate.to(x.dtype), loss, state)
