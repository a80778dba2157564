"""Sliding windows: a layer whose heads see windows of several widths, and a function.

Letters: B batch, N tokens, E features, H heads, W width of a window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core._torch.recent import Recent
from fractal_core.errors import InvalidArgumentError, ShapeError
from fractal_core.gpu import route
from fractal_core.nn._sets import lengths
from fractal_core.nn._tokens import blanked, ignored, joined, split
from fractal_core.nn.attention import FractalAttention
from fractal_core.nn.functional import sparse_attention
from fractal_core.nn.modifiers import SpanRamp
from fractal_core.patterns import PerHead
from fractal_core.patterns.window import Window

if TYPE_CHECKING:
    from fractal_core.index_sets import IndexSet

__all__ = ["SlidingWindowAttention", "slide_win"]


class SlidingWindowAttention(FractalAttention):
    """Multi-head self-attention within a window, of one width or of a width for each head.

    A token sees the keys with `0 <= i - j < W`, or `|i - j| < W` where not causal. With several scales the heads, in
    order, take the widths `window * 2 ** s`, s = 0 .. scales - 1, as evenly as they divide. Streaming decode, masks,
    grouped keys, dropout and `device` are those of `FractalAttention`.

    Args:
        dims: E, a multiple of head.
        head: H.
        window: W, 1 or more.
        scales: number of widths, 1 to H.
        causal: no token attends to a later one.
        num_kv_heads: number of key and value heads, a divisor of H; H where None.
        bias: the projections have a bias.
        dropout: share of attention weights that is dropped in training, 0 <= dropout < 1.
        device: where attention is computed, as for `sparse_attention`; "gpu" and "auto" as there.

    Attributes:
        widths: (H,) the width of each head's window.

    Raises:
        DTypeError: an argument is of another type than listed.
        InvalidArgumentError: a value is out of its range, or the head counts do not divide.
    """

    def __init__(
        self,
        dims: int,
        head: int,
        window: int = 256,
        scales: int = 1,
        *,
        causal: bool = True,
        num_kv_heads: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        device: str = "cpu",
    ) -> None:
        dims = integer("dims", dims, 1, INT32_MAX)
        head = integer("head", head, 1, INT32_MAX)
        if dims % head:
            raise InvalidArgumentError("head", head, f"a divisor of dims = {dims}")
        scales = integer("scales", scales, 1, head)
        window = integer("window", window, 1, INT32_MAX >> min(scales - 1, 30))
        widths = tuple(window << (h * scales // head) for h in range(head))
        windows = tuple(Window(width - 1) for width in widths)
        super().__init__(
            dims,
            head,
            windows[0] if scales == 1 else PerHead(windows),
            num_kv_heads=num_kv_heads,
            causal=causal,
            bias=bias,
            dropout=dropout,
            device=device,
        )
        self.widths = widths


_windows: Recent[IndexSet] = Recent()


def slide_win(
    x: Tensor,
    win_size: int,
    span_len: float | None = None,
    span_scale: float | Tensor = 1.0,
    mask: Tensor | None = None,
    *,
    heads: int = 1,
    ramp: float = 32.0,
    is_causal: bool = True,
    device: str = "cpu",
) -> Tensor:
    """Attention of tokens to those in a window around them: queries, keys and values are the tokens themselves.

    Args:
        x: (B, N, E), float32, float64, bfloat16 or float16; E a multiple of heads.
        win_size: W: a token sees the keys with `0 <= i - j < W`, or `|i - j| < W` where not causal. It sees itself.
        span_len: a soft span within the window, in keys, 0 or more: weights fall to 0 over `ramp` keys behind it, as
            `modifiers.SpanRamp` has it; none where None.
        span_scale: factor of span_len, 0 or more, or a tensor (), (1,) or (H,), whose entries below 0 count as 0; it
            has a gradient.
        mask: (B, N) bool, True where a token takes part as a key.
        heads: H, heads that the features are cut into.
        ramp: above 0.
        is_causal: no token sees a later one.
        device: as for `sparse_attention`.

    Returns:
        (B, N, E) in the dtype of x. B and N may be 0.

    Raises:
        ShapeError: shapes that do not fit together.
        DTypeError: a tensor of another dtype, or an argument of another type, than listed.
        InvalidArgumentError: a value is out of its range, or a factor without span_len.
    """
    x = checks.tensor("x", x)
    heads = integer("heads", heads, 1, INT32_MAX)
    if x.ndim != 3 or x.shape[2] == 0 or x.shape[2] % heads:
        raise ShapeError("x", tuple(x.shape), f"(batch, length, features), features a multiple of heads = {heads}")
    win_size = integer("win_size", win_size, 1, INT32_MAX)
    causal, device = flag("is_causal", is_causal), route.checked(device)
    if mask is not None:
        checks.boolean("mask", mask, tuple(x.shape[:2]))
    spans = _spans(span_len, span_scale, heads, x.dtype)
    modifiers = () if spans is None else (SpanRamp(spans, ramp),)
    q = split(x, heads)
    if x.shape[1] == 0:
        return joined(q).clone()
    n, _ = lengths(x.shape[1], x.shape[1])
    window = _windows.get((n, win_size, causal), lambda: Window(win_size - 1).index_set(n, causal=causal))
    q = q if q.stride(-1) == 1 else q.contiguous()
    padding = ignored(mask)
    k = blanked(padding, q)
    return joined(sparse_attention(q, k, k, window, key_padding_mask=padding, device=device, modifiers=modifiers))


def _spans(span_len: float | None, span_scale: float | Tensor, heads: int, dtype: torch.dtype) -> Tensor | None:
    """(H|1,) in float32 at least, or None."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    if isinstance(span_scale, Tensor):
        checks.shaped("span_scale", checks.tensor("span_scale", span_scale), (), (1,), (heads,))
        # Below 0 there are no spans; a look at the numbers would wait for them.
        factor = span_scale.to(wide).clamp(min=0).reshape(-1)
    else:
        factor = torch.full((1,), checks.nonnegative("span_scale", span_scale), dtype=wide)
    if span_len is None:
        if isinstance(span_scale, Tensor) or span_scale != 1.0:
            raise InvalidArgumentError("span_scale", "a factor without span_len", "1, or a span_len beside it")
        return None
    return factor * checks.nonnegative("span_len", span_len)
