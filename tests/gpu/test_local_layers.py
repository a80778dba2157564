"""Layers of local attention with their attention on the GPU: values and gradients of the CPU."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from fractal_core.nn import AdaptiveSpan, IntegratedAttention, SlidingWindowAttention, slide_win  # noqa: E402

LAYERS = {
    "span": lambda device: AdaptiveSpan(16, 2, 20, ramp=6.0, device=device),
    "span of cantor": lambda device: AdaptiveSpan(16, 2, 20, ramp=6.0, pattern="cantor", device=device),
    "dynamic": lambda device: AdaptiveSpan(16, 2, 20, ramp=6.0, span="dynamic", device=device),
    "window": lambda device: SlidingWindowAttention(16, 2, 5, device=device),
    "summaries": lambda device: IntegratedAttention(16, 2, 30, 5, 9, far="summaries", stride=4, steps=2, device=device),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_same_on_both(name):
    results = []
    for device in ("cpu", "gpu"):
        torch.manual_seed(0)
        layer = copy.deepcopy(LAYERS[name](device))
        x = torch.randn(2, 40, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        out = layer(x)
        out.square().sum().backward()
        results.append([out, x.grad, *(p.grad for p in layer.parameters())])
    for ours, wanted in zip(*reversed(results), strict=True):
        assert (ours - wanted).abs().max() <= 1e-4 * max(1.0, wanted.abs().max().item())


def test_the_function():
    x = torch.randn(2, 40, 16, generator=torch.Generator().manual_seed(0))
    on_gpu = slide_win(x, 9, 3.0, heads=2, ramp=4.0, device="gpu")
    torch.testing.assert_close(on_gpu, slide_win(x, 9, 3.0, heads=2, ramp=4.0), rtol=0, atol=1e-5)
