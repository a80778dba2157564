"""The tutorial's classes: what they compute, against dense attention; the tutorial's own programs."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.nn import FractalConfig, HilbertCurveAttention, JuliaSetAttention

D = 8


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def inputs(batch=3, n_queries=1, n_keys=40, dim=D, dtype=torch.float64):
    g = torch.Generator().manual_seed(7)
    shapes = ((batch, n_queries, dim), (batch, n_keys, dim), (batch, n_keys, dim))
    return tuple(torch.randn(s, generator=g, dtype=dtype) for s in shapes)


def dense(query, key, value, bias):
    """bias broadcasts to (B, M, N), -inf where there is no edge."""
    scores = query @ key.mT / query.shape[-1] ** 0.5 + bias
    return scores.softmax(-1) @ value


def disturbed(module, scale=0.3):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn(p.shape))
    return module.double()


def every_parameter_learns(module, out):
    (out * torch.randn(out.shape, dtype=out.dtype)).sum().backward()
    for name, p in module.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert (p.grad != 0).any(), name


# --- settings ----------------------------------------------------------------------------------------------------


def test_config_has_the_tutorial_fields():
    config = FractalConfig(
        hilbert_window_size=7,
        hilbert_order=10,
        cantor_depth=8,
        cantor_num_scales=3,
        cantor_temperature=1.0,
        dragon_iterations=12,
        dragon_smoothing=0.1,
        julia_c=complex(-0.7, 0.27),
        julia_iterations=64,
        julia_escape_radius=2.0,
        use_cuda_kernels=False,
        cache_fractals=True,
        blend_temperature=1.0,
    )
    assert config == FractalConfig()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("hilbert_window_size", 6, InvalidArgumentError),
        ("hilbert_window_size", 7.0, DTypeError),
        ("hilbert_order", 0, InvalidArgumentError),
        ("cantor_depth", -1, InvalidArgumentError),
        ("cantor_num_scales", True, DTypeError),
        ("cantor_temperature", 0.0, InvalidArgumentError),
        ("dragon_iterations", 25, InvalidArgumentError),
        ("dragon_smoothing", 1.5, InvalidArgumentError),
        ("julia_c", 3j, InvalidArgumentError),
        ("julia_c", "0", DTypeError),
        ("julia_iterations", 0, InvalidArgumentError),
        ("julia_escape_radius", float("nan"), InvalidArgumentError),
        ("use_cuda_kernels", True, InvalidArgumentError),
        ("cache_fractals", 1, DTypeError),
        ("blend_temperature", "1", DTypeError),
    ],
)
def test_config_refuses(name, value, error):
    with pytest.raises(error, match=name):
        FractalConfig(**{name: value})


# --- Hilbert -----------------------------------------------------------------------------------------------------


def hilbert_bias(module, positions, n_keys):
    cells = fc.curves.hilbert_decode(np.arange(n_keys), module.config.hilbert_order)
    w = module.config.hilbert_window_size
    step = torch.from_numpy(cells[None] - cells[np.asarray(positions)][:, None]) + w // 2
    inside = ((step >= 0) & (step < w)).all(-1)
    entry = (step[..., 0] * w + step[..., 1]).clamp(0, w * w - 1)
    return module.relative_bias[entry].masked_fill(~inside, -torch.inf)


@pytest.mark.parametrize("window", [1, 3, 7])
def test_hilbert_equals_dense_attention_over_its_window(window):
    module = disturbed(HilbertCurveAttention(FractalConfig(hilbert_window_size=window)))
    query, key, value = inputs()
    positions = [5, 39, 0]
    expected = dense(query, key, value, hilbert_bias(module, positions, 40)[:, None])
    got = module(query, key, value, torch.tensor(positions))
    assert got.shape == (3, D)
    assert torch.allclose(got, expected[:, 0], rtol=0, atol=1e-12)
    assert torch.equal(module(query, key, value, torch.tensor(positions)[:, None]), got)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,), (3, 1)])
def test_hilbert_takes_one_position_in_every_shape(shape):
    module = disturbed(HilbertCurveAttention(FractalConfig()))
    query, key, value = inputs()
    expected = dense(query, key, value, hilbert_bias(module, [17], 40)[None])[:, 0]
    assert torch.allclose(module(query, key, value, torch.full(shape, 17)), expected, rtol=0, atol=1e-12)


def test_hilbert_takes_many_queries():
    module = disturbed(HilbertCurveAttention(FractalConfig(hilbert_window_size=3)))
    query, key, value = inputs(n_queries=5)
    positions = torch.randint(0, 40, (3, 5))
    bias = torch.stack([hilbert_bias(module, p, 40) for p in positions])
    assert torch.allclose(module(query, key, value, positions), dense(query, key, value, bias), rtol=0, atol=1e-12)


def test_hilbert_learns():
    module = HilbertCurveAttention(FractalConfig(hilbert_window_size=5))
    every_parameter_learns(module, module(*inputs(dtype=torch.float32), torch.tensor([3, 20, 39])))


@pytest.mark.parametrize("position", [-1, 40])
def test_hilbert_refuses_positions_outside(position):
    with pytest.raises(KeyIndexError, match="query_pos"):
        HilbertCurveAttention(FractalConfig())(*inputs(), torch.tensor([position]))


def test_hilbert_refuses_other_mistakes():
    module = HilbertCurveAttention(FractalConfig(hilbert_order=2))
    query, key, value = inputs(n_keys=16, dtype=torch.float32)
    with pytest.raises(DTypeError, match="query_pos"):
        module(query, key, value, torch.tensor(1.0))
    with pytest.raises(ShapeError, match="query_pos"):
        module(query, key, value, torch.tensor([1, 2]))
    with pytest.raises(ShapeError, match="key"):
        module(*inputs(n_keys=17, dtype=torch.float32), torch.tensor(1))
    with pytest.raises(ShapeError, match="value"):
        module(query, key, value[:, 1:], torch.tensor(1))
    with pytest.raises(DTypeError, match="config"):
        HilbertCurveAttention({"hilbert_order": 3})


# --- Julia -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_queries", [1, 4, 40])
def test_julia_equals_dense_attention_with_the_field_as_bias(n_queries):
    module = JuliaSetAttention(FractalConfig(julia_iterations=16)).double()
    with torch.no_grad():
        module.escape_scale.fill_(2.5)
    query, key, value = inputs(n_queries=n_queries)
    u = (np.arange(40) + 0.5) / 40
    points = 1.5 * u * np.exp(2j * np.pi * 2.5 * u)
    c = complex(*module.c.tolist())
    radius, smoothness = module.log_radius.exp().item(), module.log_smoothness.exp().item()
    field = fc.fields.julia_soft_escape(points, c, 16, radius=radius, smoothness=smoothness)
    expected = dense(query, key, value, torch.from_numpy(2.5 * field / 16))
    got = module(query, key, value)
    assert torch.allclose(got, expected[:, 0] if n_queries == 1 else expected, rtol=0, atol=1e-12)


def test_julia_learns_and_its_chaotic_gradients_are_cut():
    module = JuliaSetAttention(FractalConfig())
    out = module(*inputs(n_keys=200, dtype=torch.float32))
    every_parameter_learns(module, 1e6 * out)
    assert module.c.grad.norm() <= 1.0 + 1e-5


def test_julia_gradient_reaches_c():
    module = JuliaSetAttention(FractalConfig(julia_iterations=8)).double()
    weights = torch.linspace(-1, 1, 30, dtype=torch.float64) * 1e-3

    def value(c):
        with torch.no_grad():
            module.c.copy_(c)
        return (module.log_bias(30) * weights).sum()

    c = module.c.detach().clone()
    (by_c,) = torch.autograd.grad(value(c), module.c)
    step = 1e-6
    for axis in range(2):
        d = torch.zeros(2, dtype=torch.float64)
        d[axis] = step
        assert by_c[axis].item() == pytest.approx(((value(c + d) - value(c - d)) / (2 * step)).item(), rel=1e-4)
