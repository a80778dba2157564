"""Attention by forces between the tokens' points, mixed with hops over their topology."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core._torch.dtypes import accumulation_dtype
from fractal_core._torch.recent import Recent
from fractal_core.errors import InvalidArgumentError, ShapeError
from fractal_core.index_sets import IndexSet
from fractal_core.nn._tokens import blanked, joined, split
from fractal_core.nn.force import force_attention
from fractal_core.nn.layers._dense_force import dense_force_attention
from fractal_core.nn.layers._topology import Edges, dense_hops, sparse_hops
from fractal_core.nn.layers.curve_neighbors import CurveNeighbors
from fractal_core.nn.patterns import resolve_one
from fractal_core.patterns.base import PatternBase

if TYPE_CHECKING:
    from fractal_core.patterns import Pattern

__all__ = ["RelativeForce"]


class _Given(NamedTuple):
    """What the layer makes of its tokens, in the dtype of the computation."""

    e: Tensor
    """(B, N, C)."""
    r: Tensor
    """(B, N, C)."""
    v: Tensor
    """(B, H, N, D)."""
    dots: tuple[Tensor, Tensor] | None
    """Queries and keys (B, H, N, D)."""
    hops: tuple[Tensor, Tensor] | None
    """Both parts of the topology's logits, (B, N)."""
    directions: Tensor
    tau: Tensor
    length: Tensor

    def joined(self) -> Tensor:
        """Values of all heads, (B, N, H D)."""
        return joined(self.v)

    def attend(self, keys: IndexSet | Tensor, eps: float, padding: Tensor | None) -> Tensor:
        """The force over edges, (B, H, N, D)."""
        q, k = (None, None) if self.dots is None else self.dots
        return force_attention(
            self.e[:, None],
            self.r[:, None],
            self.v,
            self.directions,
            keys,
            q=q,
            k=k,
            tau=self.tau,
            length=self.length,
            eps=eps,
            key_padding_mask=padding,
        )


