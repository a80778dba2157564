"""Local and global attention in one layer, mixed by a gate, with a few steps of refinement of the queries."""
# ruff: noqa: PLR0917  (the arguments that the idea came with are positional)

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn._streaming import check_streaming
from fractal_core.nn._tokens import blanked, ignored, joined, split
from fractal_core.nn.attention import KeyValueCache
from fractal_core.nn.layers._far import Far, Source
from fractal_core.nn.layers._heads import HeadLayer
from fractal_core.nn.layers._spanned import Spanned
from fractal_core.nn.layers.refiner import Refiner
from fractal_core.nn.layers.spans import resolve_span
from fractal_core.patterns import check_span
from fractal_core.patterns.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from fractal_core.nn.layers.spans import Span, SpanLike
    from fractal_core.patterns import Pattern, PerHead

__all__ = ["IntegratedAttention"]


class IntegratedAttention(HeadLayer):
    """`W_o [g * local + (1 - g) * global]`, the gate g = sigmoid(W_g x) for each token and head.

    Local is attention to the last tokens under a learned span (`AdaptiveSpan`), global is attention to all, to means of
    runs, or to the keys of a pattern. Both have the same queries, which are normalised, keys and values. With `steps`
    above 1 the mixed result o refines the queries: q becomes LayerNorm(s), s the sum of what was projected and
    `eta * o` of every step before; eta starts at 0, where all steps are the first.

    Args:
        dims: E, a multiple of head.
        head: H.
        max_dist: how far the global part sees where it is "full".
        win_size: span of the local part at the start, in keys.
        max_span: S, its longest span: no key farther than this is local. win_size <= max_span <= max_dist.
        temp_scale: softens short spans, as in `AdaptiveSpan`.
        span: a registered kind of span (`fractal_core.nn.spans`), or a `Span` of this many heads, which win_size then
            does not change.
        far: the global part: "full", "summaries" (means of `stride` keys, seen once they lie behind), or a pattern such
            as "cantor".
        stride: keys of a summary.
        steps: passes over the keys, 1 to 3.
        presets: factors of the spans, 0 to 1, that `use_preset` chooses among.
        refiner: makes that choice in `choose_preset`; as many actions as there are presets.
        ramp: R, above 0, where `span` is a name.
        bias: the projections have a bias.
        dropout: share of attention weights that is dropped in training, 0 <= dropout < 1.
        device: where attention is computed, as for `sparse_attention`.

    Attributes:
        gate: the map to the gates, from E to H.
        eta: (H,), where steps > 1.
        span_scale: (), the factor in use, a buffer; 1 at first.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range, or head does not divide dims.
        ShapeError: a span, patterns or a refiner of another number of heads or actions.
        PluginError: the span or the pattern is not known, or did not load.
    """

    span_scale: Tensor

    def __init__(
        self,
        dims: int,
        head: int,
        max_dist: int = 512,
        win_size: int = 256,
        max_span: int = 384,
        temp_scale: float = 0.01,
        *,
        span: SpanLike = "learned",
        far: Pattern | PerHead | str = "full",
        stride: int = 64,
        steps: int = 1,
        presets: Sequence[float] = (0.25, 0.5, 1.0),
        refiner: Refiner | None = None,
        ramp: float = 32.0,
        bias: bool = True,
        dropout: float = 0.0,
        device: str = "cpu",
    ) -> None:
        super().__init__(dims, head, bias=bias, device=device)
        max_dist = integer("max_dist", max_dist, 1, INT32_MAX)
        max_span = integer("max_span", max_span, 1, max_dist)
        win_size = integer("win_size", win_size, 1, max_span)
        spans = resolve_span(span, dims=self.dims, heads=self.head, max_span=max_span, ramp=ramp, initial=win_size)
        self.local = Spanned(
            spans,
            Window(max_span),
            max_span,
            sharpen=True,
            temp_scale=temp_scale,
            dropout=dropout,
            device=self.device,
        )
        self.far = Far(far, self.head, max_dist, stride, self.device)
        self.steps = integer("steps", steps, 1, 3)
        self.presets = _presets(presets)
        self.refiner = _refiner(refiner, len(self.presets))
        self.gate = nn.Linear(self.dims, self.head)
        self.query_norm = nn.LayerNorm(self.head_dim)
        if self.steps > 1:
            self.eta = nn.Parameter(torch.zeros(self.head))
        self.register_buffer("span_scale", torch.ones(()))
        self.reset_parameters()

    # --- spans ---------------------------------------------------------------------------------------------------

    @property
    def span(self) -> Span:
        """The spans of the local part."""
        return self.local.span

    def clamp_(self) -> None:
        """Bring the spans back into their range, after each step of an optimizer."""
        self.span.clamp_()

    def loss(self, weight: float, x: Tensor | None = None) -> Tensor:
        """`weight` times the mean span in keys, before presets, (); spans that differ by query need x."""
        return self.span.loss(weight, x)

    def trimmed(self) -> AbstractContextManager[None]:
        """Within a `with`, leave out local keys that no span reaches; see `AdaptiveSpan.trimmed`."""
        return self.local.trimmed()

    def use_preset(self, preset: int) -> None:
        """Multiply spans by `presets[preset]` from now on; called between batches, outside of graphs.

        Raises:
            InvalidArgumentError: there is no such preset.
        """
        self.span_scale.fill_(self.presets[integer("preset", preset, 0, len(self.presets) - 1)])

    def choose_preset(self, state: int = 0) -> int:
        """Let the refiner choose a preset for a state, and use it: its action, which `refiner.observe` is told later.

        Raises:
            InvalidArgumentError: the layer has no refiner, or the state is out of range.
        """
        if self.refiner is None:
            raise InvalidArgumentError("refiner", None, "a layer made with a refiner")
        action = self.refiner.act(state)
        self.use_preset(action)
        return action

    # --- attention -----------------------------------------------------------------------------------------------

    def prepare(
        self, n_queries: int, n_keys: int | None = None, *, n_source: int | None = None, is_causal: bool = True
    ) -> None:
        """Build the index sets of the last `n_queries` of `n_keys` tokens, and of `n_source` of xa; before compiling.

        Raises:
            InvalidArgumentError: a number out of its range.
        """
        n_queries, n_keys = check_span(n_queries, n_keys)
        causal = flag("is_causal", is_causal)
        self.local.prepare(n_queries, n_keys, causal=causal)
        if n_source is None:
            self.far.prepare(n_queries, n_keys, causal=causal, own=True)
        else:
            self.far.prepare(n_queries, integer("n_source", n_source, 0, INT32_MAX), causal=False, own=False)

    def forward(
        self,
        x: Tensor,
        xa: Tensor | None = None,
        mask: Tensor | None = None,
        kv_cache: KeyValueCache | None = None,
        is_causal: bool = True,
        *,
        xa_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, N, E); with a cache, the N tokens that follow those of the cache.
            xa: (B, M, E), another sequence, whole and known, any M: the global part then attends to all of it, or to
                all its summaries. The local part stays with x.
            mask: (B, N) bool, True where a token of x takes part as a key.
            kv_cache: keys and values of the tokens before x; those of x are added to it. The result then equals the
                last N rows of the full pass. Needs is_causal and spans that a token decides alone.
            is_causal: no token of x sees a later one.
            xa_mask: (B, M) bool, True where a token of xa takes part.

        Returns:
            (B, N, E). B, N and M may be 0.

        Raises:
            ShapeError: shapes do not fit together.
            DTypeError: a tensor of another dtype than the parameters', or an argument of another type than listed.
            InvalidArgumentError: a cache that cannot be used, or a mask of no xa.

        A call that raises leaves the cache as it was.
        """
        x, causal = self.tokens("x", x), flag("is_causal", is_causal)
        if mask is not None:
            checks.boolean("mask", mask, tuple(x.shape[:2]))
        q, k, v = (split(t, self.head) for t in (self.q(x), self.k(x), self.v(x)))
        padding = ignored(mask)
        k, v = blanked(padding, k), blanked(padding, v)
        held = None
        if kv_cache is not None:
            self._check_streaming(kv_cache, causal)
            held = kv_cache.extended(k, v, padding)
            k, v, padding = held.tokens()
        near = Source(k, v, padding, causal)
        far = near if xa is None else self._source(xa, xa_mask, x.shape[0])
        if xa is None and xa_mask is not None:
            raise InvalidArgumentError("xa_mask", "a mask without xa", "None, or an xa beside it")
        out = self.out(joined(q if x.shape[1] == 0 else self._mixed(x, q, near, far)))
        if kv_cache is not None and held is not None:
            kv_cache.keep(held)
        return out

    def _source(self, xa: Tensor, xa_mask: Tensor | None, batch: int) -> Source:
        xa = self.tokens("xa", xa, batch)
        if xa_mask is not None:
            checks.boolean("xa_mask", xa_mask, tuple(xa.shape[:2]))
        padding = ignored(xa_mask)
        k, v = (blanked(padding, split(t, self.head)) for t in (self.k(xa), self.v(xa)))
        return Source(k, v, padding, causal=False, own=False)

    def _mixed(self, x: Tensor, raw: Tensor, near: Source, far: Source) -> Tensor:
        """(B, H, N, D), before the output projection."""
        gate = self.gate(x).sigmoid().transpose(1, 2).unsqueeze(-1)
        keys = self.local.prepare(raw.shape[2], near.k.shape[2], causal=near.causal)
        dropout_p = self.local.dropout if self.training else 0.0
        for step in range(self.steps):
            q = self.query_norm(raw)
            local = self.local(q, near.k, near.v, x, keys, span_scale=self.span_scale, key_padding_mask=near.padding)
            out = gate * local + (1 - gate) * self.far(q, far, dropout_p)
            if step + 1 == self.steps:
                return out
            raw = raw + self.eta[:, None, None] * out
        raise AssertionError

    def _check_streaming(self, cache: KeyValueCache, causal: bool) -> None:
        pattern = self.far.sets.pattern if self.far.kind == "pattern" else None
        check_streaming("kv_cache", cache, KeyValueCache, causal=causal, setting="is_causal", pattern=pattern)
        if not self.span.pointwise:
            raise InvalidArgumentError(
                "kv_cache", f"spans of {type(self.span).__name__}", "spans that depend on a query's own token alone"
            )

    def extra_repr(self) -> str:
        """What `repr` shows beside the parts."""
        far = self.far.sets.pattern if self.far.kind == "pattern" else self.far.kind
        return f"{self.dims}, {self.head}, max_dist={self.far.max_dist}, far={far!r}, steps={self.steps}"


def _presets(presets: Sequence[float]) -> tuple[float, ...]:
    try:
        factors = tuple(checks.nonnegative("presets", factor) for factor in presets)
    except TypeError as error:
        if isinstance(error, DTypeError):
            raise
        raise DTypeError("presets", repr(presets), "a sequence of floats") from None
    if not factors or max(factors) > 1:
        raise InvalidArgumentError("presets", factors, "one or more factors, 0 to 1")
    return factors


def _refiner(refiner: Refiner | None, actions: int) -> Refiner | None:
    if refiner is None:
        return None
    if not isinstance(refiner, Refiner):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("refiner", type(refiner).__name__, "a fractal_core.nn.Refiner or None")
    if refiner.actions != actions:
        raise ShapeError("refiner", f"{refiner.actions} actions", f"{actions}, one for each preset")
    return refiner
