"""The tutorial's classes: what they compute, against dense attention."""

from __future__ import annotations

import copy
import pickle

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.nn import (
    CantorSetAttention,
    DragonCurveAttention,
    FractalConfig,
    HilbertCurveAttention,
    JuliaSetAttention,
    UnifiedFractalAttention,
)

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


# --- Cantor ------------------------------------------------------------------------------------------------------


def cantor_bias(module, positions, n_keys, t):
    """By the words of the definition, one query and one scale at a time."""
    config = module.config
    weights = torch.softmax(
        (module.time_mlp(t.reshape(1, 1)) + module.scale_bias)[0] / config.cantor_temperature, dim=-1
    )
    total = torch.zeros(len(positions), n_keys, dtype=torch.float64)
    for row, p in enumerate(positions):
        for s, weight in enumerate(weights):
            span = max(1, n_keys // 3**s)
            depth = max(k for k in range(config.cantor_depth + 1) if 3**k <= span)
            left = [m for m in range(3**depth) if "1" not in np.base_repr(m, 3)]
            first = min(max(p - span // 2, 0), n_keys - span)
            held = {int(first + m * span // 3**depth) for m in left} | {int(p)}
            for j in held:
                total[row, j] += weight
    return total.log()


@pytest.mark.parametrize(("n_keys", "n_queries"), [(81, 1), (100, 1), (100, 7), (50, 50), (1, 1)])
def test_cantor_is_one_softmax_over_the_union_of_its_scales(n_keys, n_queries):
    module = disturbed(CantorSetAttention(FractalConfig(cantor_temperature=0.7)))
    query, key, value = inputs(batch=2, n_queries=n_queries, n_keys=n_keys)
    t = torch.tensor([0.3, 2.0], dtype=torch.float64)
    positions = np.arange(n_keys) if n_queries == n_keys else (np.arange(n_queries) + 0.5) / n_queries * n_keys
    bias = torch.stack([cantor_bias(module, positions.astype(int), n_keys, row) for row in t])
    expected = dense(query, key, value, bias)
    got = module(query, key, value, t)
    assert torch.allclose(got, expected[:, 0] if n_queries == 1 else expected, rtol=0, atol=1e-12)
    assert torch.equal(module(query, key, value, t[:, None]), got)


def test_cantor_samples_have_no_ternary_one_and_local_and_global_keys():
    module = CantorSetAttention(FractalConfig(cantor_num_scales=4))
    position = np.array([364])
    widest = module.samples(position, 3**6, 0)[0, :-1]
    assert len(widest) == 2**6
    assert all("1" not in np.base_repr(key, 3) for key in widest)
    for s in range(4):
        keys = module.samples(position, 3**6, s)[0]
        assert keys[-1] == 364
        assert np.ptp(keys) < 3 ** (6 - s)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,), (3, 1)])
@pytest.mark.parametrize("make", [CantorSetAttention, UnifiedFractalAttention])
def test_time_in_every_shape(make, shape):
    module = disturbed(make(FractalConfig(julia_iterations=8)))
    query, key, value = inputs()
    expected = module(query, key, value, 0.5)
    assert expected.shape == (3, D)
    got = module(query, key, value, torch.full(shape, 0.5, dtype=torch.float64))
    assert torch.allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [CantorSetAttention, UnifiedFractalAttention])
def test_time_refused(make):
    module = make(FractalConfig())
    args = inputs(dtype=torch.float32)
    with pytest.raises(ShapeError, match="t:"):
        module(*args, torch.zeros(2))
    with pytest.raises(InvalidArgumentError, match="t:"):
        module(*args, float("nan"))
    with pytest.raises(DTypeError, match="t:"):
        module(*args, "now")


# --- dragon ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_queries", [1, 4, 40])
def test_dragon_is_an_additive_bias_from_distances_on_the_curve(n_queries):
    module = disturbed(DragonCurveAttention(FractalConfig(dragon_iterations=5, dragon_smoothing=0.2)))
    w = module.scale_logits.softmax(0)
    weights = torch.zeros(40, dtype=torch.float64)
    for i in range(1, 6):
        vertices = fc.curves.dragon_vertices(2**i + 1)
        for j in range(40):
            apart = vertices[j * 2**i // 39] - vertices[-1]
            weights[j] += w[i - 1] * (0.2 + 0.8 * np.exp(-(apart @ apart) / 2**i))
    query, key, value = inputs(n_queries=n_queries)
    expected = dense(query, key, value, module.strength * weights.log())
    got = module(query, key, value)
    assert torch.allclose(got, expected[:, 0] if n_queries == 1 else expected, rtol=0, atol=1e-12)


# --- unified -----------------------------------------------------------------------------------------------------


def unified_bias(module, positions, n_keys, t):
    """(M, N) log of the sum over the patterns of gate and own weight."""
    gates = (module.time_mlp(t.reshape(1, 1)) + module.gate_bias)[0] / module.config.blend_temperature
    rows = list(positions)
    dragon, julia = (
        torch.from_numpy(p.index_set(n_keys).to_mask()[rows])
        for p in (fc.pattern("dragon"), fc.pattern("julia", max_iter=module.config.julia_iterations))
    )
    own = torch.stack(
        [
            hilbert_bias(module.hilbert, rows, n_keys),
            cantor_bias(module.cantor, rows, n_keys, t),
            module.dragon.log_bias(n_keys).expand(len(rows), -1).masked_fill(~dragon, -torch.inf),
            module.julia.log_bias(n_keys).expand(len(rows), -1).masked_fill(~julia, -torch.inf),
        ]
    )
    return (own + gates[:, None, None]).logsumexp(0)


@pytest.mark.parametrize("n_queries", [1, 4, 90])
def test_unified_is_one_softmax_over_the_gated_union(n_queries):
    module = disturbed(UnifiedFractalAttention(FractalConfig(julia_iterations=8, blend_temperature=0.5)))
    query, key, value = inputs(batch=2, n_queries=n_queries, n_keys=90)
    t = torch.tensor([0.1, 0.9], dtype=torch.float64)
    positions = np.arange(90) if n_queries == 90 else ((np.arange(n_queries) + 0.5) / n_queries * 90).astype(int)
    expected = dense(query, key, value, torch.stack([unified_bias(module, positions, 90, row) for row in t]))
    got = module(query, key, value, t)
    assert torch.allclose(got, expected[:, 0] if n_queries == 1 else expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("times", [[0.0, 0.35, 1.0], [0.35, 0.35, 0.35], [0.35]])
def test_unified_of_a_context_asks_at_the_time_of_each_row(times):
    module = disturbed(UnifiedFractalAttention(FractalConfig(julia_iterations=8)))
    ctx = inputs(n_keys=61)[1]
    t = torch.tensor(times, dtype=torch.float64)
    rows = t.expand(3)
    expected = []
    for b, now in enumerate(rows):
        p = round(60 * float(now))
        expected.append(dense(ctx[b, p : p + 1], ctx[b], ctx[b], unified_bias(module, [p], 61, now))[0])
    assert torch.allclose(module(ctx, t), torch.stack(expected), rtol=0, atol=1e-12)
    with pytest.raises(InvalidArgumentError, match="t"):
        module(ctx, torch.tensor([1.5]))
    with pytest.raises(DTypeError, match="t"):
        module(ctx, ctx, ctx)


@pytest.mark.parametrize("make", [CantorSetAttention, DragonCurveAttention, UnifiedFractalAttention])
@pytest.mark.parametrize("cache", [True, False])
def test_every_parameter_learns(make, cache):
    module = make(FractalConfig(cache_fractals=cache, hilbert_window_size=5))
    args = inputs(n_keys=90, dtype=torch.float32)
    if make is not DragonCurveAttention:
        args = (*args, torch.tensor([0.2, 0.5, 0.8]))
    every_parameter_learns(module, module(*args))


def test_unified_of_a_context_learns():
    module = UnifiedFractalAttention(FractalConfig(hilbert_window_size=3))
    every_parameter_learns(module, module(inputs(n_keys=90, dtype=torch.float32)[1], torch.tensor([0.3, 0.5, 0.6])))


def test_copies_pickles_and_half_precision():
    module = disturbed(UnifiedFractalAttention(FractalConfig())).float()
    args = inputs(n_keys=90, dtype=torch.float32)
    out = module(*args, 0.5)
    assert torch.equal(copy.deepcopy(module)(*args, 0.5), out)
    assert torch.equal(pickle.loads(pickle.dumps(module))(*args, 0.5), out)
    half = copy.deepcopy(module).to(torch.bfloat16)(*(x.bfloat16() for x in args), 0.5)
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), out, rtol=0, atol=0.05)


@pytest.mark.parametrize("made", [fc.nn.DragonCurveAttention, fc.nn.JuliaSetAttention])
def test_the_bias_of_keys_is_kept_while_its_parameters_do_not_change(made, monkeypatch):
    module = made(fc.nn.FractalConfig()).eval()
    asked = []
    log_bias = module.log_bias
    monkeypatch.setattr(module, "log_bias", lambda n: asked.append(n) or log_bias(n))
    tensors = [torch.randn(1, 40, 8) for _ in range(3)]

    def fresh():
        """What a module that keeps nothing gives."""
        other = copy.deepcopy(module)
        other.__dict__.pop("log_bias", None)
        return other(*tensors)

    with torch.no_grad():
        first = module(*tensors)
        assert torch.equal(module(*tensors), first)
        assert asked == [40]
        module(*(t[:, :20] for t in tensors))
        assert asked == [40, 20]
        for change in (
            lambda p: p.add_(0.25),
            lambda p: setattr(p, "data", p.data + 0.5),
            lambda p: p.data.mul_(0.5),
        ):
            for parameter in module.parameters():
                change(parameter)
            before = len(asked)
            assert torch.equal(module(*tensors), fresh())
            assert len(asked) == before + 1
    out = module(*tensors)
    assert torch.autograd.grad(out.sum(), list(module.parameters()), allow_unused=True)
    assert len(asked) == before + 2