class RelativeForce(nn.Module):
    """Self-attention by forces between points, mixed with what can be reached in a few hops.

    Each token stands at a point e_i as a query and at r_i as a key. Head h weighs the keys by the softmax of

        tau_h * (e_i - r_j) . w_h / (|e_i - r_j| + eps) * exp(-|e_i - r_j| / (sqrt(C) * length_h))

    with a learned direction w_h, strength tau_h and length (softplus, 1 at first), C = dims / heads. The topology is a
    row-stochastic matrix A of `sigmoid(W [x_i; x_j] + b)`; its share is `sum_k softmax(hops)_k A^k V`. Head h gives
    `s_h` of the force and `1 - s_h` of the topology, both weights after their softmax, `s_h = sigmoid(mix_h)`.

    Without a pattern all pairs take part, in memory of a few (B, N, N) arrays. With one, its edges alone, in the force
    kernel: O(edges) time, and memory of the tokens. Positions have no part but through mask and pattern.

    Args:
        dims: size of the tokens; a multiple of heads.
        heads: H.
        hop_levels: hops of the topology, 0 or more; 0 is the force alone.
        pattern: a pattern object, or the name or specification of a registered one, whose edges the force and the
            topology use; or `CurveNeighbors`, which follow the points. None is all pairs.
        causal: no token uses a later one.
        content: adds scaled dot products of projected queries and keys to the scores.
        bias: the projections of values and output have a bias.
        eps: added to distances in the denominator, above 0.

    The index sets of the lengths in use are kept. Under `torch.compile(fullgraph=True)` call `prepare(length)` first,
    since building one is not traced; `CurveNeighbors` are made on each call, outside of a graph.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range.
        PluginError: the pattern is not known, or did not load.

    Source: the seed's `RelativeForce`; what is exact here and was not there: docs/relative-force.md.
    """

    def __init__(
        self,
        dims: int,
        heads: int,
        hop_levels: int = 3,
        *,
        pattern: Pattern | CurveNeighbors | str | None = None,
        causal: bool = False,
        content: bool = False,
        bias: bool = True,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.dims, self.heads = integer("dims", dims, 1, INT32_MAX), integer("heads", heads, 1, INT32_MAX)
        if self.dims % self.heads:
            raise InvalidArgumentError("heads", heads, f"a divisor of dims = {self.dims}")
        self.hop_levels = integer("hop_levels", hop_levels, 0, INT32_MAX)
        self.causal, self.content = flag("causal", causal), flag("content", content)
        self.eps = checks.positive("eps", eps)
        self.head_dim = self.dims // self.heads
        self.pattern = pattern if pattern is None or isinstance(pattern, CurveNeighbors) else resolve_one(pattern)
        self._edges: Recent[Edges] = Recent()
        has_bias = flag("bias", bias)
        self.emitter, self.receptor = (nn.Linear(self.dims, self.head_dim) for _ in range(2))
        self.directions = nn.Parameter(torch.empty(self.heads, self.head_dim))
        self.tau = nn.Parameter(torch.empty(self.heads))
        self.raw_length = nn.Parameter(torch.empty(self.heads))
        self.value, self.out = (nn.Linear(self.dims, self.dims, bias=has_bias) for _ in range(2))
        self.query_key = nn.Linear(self.dims, 2 * self.dims, bias=False) if self.content else None
        self.source = self.target = self.hops = self.mix = None
        if self.hop_levels:
            self.source, self.target = nn.Linear(self.dims, 1), nn.Linear(self.dims, 1, bias=False)
            # The share of a single level is 1, whatever its parameter.
            self.hops = nn.Parameter(torch.empty(self.hop_levels)) if self.hop_levels > 1 else None
            self.mix = nn.Parameter(torch.empty(self.heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reset: Xavier-uniform projections, standard normal directions, strengths and lengths of 1, equal shares."""
        for layer in self.children():
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.directions)
        nn.init.ones_(self.tau)
        nn.init.constant_(self.raw_length, math.log(math.e - 1.0))
        for shares in (self.hops, self.mix):
            if shares is not None:
                nn.init.zeros_(shares)

    def extra_repr(self) -> str:
        """What `repr` shows beside the projections."""
        pattern = "" if self.pattern is None else f", pattern={self.pattern!r}"
        return f"{self.dims}, {self.heads}, {self.hop_levels}{pattern}, causal={self.causal}, content={self.content}"

    def prepare(self, length: int) -> IndexSet:
        """The index set of `length` tokens, built once and kept.

        Raises:
            InvalidArgumentError: without a pattern, or with neighbours that follow the points, there is none.
        """
        length = integer("length", length, 1, INT32_MAX)
        if self.pattern is None or isinstance(self.pattern, CurveNeighbors):
            raise InvalidArgumentError("pattern", self.pattern, "a pattern of positions")
        return self._edges_of(length).index_set

    def _edges_of(self, length: int) -> Edges:
        pattern = self.pattern
        assert isinstance(pattern, PatternBase)
        return self._edges.get(
            (length, self.causal), lambda: Edges.of(pattern.index_set(length, length, causal=self.causal))
        )

    def forward(self, x: Tensor, mask: Tensor | None = None, *, key_padding_mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: (B, N, dims), float32, float64, bfloat16 or float16, the dtype of the parameters.
            mask: (N, N) or (B, N, N) bool, True where the row's token may use the column's; without a pattern alone.
            key_padding_mask: (B, N) bool, True where a token is to be ignored as a key.

        Returns:
            (B, N, dims), the dtype of x; a token without any key gives the bias of the output projection alone.

        Raises:
            ShapeError: x or a mask has another shape.
            DTypeError: a mask is not bool, or x no float tensor.
            InvalidArgumentError: a mask beside a pattern.
        """
        x = checks.tensor("x", x)
        if x.ndim != 3 or x.shape[2] != self.dims:
            raise ShapeError("x", tuple(x.shape), f"(batch, length, {self.dims})")
        batch, n, _ = x.shape
        if mask is not None:
            if self.pattern is not None:
                raise InvalidArgumentError("mask", "a tensor", "None beside a pattern")
            checks.boolean("mask", mask, (n, n) if getattr(mask, "ndim", 0) == 2 else (batch, n, n))
        if key_padding_mask is not None:
            checks.boolean("key_padding_mask", key_padding_mask, (batch, n))
        if batch == 0 or n == 0:
            return self.out(self.value(x))
        given = self._given(x, key_padding_mask)
        with torch.autocast(x.device.type, enabled=False):
            if self.pattern is None:
                mixed = self._dense(given, _allowed(x, mask, key_padding_mask, self.causal), key_padding_mask)
            elif isinstance(self.pattern, CurveNeighbors):
                mixed = self._followed(given, self.pattern, key_padding_mask)
            else:
                mixed = self._sparse(given, key_padding_mask)
        return self.out(joined(mixed).to(x.dtype))

    def _given(self, x: Tensor, padding: Tensor | None) -> _Given:
        by_head, exact = (self.heads, self.head_dim), accumulation_dtype(x.dtype)
        e, r = (layer(x).to(exact) for layer in (self.emitter, self.receptor))
        dots = hops = None
        if self.query_key is not None:
            q, k = self.query_key(x).to(exact).unflatten(2, (2, *by_head)).permute(2, 0, 3, 1, 4).unbind()
            dots = (q, blanked(padding, k))
        if self.source is not None and self.target is not None:
            hops = (self.source(x)[..., 0].to(exact), self.target(x)[..., 0].to(exact))
        values = split(self.value(x).to(exact), self.heads)
        length = softplus(self.raw_length.to(exact))
        values = blanked(padding, values)
        if padding is not None:
            r = r.masked_fill(padding[..., None], 0.0)
            hops = None if hops is None else (hops[0], hops[1].masked_fill(padding, 0.0))
        return _Given(e, r, values, dots, hops, self.directions.to(exact), self.tau.to(exact), length)

    def _dense(self, given: _Given, allowed: Tensor | None, padding: Tensor | None) -> Tensor:
        force = dense_force_attention(
            given.e, given.r, given.v, given.directions, given.tau, given.length, given.dots, allowed, self.eps
        )
        if given.hops is None:
            return force
        shares = self._shares(given.v)
        return self._mixed(force, dense_hops(*given.hops, given.joined(), shares, allowed, padding))

    def _sparse(self, given: _Given, padding: Tensor | None) -> Tensor:
        edges = self._edges_of(given.v.shape[2])
        force = given.attend(edges.index_set, self.eps, padding)
        if given.hops is None:
            return force
        shares = self._shares(given.v)
        return self._mixed(force, sparse_hops(*given.hops, given.joined(), shares, edges, padding))

    def _followed(self, given: _Given, neighbors: CurveNeighbors, padding: Tensor | None) -> Tensor:
        # An ignored token has a list, too, which only its own output reads.
        e = given.e if padding is None else given.e.masked_fill(padding[..., None] & ~given.e.isfinite(), 0.0)
        lists = neighbors.lists(e[:, None], given.r[:, None], causal=self.causal)
        force = given.attend(lists, self.eps, padding)
        if given.hops is None:
            return force
        shares, all_values = self._shares(given.v), given.joined()
        entries: list[Tensor] = []
        for b, rows in enumerate(lists[:, 0]):
            edges = Edges.of(IndexSet.from_padded(rows.numpy(), all_values.shape[1]))
            source, target, values = (t[b : b + 1] for t in (*given.hops, all_values))
            hidden = None if padding is None else padding[b : b + 1]
            entries.append(sparse_hops(source, target, values, shares, edges, hidden))
        return self._mixed(force, torch.cat(entries))

    def _shares(self, like: Tensor) -> Tensor:
        return like.new_ones(1) if self.hops is None else self.hops.to(like.dtype).softmax(0)

    def _mixed(self, force: Tensor, topology: Tensor) -> Tensor:
        """(B, H, N, D) of both, by the share of each head."""
        assert self.mix is not None
        share = self.mix.to(force.dtype).sigmoid()[:, None, None]
        return share * force + (1.0 - share) * split(topology, self.heads)


def _allowed(x: Tensor, mask: Tensor | None, padding: Tensor | None, causal: bool) -> Tensor | None:
    """Which pairs take part, (1 or B, N, N) bool; None is all."""
    n = x.shape[1]
    parts: list[Tensor] = []
    if mask is not None:
        parts.append(mask if mask.ndim == 3 else mask[None])
    if padding is not None:
        parts.append(~padding[:, None, :])
    if causal:
        parts.append(torch.ones((n, n), dtype=torch.bool, device=x.device).tril()[None])
    allowed: Tensor | None = None
    for part in parts:
        allowed = part if allowed is None else allowed & part
    return allowed
