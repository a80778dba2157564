"""Adaptive spans: against the definition in dense float64, over windows and fractal offsets; training; trimming.

A12 of the layers' faults (span without gradient, truncated queries, a prefix in place of a window, negative scales,
CUDA autocast) has its tests here; nothing in the layer asks for CUDA.
"""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.nn import AdaptiveSpan
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy, one_hot, scaled_dot_product_attention

B, N, E, H = 2, 40, 12, 3


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(seed=0, **settings):
    torch.manual_seed(seed)
    return AdaptiveSpan(E, H, **{"max_dist": 30, "ramp": 6.0, **settings}).double()


def set_spans(layer, spans):
    with torch.no_grad():
        layer.span.share.copy_(torch.tensor(spans, dtype=torch.float64) / layer.span.max_span)


def heads(x, h=H):
    return x.unflatten(2, (h, -1)).transpose(1, 2)


def reference(layer, x, spans, mask, *, n_queries=None):
    """The definition: `m e^s / sum m e^s`, every pair written out. Spans are (H,) or (B, H, Nq)."""
    n = x.shape[1]
    late = x[:, n - (n_queries or n) :]
    q, k, v = heads(layer.q(late)), heads(layer.k(x)), heads(layer.v(x))
    far = (torch.arange(n)[n - late.shape[1] :, None] - torch.arange(n)[None, :]).abs()
    z = spans[None, :, None, None] if spans.ndim == 1 else spans[..., None]
    heat = 1 + layer.attend.temp_scale * (1 - z / layer.span.max_span) if layer.attend.sharpen else 1.0
    m = ((layer.span.ramp + z - far) / layer.span.ramp).clamp(0, 1)
    weights = m * (q @ k.mT / q.shape[-1] ** 0.5 / heat).exp() * torch.as_tensor(mask)
    weights = weights / weights.sum(-1, keepdim=True)
    return layer.out((weights @ v).transpose(1, 2).flatten(2)), weights


def mask_of(pattern, causal, max_dist=30, n=N):
    far = (torch.arange(n)[:, None] - torch.arange(n)[None, :]).abs()
    if pattern is None:
        mask = torch.ones(n, n, dtype=torch.bool)
    else:
        mask = torch.from_numpy(fc.pattern(pattern).index_set(n).to_mask())
    return mask & (far <= max_dist) & (torch.ones(n, n, dtype=torch.bool).tril() if causal else True)


