"""Attention whose heads learn how far back they look, over a window or over any pattern's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import InvalidArgumentError, ShapeError
from fractal_core.nn._tokens import blanked, joined, split
from fractal_core.nn.layers._heads import HeadLayer
from fractal_core.nn.layers._spanned import Spanned
from fractal_core.nn.layers.spans import resolve_span
from fractal_core.nn.patterns import resolve
from fractal_core.patterns import check_span
from fractal_core.patterns.window import Window

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fractal_core.index_sets import IndexSet, IndexSetStack
    from fractal_core.nn.layers.spans import Span, SpanLike
    from fractal_core.patterns import Pattern, PerHead

__all__ = ["AdaptiveSpan"]


class AdaptiveSpan(HeadLayer):
    """Multi-head attention with a learned span for each head.

    A key at distance d has its weight multiplied by `clamp((R + z - d) / R, 0, 1)` before weights are normalised, z the
    span of the head in 0 .. S: 1 up to the span, 0 from R beyond it. Distance is the place of the query less that of
    the key, whatever pattern names the keys. Spans and what makes them short (`loss`) train with the rest.

    Source: S. Sukhbaatar et al., "Adaptive Attention Span in Transformers" (2019).

    Args:
        dims: E, a multiple of head.
        head: H.
        max_dist: S, the longest span; no key farther than this is seen.
        sharpen: scores of a head are divided by `1 + temp_scale (1 - z / S)`, so that longer spans have sharper
            weights. This rule is this package's own.
        temp_scale: 0 or more.
        span: a registered kind (`fractal_core.nn.spans`): "learned", clamped by `clamp_` after each step, "sigmoid",
            "dynamic", a span for each token, "pooled", "fixed", or a plug-in's; or a `Span` of this many heads.
        pattern: the keys there are, by name, specification or object, or one for each head
            (`fractal_core.patterns.per_head`); all up to max_dist where None.
        ramp: R, above 0, where `span` is a name.
        project: False leaves out the projections to queries, keys and values, and back.
        bias: the projections have a bias.
        dropout: share of attention weights that is dropped in training, 0 <= dropout < 1.
        device: where attention is computed, as for `sparse_attention`; "gpu" takes no pattern for each head.

    Spans that differ by query ("dynamic", "pooled") cost a bias of each edge, (B, H, edges) numbers, which the others
    do not.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range, or head does not divide dims.
        ShapeError: a span, or patterns, of another number of heads.
        PluginError: the span or the pattern is not known, or did not load.
    """

    def __init__(
        self,
        dims: int,
        head: int,
        max_dist: int = 512,
        sharpen: bool = True,
        temp_scale: float = 0.01,
        *,
        span: SpanLike = "learned",
        pattern: Pattern | PerHead | str | None = None,
        ramp: float = 32.0,
        project: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        device: str = "cpu",
    ) -> None:
        super().__init__(dims, head, bias=bias, device=device, project=project)
        max_dist = integer("max_dist", max_dist, 1, INT32_MAX)
        spans = resolve_span(span, dims=self.dims, heads=self.head, max_span=max_dist, ramp=ramp)
        self.attend = Spanned(
            spans,
            Window(max_dist) if pattern is None else resolve(pattern),
            max_dist,
            sharpen=sharpen,
            temp_scale=temp_scale,
            dropout=dropout,
            device=self.device,
        )
        self.reset_parameters()

    @property
    def span(self) -> Span:
        """The spans."""
        return self.attend.span

    def clamp_(self) -> None:
        """Bring the spans back into their range, after each step of an optimizer."""
        self.span.clamp_()

    def loss(self, weight: float, query: Tensor | None = None) -> Tensor:
        """`weight` times the mean span in keys, (); spans that differ by query need `query` as in `forward`.

        Raises:
            InvalidArgumentError: a weight below 0, or no `query` where it is needed.
        """
        return self.span.loss(weight, query)

    def trimmed(self) -> AbstractContextManager[None]:
        """Within a `with`, leave out keys that no span reaches: the result is the same, the work less.

        The reach is the longest span and its ramp, rounded up to 64 keys. It is read when the `with` begins, outside of
        graphs; spans that grow beyond it within are cut, so begin anew every few steps of training.
        """
        return self.attend.trimmed()

    def trim_(self) -> None:
        """The same until `untrim_`, for loops that call it every k steps; loading a state dict undoes it, too."""
        self.attend.trim_()

    def untrim_(self) -> None:
        """See keys up to max_dist again."""
        self.attend.untrim_()

    def prepare(self, n_queries: int, n_keys: int | None = None, *, is_causal: bool = True) -> IndexSet | IndexSetStack:
        """The index set of the last `n_queries` of `n_keys` tokens, built once and kept; call it before compiling."""
        return self.attend.prepare(*check_span(n_queries, n_keys), causal=flag("is_causal", is_causal)).index_set

    def forward(  # noqa: PLR0917
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        max_dist: int | None = None,
        max_span: float | None = None,
        span_scale: float | Tensor | None = None,
        is_causal: bool = True,
        *,
        key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: (B, N, E), the last N of the places of the keys.
            key: (B, Nk, E), Nk >= N; query where None.
            value: (B, Nk, E); key where None.
            max_dist: leave out keys farther than this, 1 to the layer's own, in this call.
            max_span: cut spans at this many keys, 0 or more, in this call.
            span_scale: factor of the spans, 0 or more, or a tensor (), (1,) or (H,), whose entries below 0 count as 0.
                It is applied before max_span, and has a gradient.
            is_causal: no query sees a later key.
            key_padding_mask: (B, Nk) bool, True where a key is to be ignored.

        Returns:
            (B, N, E), as many tokens as query has. A query whose keys are all out of reach gives the bias of the output
            projection alone.

        Raises:
            ShapeError: shapes do not fit together.
            DTypeError: a tensor of another dtype than the parameters', or an argument of another type than listed.
            InvalidArgumentError: a value is out of its range, or there are more queries than keys.
        """
        query = self.tokens("query", query)
        if key is None:
            if value is not None:
                raise InvalidArgumentError("value", "a tensor without key", "None, or a key beside it")
            key = query
        key = self.tokens("key", key, query.shape[0])
        value = key if value is None else self.tokens("value", value, query.shape[0])
        if value.shape[1] != key.shape[1]:
            raise ShapeError("value", tuple(value.shape), f"{key.shape[1]} tokens, as key has")
        causal = flag("is_causal", is_causal)
        if key_padding_mask is not None:
            checks.boolean("key_padding_mask", key_padding_mask, tuple(key.shape[:2]))
        q, k, v = (split(t, self.head) for t in (self.q(query), self.k(key), self.v(value)))
        k, v = blanked(key_padding_mask, k), blanked(key_padding_mask, v)
        if query.shape[1] == 0:
            return self.out(joined(q))
        # A factor may bring spans beyond what was trimmed.
        whole = span_scale is not None
        keys = self.attend.prepare(query.shape[1], key.shape[1], causal=causal, max_dist=max_dist, whole=whole)
        attended = self.attend(
            q, k, v, query, keys, max_span=max_span, span_scale=span_scale, key_padding_mask=key_padding_mask
        )
        return self.out(joined(attended))

    def extra_repr(self) -> str:
        """What `repr` shows beside the parts."""
        return f"{self.dims}, {self.head}, max_dist={self.attend.max_dist}, pattern={self.attend.sets.pattern!r}"
