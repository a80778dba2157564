"""Kinds of spans: learned and clamped, by a sigmoid, fixed, by the token, by the mean of the tokens up to it.

Source: S. Sukhbaatar, E. Grave, P. Bojanowski and A. Joulin, "Adaptive Attention Span in Transformers" (2019): the
clamped parameter and, in its section 2.3, the dynamic span. Letters as in `spans`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, integer
from fractal_core._torch.dtypes import at_least_single
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn._tokens import tokens
from fractal_core.nn.layers.predictor import Predictor
from fractal_core.nn.layers.spans import Span

__all__ = ["DynamicSpan", "FixedSpan", "LearnedSpan", "PooledSpan", "SigmoidSpan"]


class LearnedSpan(Span):
    """A span for each head, S times a parameter in 0 .. 1, which `clamp_` brings back after each step.

    Args:
        dims: E, not used.
        heads: H.
        max_span: S.
        ramp: R.
        initial: span at the start, in keys, 0 to S; R, or S if that is less, where None.

    Attributes:
        share: (H,), the spans by S.
    """

    share: nn.Parameter

    def __init__(self, dims: int, heads: int, max_span: int, ramp: float = 32.0, initial: float | None = None) -> None:
        del dims
        super().__init__(heads, max_span, ramp)
        self.share = nn.Parameter(torch.full((self.heads,), self.start(initial, 1.0)))

    def forward(self, x: Tensor | None = None) -> Tensor:
        """(H,); x is not read."""
        return self.max_span * at_least_single(self.share)

    @torch.no_grad()
    def clamp_(self) -> None:
        """Clamp the shares to 0 .. 1."""
        self.share.clamp_(0.0, 1.0)


class SigmoidSpan(Span):
    """A span for each head, S sigmoid(parameter): in range by itself, after any step.

    Args:
        dims: E, not used.
        heads: H.
        max_span: S.
        ramp: R.
        initial: span at the start, in keys, above 0 and below S; R, or 0.9 S if that is less, where None.

    Attributes:
        logit: (H,).
    """

    logit: nn.Parameter

    def __init__(self, dims: int, heads: int, max_span: int, ramp: float = 32.0, initial: float | None = None) -> None:
        del dims
        super().__init__(heads, max_span, ramp)
        self.logit = nn.Parameter(torch.full((self.heads,), _logit(self, initial)))

    def forward(self, x: Tensor | None = None) -> Tensor:
        """(H,); x is not read."""
        return self.max_span * at_least_single(self.logit).sigmoid()


class FixedSpan(Span):
    """Spans that are not learned, the same for all heads or one for each.

    Args:
        dims: E, not used.
        heads: H.
        max_span: S.
        ramp: R.
        initial: the span, in keys, 0 to S; S where None.

    Attributes:
        share: (H,), the spans by S: a buffer, which may be written to.
    """

    share: Tensor

    def __init__(self, dims: int, heads: int, max_span: int, ramp: float = 32.0, initial: float | None = None) -> None:
        del dims
        super().__init__(heads, max_span, ramp)
        share = 1.0 if initial is None else self.start(initial, 1.0)
        self.register_buffer("share", torch.full((self.heads,), share))

    def forward(self, x: Tensor | None = None) -> Tensor:
        """(H,); x is not read."""
        return self.max_span * at_least_single(self.share)


class DynamicSpan(Span):
    """A span for each token and head, `S sigmoid(v^T x_t + b)`: a linear map of the token that the query is made from.

    The weights v start at 0, so that all tokens have one span at first.

    Args:
        dims: E.
        heads: H.
        max_span: S.
        ramp: R.
        initial: span at the start, in keys, above 0 and below S; R, or 0.9 S if that is less, where None.

    Attributes:
        score: the map, from E to H.
    """

    per_query = True

    def __init__(self, dims: int, heads: int, max_span: int, ramp: float = 32.0, initial: float | None = None) -> None:
        super().__init__(heads, max_span, ramp)
        self.dims = integer("dims", dims, 1, INT32_MAX)
        self.score = nn.Linear(self.dims, self.heads)
        nn.init.zeros_(self.score.weight)
        nn.init.constant_(self.score.bias, _logit(self, initial))

    def forward(self, x: Tensor | None = None) -> Tensor:
        """(B, H, N) for tokens (B, N, E)."""
        return self.max_span * at_least_single(self.score(_tokens(x, self.dims))).sigmoid().transpose(1, 2)


class PooledSpan(Span):
    """A span for each token and head by the mean of the tokens up to it, `S Predictor(x)`: what the context asks for.

    A cache keeps no such mean, so that it does not stream. The weights start at 0, as those of `DynamicSpan`.

    Args:
        dims: E.
        heads: H.
        max_span: S.
        ramp: R.
        initial: span at the start, in keys, above 0 and below S; R, or 0.9 S if that is less, where None.

    Attributes:
        predictor: a causal `Predictor` with H outputs.
    """

    per_query = True
    pointwise = False

    def __init__(self, dims: int, heads: int, max_span: int, ramp: float = 32.0, initial: float | None = None) -> None:
        super().__init__(heads, max_span, ramp)
        self.predictor = Predictor(dims, outputs=self.heads, causal=True)
        self.dims = self.predictor.dims
        nn.init.zeros_(self.predictor.linear.weight)
        nn.init.constant_(self.predictor.linear.bias, _logit(self, initial))

    def forward(self, x: Tensor | None = None) -> Tensor:
        """(B, H, N) for tokens (B, N, E)."""
        return self.max_span * at_least_single(self.predictor(_tokens(x, self.dims))).transpose(1, 2)


def _logit(span: Span, initial: float | None) -> float:
    share = span.start(initial, 0.9)
    if not 0.0 < share < 1.0:
        raise InvalidArgumentError("initial", initial, f"above 0 and below max_span = {span.max_span}")
    return math.log(share / (1.0 - share))


def _tokens(x: Tensor | None, dims: int) -> Tensor:
    if x is None:
        raise InvalidArgumentError("x", None, f"tokens (batch, length, {dims}), which these spans depend on")
    return tokens("x", x, dims)
