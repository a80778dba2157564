"""The span is found by its name, halves from head to head, and learns."""

import pytest

torch = pytest.importorskip("torch", reason="spans need the torch extra")

import fractal_core as fc  # noqa: E402
from fractal_attn_koch.span import Octaves  # noqa: E402


def test_found_by_its_name():
    layer = fc.nn.AdaptiveSpan(16, 4, 64, span="octaves")
    assert isinstance(layer.span, Octaves)
    assert fc.nn.spans.info("octaves").origin.startswith("fractal-attn-koch")


def test_each_head_sees_half_as_far():
    span = Octaves(16, 4, 64, initial=32.0)
    torch.testing.assert_close(span(), torch.tensor([32.0, 16.0, 8.0, 4.0]))


def test_it_learns_by_one_number():
    layer = fc.nn.AdaptiveSpan(16, 4, 64, span="octaves", ramp=8.0)
    (layer(torch.randn(2, 80, 16)).square().mean() + layer.loss(0.01)).backward()
    assert layer.span.logit.shape == ()
    assert layer.span.logit.grad.abs() > 0


def test_a_start_without_a_sigmoid():
    with pytest.raises(fc.errors.InvalidArgumentError, match="initial: got 64"):
        Octaves(16, 4, 64, initial=64)
