"""Attention under spans: static ones by the kernel's ramp, those of each query by a bias of each edge.

Letters: B batch, H heads, N queries, D features of a head, E edges, S the longest span, R the ramp.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import InvalidArgumentError, ShapeError
from fractal_core.nn._sets import Keys, Sets, lengths
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.modifiers import SpanRamp
from fractal_core.patterns import PerHead

if TYPE_CHECKING:
    from collections.abc import Generator

    from fractal_core.nn.layers.spans import Span
    from fractal_core.patterns import PatternBase

__all__ = ["Spanned", "log_ramp"]

TRIM_STEP = 64
"""Trimmed sets reach a multiple of this, so that few are made while spans move."""


class Spanned(nn.Module):
    """Attention of heads whose weights fall to 0 beyond a span; no projections.

    Args:
        span: the spans.
        pattern: which keys there are at all.
        max_dist: no key farther than this is seen, however long its span.
        sharpen: scores of a head are divided by `1 + temp_scale (1 - z / S)`: short spans have softer weights.
        temp_scale: 0 or more.
        dropout: share of weights that is dropped in training.
        device: as for `sparse_attention`.
    """

    def __init__(
        self,
        span: Span,
        pattern: PatternBase | PerHead,
        max_dist: int,
        *,
        sharpen: bool,
        temp_scale: float,
        dropout: float,
        device: str,
    ) -> None:
        super().__init__()
        self.span = span
        self.max_dist = integer("max_dist", max_dist, 1, INT32_MAX)
        self.sharpen = flag("sharpen", sharpen)
        self.temp_scale = checks.nonnegative("temp_scale", temp_scale)
        self.dropout = checks.fraction("dropout", dropout)
        self.device = device
        if isinstance(pattern, PerHead):
            if len(pattern.patterns) != span.heads:
                raise ShapeError("pattern", f"{len(pattern.patterns)} patterns", f"{span.heads}, one for each head")
            if span.per_query:
                allowed = "one pattern for all heads, with spans that differ by query"
                raise InvalidArgumentError("pattern", "a pattern for each head", allowed)
        self.sets = Sets(pattern, by_edge=span.per_query)
        self._trimmed: int | None = None

    # --- trimming ------------------------------------------------------------------------------------------------

    @property
    def radius(self) -> int:
        """How far the keys of a call are at most: `max_dist`, or less while trimmed."""
        return self.max_dist if self._trimmed is None else min(self._trimmed, self.max_dist)

    def trim_(self) -> None:
        """Leave out keys that no span reaches now. Reads the spans, so call it outside of graphs, every k steps."""
        reach = self.span.longest() + self.span.ramp
        self._trimmed = max(TRIM_STEP, math.ceil(reach / TRIM_STEP) * TRIM_STEP)

    def untrim_(self) -> None:
        """See keys up to `max_dist` again."""
        self._trimmed = None

    @contextmanager
    def trimmed(self) -> Generator[None, None, None]:
        """Trimmed by the spans of now within a `with`, and as before behind it."""
        before = self._trimmed
        self.trim_()
        try:
            yield
        finally:
            self._trimmed = before

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self._trimmed = None  # the spans that come may be longer
        super()._load_from_state_dict(*args, **kwargs)  # pyright: ignore[reportArgumentType]

    # --- attention -----------------------------------------------------------------------------------------------

    def prepare(
        self, n_queries: int, n_keys: int, *, causal: bool, max_dist: int | None = None, whole: bool = False
    ) -> Keys:
        """The keys of the last queries, made once and kept; `whole`, not trimmed."""
        n_queries, n_keys = lengths(n_queries, n_keys)
        radius = self.max_dist if whole else self.radius
        if max_dist is not None:
            radius = min(radius, integer("max_dist", max_dist, 1, self.max_dist))
        return self.sets.get(n_queries, n_keys, causal=causal, radius=radius)

    def lengths_of(self, x: Tensor, max_span: float | None, span_scale: float | Tensor | None) -> Tensor:
        """The spans of queries of tokens x: (H|1,) or (B, H, N), scaled, then cut at `max_span`."""
        spans: Tensor = self.span(x)
        if span_scale is not None:
            spans = spans * self._scale(span_scale, spans)
        return spans if max_span is None else spans.clamp(max=checks.nonnegative("max_span", max_span))

    def _scale(self, span_scale: float | Tensor, spans: Tensor) -> float | Tensor:
        if not isinstance(span_scale, Tensor):
            return checks.nonnegative("span_scale", span_scale)
        heads = self.span.heads
        checks.shaped("span_scale", checks.tensor("span_scale", span_scale), (), (1,), (heads,))
        # Below 0 there are no spans; a look at the numbers would wait for them.
        factor = span_scale.to(spans.dtype).clamp(min=0)
        return factor.reshape(-1, 1) if spans.ndim == 3 else factor.reshape(-1)

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        x: Tensor,
        keys: Keys,
        *,
        max_span: float | None = None,
        span_scale: float | Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend: (B, H, N, D) from q of that shape, k and v (B, H, Nk, D) and the tokens x that q is made from."""
        if key_padding_mask is not None and not self.span.pointwise:
            # Spans of several tokens read zeros in the place of ignored ones.
            x = x.masked_fill(key_padding_mask[:, key_padding_mask.shape[1] - x.shape[1] :, None], 0.0)
        spans = self.lengths_of(x, max_span, span_scale)
        if self.sharpen and self.temp_scale:
            heat = 1.0 + self.temp_scale * (1.0 - spans / self.span.max_span)
            q = q / (heat[..., None] if heat.ndim == 3 else heat[:, None, None]).to(q.dtype)
        by_query = spans.ndim == 3
        return sparse_attention(
            q,
            k,
            v,
            keys.index_set,
            bias=keys.bias,
            edge_bias=log_ramp(spans, self.span.ramp, keys) if by_query else None,
            key_padding_mask=key_padding_mask,
            dropout_p=self.dropout if self.training else 0.0,
            device=self.device,
            modifiers=() if by_query else (SpanRamp(spans, self.span.ramp),),
        )


def log_ramp(spans: Tensor, ramp: float, keys: Keys) -> Tensor:
    """`log clamp((R + z - |distance|) / R, 0, 1)` of each edge, (B, H, E), for spans z of each query, (B, H, N)."""
    assert keys.queries is not None
    assert keys.distances is not None
    far = keys.distances.abs().to(spans.dtype)
    share = (ramp + spans.index_select(2, keys.queries) - far) / ramp
    inside = share > 0
    # The logarithm of what is cut off has no gradient: NaN would reach the spans.
    return share.clamp(max=1).where(inside, share.new_ones(())).log().masked_fill(~inside, -math.inf)
