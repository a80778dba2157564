"""The rules of all layers, over the local ones: gradients everywhere, no leaks, no noise in eval, nothing printed."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from fractal_core.nn import AdaptiveSpan, IntegratedAttention, Predictor, Residual, SlidingWindowAttention
from fractal_core.nn import create_encoder_layers as stack

E, H, N = 16, 4, 24

LAYERS = {
    "span": lambda: AdaptiveSpan(E, H, 12, ramp=4.0),
    "span of cantor": lambda: AdaptiveSpan(E, H, 12, ramp=4.0, pattern="cantor", dropout=0.2),
    "sigmoid": lambda: AdaptiveSpan(E, H, 12, ramp=4.0, span="sigmoid"),
    "dynamic": lambda: AdaptiveSpan(E, H, 12, ramp=4.0, span="dynamic"),
    "pooled": lambda: AdaptiveSpan(E, H, 12, ramp=4.0, span="pooled", pattern="dragon"),
    "window": lambda: SlidingWindowAttention(E, H, 3, dropout=0.2),
    "multi-scale": lambda: SlidingWindowAttention(E, H, 2, scales=3),
    "integrated": lambda: IntegratedAttention(E, H, 20, 6, 10, ramp=4.0, steps=3, dropout=0.2),
    "summaries": lambda: IntegratedAttention(E, H, 20, 6, 10, ramp=4.0, far="summaries", stride=4),
    "fractal": lambda: IntegratedAttention(E, H, 20, 6, 10, ramp=4.0, far="cantor", steps=2, span="dynamic"),
    "block": lambda: Residual(E, H, decoder=True, dropout=0.2),
    "stack": lambda: stack(2, E, seed=1),
    "predictor": lambda: Predictor(E, causal=True),
}
CAUSAL = [name for name in LAYERS if name != "stack"]


@pytest.fixture(params=LAYERS)
def name(request):
    return request.param


def made(name, seed=0):
    torch.manual_seed(seed)
    return LAYERS[name]()


def drawn(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_every_parameter_gets_a_gradient(name):
    """A4, A25, A29: thresholds, `.item()` and caches cut them off."""
    layer = made(name)
    layer(drawn(2, N, E)).square().sum().backward()
    gradients = {key: p.grad for key, p in layer.named_parameters()}
    assert [key for key, grad in gradients.items() if grad is None] == []
    # The bias of keys shifts all scores of a row alike.
    idle = [key for key, grad in gradients.items() if not grad.any() and not key.endswith("k.bias")]
    assert idle == []


@pytest.mark.parametrize("causal", CAUSAL)
def test_no_token_sees_a_later_one(causal):
    """A8: pooled means and memory leaked."""
    layer, x = made(causal).double().eval(), drawn(2, N, E, dtype=torch.float64).requires_grad_()
    out = layer(x)
    for t in (0, 5, 17):
        (grad,) = torch.autograd.grad(out[:, t].sum(), x, retain_graph=True)
        assert (grad[:, t + 1 :] == 0).all()
        assert grad[:, t].any()
    later = x.detach().clone()
    later[:, 18:] += 3
    assert torch.equal(layer(later)[:, :18], out[:, :18])


def test_eval_is_one_value_and_independent_of_batch_mates(name):
    """A6: draws in eval, and decisions for the whole batch."""
    layer, x = made(name).double().eval(), drawn(4, N, E, dtype=torch.float64)
    out = layer(x)
    assert torch.equal(layer(x), out)
    for b in range(4):
        torch.testing.assert_close(layer(x[b : b + 1])[0], out[b], rtol=0, atol=1e-12)
    others = x.clone()
    others[1:] = 100.0
    assert torch.equal(layer(others)[0], out[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_dtype_stays(name, dtype):
    layer = made(name).to(dtype).eval()
    x = drawn(2, N, E, dtype=dtype)
    out = layer(x)
    assert out.dtype == dtype
    exact = copy.deepcopy(layer).double()(x.double())
    torch.testing.assert_close(out.double(), exact, rtol=0, atol={torch.float64: 1e-12}.get(dtype, 0.08))


def test_autocast(name):
    layer, x = made(name).eval(), drawn(2, N, E)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    torch.testing.assert_close(out.float(), layer(x), rtol=0, atol=0.1)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (2, 1)])
def test_sizes_of_0(name, shape):
    layer, x = made(name), drawn(*shape, E).requires_grad_()
    out = layer(x)
    assert out.shape == (*shape, 1 if name == "predictor" else E)
    out.sum().backward()
    assert x.grad.shape == x.shape


def test_copies_pickles_and_files(name, tmp_path):
    layer, x = made(name).eval(), drawn(2, N, E)
    out = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), out)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), out)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    other = made(name, seed=1).eval()
    other.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    assert torch.equal(other(x), out)


def test_the_random_numbers_of_others_stay(name):
    """A19: noise came from global generators."""
    layer, x = made(name).eval(), drawn(2, N, E)
    before = torch.get_rng_state()
    layer(x)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_printed(name, capfd):
    """A9: 17 kB of text for one small input."""
    layer = made(name)
    layer(drawn(2, N, E)).sum().backward()
    assert repr(layer)
    assert capfd.readouterr() == ("", "")


GRAPHS = ["span", "span of cantor", "dynamic", "multi-scale", "summaries", "fractal", "block"]


@pytest.mark.parametrize("name", GRAPHS, indirect=True)
def test_one_graph(name):
    """No look at numbers, which would break it (A12, A29: `.item()`)."""
    torch._dynamo.reset()
    layer, x = made(name).eval(), drawn(2, N, E)
    layer.prepare(N)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found = compiled(x)
    torch.testing.assert_close(found, layer(x), rtol=0, atol=1e-6)
    found.square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.parametrize("far", ["full", "summaries"])
def test_one_graph_across_sequences(far):
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = IntegratedAttention(E, H, 20, 6, 10, ramp=4.0, far=far, stride=4)
    x, xa = drawn(2, N, E), drawn(2, 9, E, seed=1)
    layer.prepare(N, n_source=9)
    found = torch.compile(layer, fullgraph=True, backend="eager")(x, xa)
    torch.testing.assert_close(found, layer(x, xa), rtol=0, atol=1e-6)
