"""Sliding windows: the band of dense attention, widths by head, and A23.

A23 (keys cut to as many as queries, so that a window did not see itself; a first window that saw the future; empty keys
where the window was wider than the span; a loop) has its tests here.
"""

from __future__ import annotations

import pytest
import torch
from fractal_core.nn import KeyValueCache, SlidingWindowAttention, slide_win

E, H = 16, 4


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def heads(x, h):
    return x.unflatten(2, (h, -1)).transpose(1, 2)


def band(n, width, causal):
    far = torch.arange(n)[:, None] - torch.arange(n)[None, :]
    return (far >= 0) & (far < width) if causal else far.abs() < width


def dense(q, k, v, mask, log_weights=0.0):
    scores = q @ k.mT / q.shape[-1] ** 0.5 + log_weights
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("n", "width"), [(37, 8), (32, 8), (5, 8), (8, 8), (40, 1), (20, 100)])
def test_a_window_is_the_band_of_dense_attention(n, width, causal):
    layer = SlidingWindowAttention(E, H, width, causal=causal).double()
    x = drawn(2, n, E).requires_grad_()
    q, k, v = (heads(t, H) for t in layer.qkv(x).split(E, 2))
    wanted = layer.out(dense(q, k, v, band(n, width, causal)))
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-12)
    weights, into = drawn(2, n, E, seed=3), [x, *layer.parameters()]
    for one, other in zip(*(torch.autograd.grad(y, into, weights) for y in (layer(x), wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_widths_double_from_scale_to_scale():
    assert SlidingWindowAttention(E, 8, 3, scales=4).widths == (3, 3, 6, 6, 12, 12, 24, 24)
    assert SlidingWindowAttention(E, H, 5, scales=3).widths == (5, 5, 10, 20)
    layer, n = SlidingWindowAttention(E, H, 2, scales=3).double(), 33
    x = drawn(2, n, E)
    masks = torch.stack([band(n, width, True) for width in (2, 2, 4, 8)])
    wanted = layer.out(dense(*(heads(t, H) for t in layer.qkv(x).split(E, 2)), masks))
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scales", [1, 3])
def test_decoding_is_the_full_pass(scales):
    layer, x = SlidingWindowAttention(E, H, 3, scales=scales).double(), drawn(2, 20, E)
    cache = KeyValueCache(4)
    parts = [layer(piece, cache=cache) for piece in x.split([7, 1, 1, 11], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), layer(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_the_receptive_field_is_the_band(causal):
    """A23: with a span of two windows, token 20 reached the window before it alone."""
    x = drawn(1, 64, E).requires_grad_()
    out = slide_win(x, 16, heads=H, is_causal=causal)
    for t in (0, 5, 20, 40, 63):
        (grad,) = torch.autograd.grad(out[0, t].sum(), x, retain_graph=True)
        reached = (grad[0].abs().sum(1) > 0).nonzero().flatten().tolist()
        assert reached == [j for j in range(64) if (0 <= t - j < 16 if causal else abs(t - j) < 16)]


@pytest.mark.parametrize("causal", [True, False])
def test_the_function_is_dense_attention_under_band_and_ramp(causal):
    x = drawn(2, 30, E).requires_grad_()
    scale = torch.tensor([0.25, 0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    kept = torch.ones(2, 30, dtype=torch.bool)
    kept[1, 3:6] = False
    mask = band(30, 12, causal) & kept[:, None, None, :]
    far = (torch.arange(30)[:, None] - torch.arange(30)[None, :]).abs()
    ramp = ((4 + 5 * scale[:, None, None] - far) / 4).clamp(0, 1)
    given = heads(x, H)
    scores = (given @ given.mT / 2.0).exp() * ramp * mask
    wanted = ((scores / scores.sum(-1, keepdim=True)) @ given).transpose(1, 2).flatten(2)
    found = slide_win(x, 12, 5.0, scale, kept, heads=H, ramp=4.0, is_causal=causal)
    torch.testing.assert_close(found, wanted.nan_to_num(0.0), rtol=0, atol=1e-12)
    weights, rows = drawn(2, 30, E, seed=3), ~wanted.isnan().any(-1)
    (ours,) = torch.autograd.grad((found * weights)[rows].sum(), scale)
    (theirs,) = torch.autograd.grad((wanted * weights)[rows].sum(), scale)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_without_a_span_it_is_the_band():
    x = drawn(2, 30, E)
    torch.testing.assert_close(
        slide_win(x, 7, heads=H), dense(*[heads(x, H)] * 3, band(30, 7, True)), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(slide_win(x, 7, 1e6, heads=H), slide_win(x, 7, heads=H), rtol=0, atol=1e-12)
    # A23: a window wider than the span had no keys, and gave zeros.
    assert (slide_win(x, 16, 2.0, ramp=1.0, heads=H).abs().sum(-1) > 0).all()


def test_nothing_in_nothing_out():
    assert slide_win(torch.ones(2, 0, E), 4).shape == (2, 0, E)
    assert slide_win(torch.ones(0, 5, E), 4).shape == (0, 5, E)
    assert slide_win(torch.ones(2, 5, 2 * E, dtype=torch.bfloat16)[..., ::2], 4, heads=2).dtype == torch.bfloat16
