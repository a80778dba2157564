"""Variable depth: samples, or tokens, that leave the stack and do not come back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, integer
from fractal_core._torch import checks
from fractal_core._torch.dtypes import at_least_single
from fractal_core.nn._tokens import tokens
from fractal_core.nn.routing.protocol import Routing
from fractal_core.nn.routing.straight import bernoulli, masked_mean, sample_mean

__all__ = ["ActRouter", "PonderRouter"]

_START = -2.0
"""The logit of halting at the start: probability 0.12."""


class _HaltingRouter(nn.Module):
    """Halting logits: of each token from itself where causal, else of each sample from its mean."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = integer("dims", dims, 1, INT32_MAX)
        self.halting = nn.Linear(self.dims, 1)
        nn.init.constant_(self.halting.bias, _START)

    def _logits(self, x: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """(B, N)."""
        tokens("x", x, self.dims)
        seen = x if causal else sample_mean(x, mask)
        return at_least_single(self.halting(seen).squeeze(2)).expand(x.shape[:2])


class ActRouter(_HaltingRouter):
    """Adaptive computation time: the gate of layer i is what is left of 1 after the halting probabilities up to i.

    c_i = max(0, 1 - sum_{j <= i} h_j), h = sigmoid(w x + b); where c_i is at most `epsilon` the gate is 0 and the token
    is skipped, and so it is in all later layers. Nothing is drawn: training and eval are the same function. The loss is
    mean c_i; its sum over the layers is the expected number of layers, ACT's ponder cost.

    ACT averages the outputs of all steps by their halting probabilities. Here each update is weighed by the probability
    that it still happens, on one trajectory: the same average where the updates do not depend on the gates before.
    Decisions come before the layer, so that the first and the last router both matter.

    Source: A. Graves, "Adaptive Computation Time for Recurrent Neural Networks" (2016); for tokens M. Dehghani et al.,
    "Universal Transformers" (2018).

    Args:
        dims: E, size of the tokens.
        epsilon: 0 < epsilon < 1.

    Raises:
        InvalidArgumentError: a value is out of its range.
        DTypeError: an argument is of another type than listed.
    """

    def __init__(self, dims: int, epsilon: float = 0.01) -> None:
        super().__init__(dims)
        self.epsilon = checks.share("epsilon", epsilon, below=True)

    def extra_repr(self) -> str:
        """What `repr` shows beside the projection."""
        return f"epsilon={self.epsilon}"

    def forward(
        self, x: Tensor, *, state: Tensor | None = None, mask: Tensor | None = None, causal: bool = True
    ) -> Routing:
        """As `Router`; the state is the sum of the halting probabilities so far, (B, N)."""
        halted = self._logits(x, mask, causal).sigmoid()
        if state is not None:
            halted = halted + state
        left = (1 - halted).clamp(min=0)
        keep = left > self.epsilon
        return Routing(keep, (keep * left).to(x.dtype), masked_mean(left, mask), halted)


class PonderRouter(_HaltingRouter):
    """PonderNet: in training a token halts at each layer with probability lambda = sigmoid(w x + b), for good.

    The gate is 1 until then, so that the expected output is the mean of the outputs at each depth by the probability of
    halting there. The gradient is that of the softened draw. In eval a token runs as long as the probability that it
    still does is above one half. The loss of layer i is mean S_i KL(lambda_i || prior), S_i the probability of getting
    there; summed over the layers it is the Kullback-Leibler divergence of the depth from a geometric prior, cut off at
    the last layer.

    Source: A. Banino, J. Balaguer and C. Blundell, "PonderNet: Learning to Ponder" (2021); there the output is averaged
    over all depths in training.

    Args:
        dims: E, size of the tokens.
        prior: probability of halting at a layer, 0 < prior < 1.
        temperature: of the softened draw, above 0.

    Raises:
        InvalidArgumentError: a value is out of its range.
        DTypeError: an argument is of another type than listed.
    """

    def __init__(self, dims: int, prior: float = 0.2, temperature: float = 1.0) -> None:
        super().__init__(dims)
        self.prior = checks.share("prior", prior, below=True)
        self.temperature = checks.positive("temperature", temperature)

    def extra_repr(self) -> str:
        """What `repr` shows beside the projection."""
        return f"prior={self.prior}, temperature={self.temperature}"

    def forward(
        self, x: Tensor, *, state: Tensor | None = None, mask: Tensor | None = None, causal: bool = True
    ) -> Routing:
        """As `Router`; the state is (B, N, 2): whether a token still runs, and the probability of that."""
        logits = self._logits(x, mask, causal)
        if state is None:
            state = logits.new_ones((*logits.shape, 2))
        runs, reached = state.unbind(2)
        halting, going = logits.sigmoid(), (-logits).sigmoid()
        divergence = halting * (nn.functional.logsigmoid(logits) - math.log(self.prior)) + going * (
            nn.functional.logsigmoid(-logits) - math.log(1 - self.prior)
        )
        loss = masked_mean(reached * divergence, mask)
        survives = reached * going
        if self.training:
            # One draw for a sample that decides as a whole.
            drawn = logits if causal else logits[:, :1]
            runs = runs * bernoulli(-drawn, self.temperature, noisy=True)
        else:
            runs = (survives > 0.5).to(logits.dtype)
        return Routing(runs > 0.5, runs.to(x.dtype), loss, torch.stack((runs, survives), 2))
