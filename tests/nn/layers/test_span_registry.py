"""Kinds of spans: what each gives, and names through the registry of the package and of plug-ins."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import fractal_core as fc
import pytest
import torch
from fractal_core._registry import Registry
from fractal_core.errors import DTypeError, InvalidArgumentError, PluginError, ShapeError
from fractal_core.nn import AdaptiveSpan, IntegratedAttention, Predictor, Span, spans

KINDS = ["dynamic", "fixed", "learned", "pooled", "sigmoid"]


class Shared(Span):
    """One learned span for all heads."""

    def __init__(self, dims, heads, max_span, ramp=32.0, initial=None):
        super().__init__(heads, max_span, ramp)
        self.share = torch.nn.Parameter(torch.full((1,), self.start(initial, 1.0)))

    def forward(self, x=None):
        return self.max_span * self.share


def test_built_in_names():
    assert [name for name in spans.names() if spans.info(name).origin == "built-in"] == KINDS
    assert spans.info("learned").parameters["ramp"] == 32.0


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_starts_where_it_is_told(kind):
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    span = spans.create(kind, dims=8, heads=4, max_span=100, ramp=10.0, initial=25.0)
    given = span(x)
    assert given.shape == ((2, 4, 5) if span.per_query else (4,))
    torch.testing.assert_close(given, torch.full_like(given, 25.0))
    assert span.longest() == pytest.approx(100.0 if span.per_query else 25.0)
    unsaid = spans.create(kind, dims=8, heads=4, max_span=100, ramp=10.0)(x)
    torch.testing.assert_close(unsaid, torch.full_like(unsaid, 100.0 if kind == "fixed" else 10.0))
    short = spans.create(kind, dims=8, heads=4, max_span=4, ramp=10.0)(x)
    torch.testing.assert_close(short, torch.full_like(short, 4.0 if kind in {"fixed", "learned"} else 3.6))


@pytest.mark.parametrize("kind", ["sigmoid", "dynamic", "pooled"])
def test_a_sigmoid_has_no_ends(kind):
    for initial in (0.0, 100.0):
        with pytest.raises(InvalidArgumentError, match="initial"):
            spans.create(kind, dims=8, heads=4, max_span=100, initial=initial)


def test_half_precision_keeps_long_spans_apart():
    span = spans.create("learned", dims=8, heads=1, max_span=1000, initial=501.0).bfloat16()
    assert span().dtype == torch.float32
    assert 498 < span().item() < 504
    layer = AdaptiveSpan(8, 1, 1000).bfloat16()
    assert layer(torch.ones(1, 600, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_kind_of_somebody_else_on_the_layers_road():
    spans.register("shared by all heads, of this test", Shared)
    layer = AdaptiveSpan(8, 4, 20, span="shared by all heads, of this test", ramp=4.0)
    assert isinstance(layer.span, Shared)
    x = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0))
    layer(x).square().sum().backward()
    assert layer.span.share.grad.shape == (1,)
    assert layer.span.share.grad.abs() > 0
    same = AdaptiveSpan(8, 4, 20, span=Shared(8, 4, 20, 4.0))
    same.load_state_dict(layer.state_dict())
    assert torch.equal(same(x), layer(x))


def test_plug_ins_declare_spans_in_their_group():
    assert spans.group == "fractal_core.spans"
    point = EntryPoint("mine", "fractal_core.nn:Predictor", "fractal_core.spans")
    registry = Registry(
        "span", spans.group, {}, accept=lambda m: isinstance(m, Span), must_be="a Span", declared=[point]
    )
    with pytest.raises(PluginError, match="made a Predictor, which is not a Span"):
        registry.create("mine", dims=3)


def test_what_is_no_span():
    with pytest.raises(PluginError, match="unknown span 'wide'"):
        AdaptiveSpan(8, 4, 20, span="wide")
    with pytest.raises(DTypeError, match="span"):
        AdaptiveSpan(8, 4, 20, span=torch.nn.Linear(2, 2))
    with pytest.raises(ShapeError, match="a span of 2 heads"):
        AdaptiveSpan(8, 4, 20, span=Shared(8, 2, 20))
    with pytest.raises(InvalidArgumentError, match="up to 30 keys"):
        AdaptiveSpan(8, 4, 20, span=Shared(8, 4, 30))
    with pytest.raises(InvalidArgumentError, match="with spans that differ by query"):
        AdaptiveSpan(8, 2, 20, span="dynamic", pattern=fc.patterns.per_head(["cantor", "dragon"]))
    with pytest.raises(InvalidArgumentError, match="spans depend on"):
        spans.create("dynamic", dims=8, heads=4, max_span=9).loss(1.0)
    with pytest.raises(NotImplementedError):
        Span(2, 3)()


def test_win_size_is_where_local_spans_start():
    layer = IntegratedAttention(8, 2, 64, win_size=12, max_span=40)
    assert layer.span().tolist() == pytest.approx([12.0, 12.0])


class TestPredictor:
    def test_of_a_sequence(self):
        predictor = Predictor(6, outputs=2).double()
        x = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        wanted = torch.sigmoid(
            torch.stack([row.mean(0) for row in x]) @ predictor.linear.weight.T + predictor.linear.bias
        )
        torch.testing.assert_close(predictor(x), wanted)
        assert Predictor(6)(x.float()).shape == (3, 1)

    def test_causal_means_the_tokens_so_far(self):
        predictor = Predictor(6, outputs=2, causal=True).double()
        x = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        each = torch.stack([x[:, : t + 1].mean(1) for t in range(7)], 1)
        torch.testing.assert_close(
            predictor(x), torch.sigmoid(each @ predictor.linear.weight.T + predictor.linear.bias)
        )
        assert predictor(x[:, :0]).shape == (3, 0, 2)

    def test_long_sums_in_half_precision(self):
        predictor = Predictor(4, causal=True).bfloat16()
        x = torch.ones(1, 5000, 4, dtype=torch.bfloat16)
        assert (predictor(x) == predictor(x)[:, :1]).all()
