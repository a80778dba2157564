"""What a span is, and the registry of kinds: how far back each head looks, learned or fixed.

Letters: B batch, H heads, N tokens, E features, S the longest span, R the ramp behind a span.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, integer, real
from fractal_core._registry import Registry
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

__all__ = ["Span", "SpanLike", "resolve_span", "spans"]


class Span(nn.Module):
    """Spans of the heads of a layer, in keys: the base of all kinds. A kind gives `forward`, and sets `per_query`.

    Args:
        heads: H.
        max_span: S, the longest span, 1 or more keys.
        ramp: R, above 0: weights fall from 1 to 0 from the span to R keys beyond it.

    Attributes:
        per_query: whether each query has spans of its own, (B, H, N), which a bias of each edge then carries.
        pointwise: whether the spans of a query depend on its own token alone, as decoding with a cache needs.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range.
    """

    per_query: bool = False
    pointwise: bool = True

    def __init__(self, heads: int, max_span: int, ramp: float = 32.0) -> None:
        super().__init__()
        self.heads = integer("heads", heads, 1, INT32_MAX)
        self.max_span = integer("max_span", max_span, 1, INT32_MAX)
        self.ramp = checks.positive("ramp", ramp)

    def forward(self, x: Tensor | None = None) -> Tensor:
        """The spans.

        Args:
            x: (B, N, E), the tokens that the queries are made from; a kind that is not per query takes None, too.

        Returns:
            (H|1,), or (B, H, N) where `per_query`: in keys, 0 to S, float32 or float64.
        """
        raise NotImplementedError

    def clamp_(self) -> None:
        """Bring the parameters back into their range, after each step of an optimizer; most kinds need none."""

    def loss(self, weight: float, x: Tensor | None = None) -> Tensor:
        """`weight` times the mean span, (): what makes spans short, to be added to the loss of the task.

        Args:
            weight: finite, 0 or more; a loss for each key of the mean span.
            x: as in `forward`.
        """
        return checks.nonnegative("weight", weight) * self(x).mean()

    @torch.no_grad()
    def longest(self) -> float:
        """The longest span that any query can have now, read from the parameters; S where each query has its own."""
        return float(self.max_span) if self.per_query else float(self().max())

    def start(self, initial: float | None, most: float) -> float:
        """`initial` as a share of S, checked; the ramp, or `most` of S if that is less, where it is None."""
        if initial is None:
            return min(self.ramp / self.max_span, most)
        share = real("initial", initial) / self.max_span
        if not 0.0 <= share <= 1.0:
            raise InvalidArgumentError("initial", initial, f"0 to max_span = {self.max_span}")
        return share

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"heads={self.heads}, max_span={self.max_span}, ramp={self.ramp}"


SpanLike: TypeAlias = Span | str
"""A span, or the name of a registered kind."""

spans: Registry[Span] = Registry(
    "span",
    "fractal_core.spans",
    {
        "dynamic": "fractal_core.nn.layers.span_kinds:DynamicSpan",
        "fixed": "fractal_core.nn.layers.span_kinds:FixedSpan",
        "learned": "fractal_core.nn.layers.span_kinds:LearnedSpan",
        "pooled": "fractal_core.nn.layers.span_kinds:PooledSpan",
        "sigmoid": "fractal_core.nn.layers.span_kinds:SigmoidSpan",
    },
    accept=lambda made: isinstance(made, Span),
    must_be="a fractal_core.nn.Span",
)


def resolve_span(
    span: SpanLike, *, dims: int, heads: int, max_span: int, ramp: float, initial: float | None = None
) -> Span:
    """A span of a layer: the registered kind of a name, made for the layer, or one that fits it.

    Raises:
        PluginError: an unknown name, or a plug-in that did not load.
        DTypeError: neither a span nor a name.
        ShapeError: a span of as many heads as the layer does not have.
        InvalidArgumentError: a span longer than the layer's longest.
    """
    if isinstance(span, str):
        return spans.create(span, dims=dims, heads=heads, max_span=max_span, ramp=ramp, initial=initial)
    if not isinstance(span, Span):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("span", type(span).__name__, f"a fractal_core.nn.Span, or one of {', '.join(spans.names())}")
    if span.heads != heads:
        raise ShapeError("span", f"a span of {span.heads} heads", f"one of {heads}")
    if span.max_span > max_span:
        raise InvalidArgumentError("span", f"one of up to {span.max_span} keys", f"at most {max_span} keys")
    return span