def assert_same(ours, theirs, into):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = drawn(*ours.shape, seed=9)
    for one, other in zip(*(torch.autograd.grad(y, into, weights) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pattern", [None, "cantor", "hilbert", "dragon", "window:radius=12|cantor:base=4"])
def test_values_and_gradients_are_the_definition(pattern, causal):
    layer, x = made(pattern=pattern), drawn(B, N, E).requires_grad_()
    set_spans(layer, [3.5, 11.25, 0.0])
    wanted, _ = reference(layer, x, 30 * layer.span.share, mask_of(pattern, causal))
    assert_same(layer(x, is_causal=causal), wanted, [x, *layer.parameters()])


@pytest.mark.parametrize("pattern", [None, "cantor", "dragon"])
@pytest.mark.parametrize("kind", ["dynamic", "pooled"])
def test_spans_of_each_query_are_the_definition(kind, pattern):
    layer, x = made(span=kind, pattern=pattern), drawn(B, N, E).requires_grad_()
    score = layer.span.score if kind == "dynamic" else layer.span.predictor.linear
    with torch.no_grad():
        score.weight.copy_(drawn(H, E, seed=4))
    seen = x if kind == "dynamic" else torch.stack([x[:, : t + 1].mean(1) for t in range(N)], 1)
    spans = 30 * torch.sigmoid(seen @ score.weight.T + score.bias).transpose(1, 2)
    assert spans.std() > 3
    wanted, _ = reference(layer, x, spans, mask_of(pattern, True))
    # A running mean is taken in float32 at least, and so are spans; here all is float64.
    assert_same(layer(x), wanted, [x, *layer.parameters()])


def test_a_pattern_for_each_head():
    patterns = ["window:radius=12", "cantor", "dragon"]
    layer, x = made(pattern=fc.patterns.per_head(patterns)), drawn(B, N, E).requires_grad_()
    set_spans(layer, [3.5, 11.25, 20.0])
    masks = torch.stack([mask_of(pattern, True) for pattern in patterns])
    wanted, _ = reference(layer, x, 30 * layer.span.share, masks)
    assert_same(layer(x), wanted, [x, *layer.parameters()])


def test_the_longest_span_is_full_causal_attention():
    layer, x = made(max_dist=N), drawn(B, N, E)
    set_spans(layer, [N] * H)
    q, k, v = (heads(p(x)) for p in (layer.q, layer.k, layer.v))
    wanted = layer.out(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.float()(x.float()), wanted.float(), rtol=0, atol=1e-6)


def test_weights_are_exactly_0_beyond_span_and_ramp_and_rows_sum_to_1():
    layer, x = made(project=False, sharpen=False), drawn(1, N, E)
    spans = [3.0, 11.0, 20.0]
    set_spans(layer, spans)
    value = torch.zeros(1, N, E, dtype=torch.float64).requires_grad_()
    out = layer(x, x, value)
    for t in (0, 10, 39):
        for h, z in enumerate(spans):
            (grad,) = torch.autograd.grad(out[0, t, h * 4], value, retain_graph=True)
            weights, far = grad[0, :, h * 4], t - torch.arange(N)
            reached = (far >= 0) & (far < z + 6) & (far <= 30)
            assert (weights[~reached] == 0).all()
            assert (weights[reached] > 0).all()
            torch.testing.assert_close(weights.sum().item(), 1.0, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(x, x, torch.ones_like(x)), torch.ones_like(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["learned", "sigmoid", "dynamic", "pooled"])
def test_gradients_of_spans_match_finite_differences(kind):
    layer, x = made(span=kind, temp_scale=0.5), drawn(1, 12, E)
    names = [name for name, _ in layer.span.named_parameters()]
    with torch.no_grad():
        for number, p in enumerate(layer.span.parameters()):
            p.add_(0.3 * drawn(*p.shape, seed=number))  # off the corners of the ramp

    def run(*given):
        named = dict(zip([f"attend.span.{name}" for name in names], given, strict=True))
        return torch.func.functional_call(layer, named, (x,))

    assert gradcheck(run, tuple(p.detach().requires_grad_() for p in layer.span.parameters()))


def test_a_scale_has_a_gradient_and_max_span_cuts():
    """A12: `span_scale` never got a gradient, and a negative one gave n - 1."""
    layer, x = made(), drawn(B, N, E)
    set_spans(layer, [4.0, 8.0, 16.0])
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    out = layer(x, span_scale=scale)
    wanted, _ = reference(layer, x, 30 * layer.span.share * 0.5, mask_of(None, True))
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    (grad,) = torch.autograd.grad(out.square().sum(), scale)
    assert grad.abs() > 1e-6
    cut, _ = reference(layer, x, torch.tensor([4.0, 6.0, 6.0]).double(), mask_of(None, True))
    torch.testing.assert_close(layer(x, max_span=6), cut, rtol=0, atol=1e-12)
    negative = layer(x, span_scale=torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    wanted, _ = reference(layer, x, torch.tensor([0.0, 0.0, 16.0]).double(), mask_of(None, True))
    torch.testing.assert_close(negative, wanted, rtol=0, atol=1e-12)
    with pytest.raises(fc.errors.InvalidArgumentError, match="span_scale"):
        layer(x, span_scale=-1.0)
    near, _ = reference(layer, x, 30 * layer.span.share, mask_of(None, True, max_dist=5))
    torch.testing.assert_close(layer(x, max_dist=5), near, rtol=0, atol=1e-12)


def test_as_many_tokens_come_out_as_went_in_and_late_ones_see_late_ones():
    """A12: queries were cut to the span, and keys were the first of the sequence rather than a window."""
    layer = made(max_dist=5, ramp=1.0)
    set_spans(layer, [2.0] * H)
    x = drawn(B, N, E).requires_grad_()
    out = layer(x)
    assert out.shape == (B, N, E)
    (grad,) = torch.autograd.grad(out[:, 30].sum(), x)
    assert (grad.abs().sum((0, 2)) > 0).nonzero().flatten().tolist() == [28, 29, 30]


def test_fewer_queries_are_the_last_rows_and_masked_keys_do_not_count():
    layer, x = made(pattern="cantor"), drawn(B, N, E)
    set_spans(layer, [4.0, 8.0, 16.0])
    torch.testing.assert_close(layer(x[:, -3:], x), layer(x)[:, -3:], rtol=0, atol=1e-12)
    ignored = torch.zeros(B, N, dtype=torch.bool)
    ignored[1, :10] = True
    noisy = x.clone()
    noisy[1, :10] += 5
    kept = layer(x, key_padding_mask=ignored)
    torch.testing.assert_close(layer(noisy, key_padding_mask=ignored)[1, 10:], kept[1, 10:], rtol=0, atol=1e-12)
    torch.testing.assert_close(kept[0], layer(x)[0], rtol=0, atol=1e-12)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["learned", "sigmoid", "dynamic", "pooled"])
def test_a_large_weight_on_spans_makes_them_short(kind):
    layer, x = made(span=kind), drawn(B, N, E)
    optimizer = torch.optim.Adam(layer.span.parameters(), lr=0.05)
    before = layer.loss(1.0, x).item()
    for _ in range(40):
        optimizer.zero_grad()
        (layer(x).square().mean() + layer.loss(1.0, x)).backward()
        optimizer.step()
        layer.clamp_()
    assert 0 <= layer.loss(1.0, x).item() < before / 2
    if kind == "learned":
        assert (layer.span.share == 0).any(), "clamped, not below"


def test_the_loss_is_the_mean_span():
    layer, x = made(), drawn(B, N, E)
    set_spans(layer, [3.0, 6.0, 12.0])
    torch.testing.assert_close(layer.loss(0.5).item(), 3.5)
    dynamic = made(span="dynamic")
    torch.testing.assert_close(dynamic.loss(2.0, x).item(), 12.0, rtol=1e-6, atol=0)


def test_copying_from_a_distance_grows_a_span_beyond_it():
    distance, n, words = 20, 48, 6
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    layer = AdaptiveSpan(32, 1, n, ramp=16.0)
    assert layer.span().item() == 16.0 < distance
    angles = torch.arange(n)[:, None] * torch.tensor([0.05, 0.11, 0.23, 0.5, 1.1])
    places = torch.cat([angles.sin(), angles.cos()], 1)
    read = torch.nn.Linear(32, words)
    optimizer = torch.optim.Adam([*layer.parameters(), *read.parameters()], lr=0.02)
    for _ in range(200):
        given = torch.randint(words, (16, n), generator=generator)
        x = torch.zeros(16, n, 32)
        x[..., :words], x[..., words : words + 10] = 2.0 * one_hot(given, words), 2.0 * places
        loss = cross_entropy(read(layer(x))[:, distance:].flatten(0, 1), given[:, :-distance].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        layer.clamp_()
    assert loss.item() < 0.2
    assert layer.span().item() > distance


# --- trimming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [None, "cantor", "hilbert"])
def test_trimmed_is_untrimmed_with_fewer_edges(pattern):
    n = 300
    layer, x = made(pattern=pattern, max_dist=299), drawn(1, n, E)
    set_spans(layer, [0.0, 20.5, 70.0])
    whole, edges = layer(x), layer.prepare(n).nnz
    with layer.trimmed():
        assert layer.attend.radius == 128, "76 rounded up to 64s"
        kept = layer.prepare(n)
        far = torch.arange(n)[:, None] - torch.arange(n)[None, :]
        wanted = mask_of(pattern, True, 128, n) & (far <= 128)
        assert (torch.from_numpy(kept.to_mask()) == wanted).all()
        torch.testing.assert_close(layer(x), whole, rtol=0, atol=1e-12)
    assert kept.nnz < edges == layer.prepare(n).nnz


def test_trimming_ends_and_follows():
    layer = made(max_dist=500)
    layer.trim_()
    assert layer.attend.radius == 64
    set_spans(layer, [60.0] * H)
    layer.trim_()
    assert layer.attend.radius == 128
    with layer.trimmed():
        layer.attend.span.share.data.fill_(1.0)
    assert layer.attend.radius == 128
    layer.untrim_()
    assert layer.attend.radius == 500
    layer.trim_()
    assert layer.attend.radius == 500, "506 is more than there is"
    set_spans(layer, [10.0] * H)
    layer.trim_()
    layer.load_state_dict(made(max_dist=500).state_dict())
    assert layer.attend.radius == 500, "loaded spans may be longer"
    dynamic = made(span="dynamic", max_dist=500)
    dynamic.trim_()
    assert dynamic.attend.radius == 500, "any token may ask for the longest"


def test_a_factor_reaches_beyond_what_was_trimmed():
    layer, x = made(max_dist=200), drawn(1, 250, E)
    set_spans(layer, [40.0] * H)
    wanted = layer(x, span_scale=4.0)
    with layer.trimmed():
        torch.testing.assert_close(layer(x, span_scale=4.0), wanted, rtol=0, atol=0)
