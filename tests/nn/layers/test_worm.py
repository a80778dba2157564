"""WormAttention, our reading of one sentence of the seed, against its formulas written out.

A28: the seed's class had no parameters and a forward that raised; here every parameter learns, and every formula of the
docstring is one below.
"""

from __future__ import annotations

import copy
import math

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn import WormAttention

E, H, N = 8, 2, 7


def made(segments=3, seed=0, **options):
    torch.manual_seed(seed)
    layer = WormAttention(E, H, segments, **options).double()
    with torch.no_grad():
        for one in layer.potentials:
            one.weight.normal_(std=1.5)
            one.bias.fill_(0.1)
    return layer


def opened(layer, bias=1e3):
    with torch.no_grad():
        for one in layer.potentials:
            one.bias.fill_(bias)
    return layer


def tokens(batch=2, length=N, seed=1):
    return torch.randn(batch, length, E, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def operator(sheath, h, causal, mask=None):
    """A (B, H, N, N), every weight written out, and the values (B, H, N, D)."""
    q, k, v = (
        (h @ p.weight.T + (0 if p.bias is None else p.bias)).reshape(*h.shape[:2], H, E // H).transpose(1, 2)
        for p in (sheath.q, sheath.k, sheath.v)
    )
    scores = torch.exp(q @ k.transpose(2, 3) / math.sqrt(E // H))
    if causal:
        scores = scores.tril()
    if mask is not None:
        scores = scores * mask[:, None, None]
    return scores / scores.sum(-1, keepdim=True), v


def diffused(layer, sheath, h, mask=None):
    weights, v = operator(sheath, h, layer.causal, mask)
    z = v
    for _ in range(layer.hops):
        z = (1 - layer.tau) * weights @ z + layer.tau * v
    return z.transpose(1, 2).flatten(2)


def norm(module, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + module.eps).sqrt() * module.weight + module.bias


def pooled(x, causal, mask=None):
    counts = torch.ones(x.shape[:2], dtype=x.dtype) if mask is None else mask.to(x.dtype)
    rows = range(x.shape[1]) if causal else [x.shape[1] - 1]
    parts = [
        (x[:, : t + 1] * counts[:, : t + 1, None]).sum(1) / counts[:, : t + 1].sum(1, keepdim=True).clamp(min=1)
        for t in rows
    ]
    return torch.stack(parts, 1)


def worm(layer, x, mask=None, start=0.0):
    """The eval output with its decisions and potentials."""
    leak, kappa = torch.sigmoid(layer.leak_logit), layer.kappa
    p, z, zs, ps = torch.tensor(start, dtype=x.dtype), None, [], []
    for s in range(layer.segments):
        sheath = layer.sheaths[s % len(layer.sheaths)]
        flow = diffused(layer, sheath, norm(layer.norms[s], x), mask)
        features = torch.cat((pooled(x, layer.causal, mask), pooled(flow, layer.causal, mask)), 2)
        drive = (features @ layer.potentials[s].weight.T + layer.potentials[s].bias).squeeze(2)
        p = leak * p + (1 - leak) * drive + (0 if z is None else kappa * (2 * z - 1))
        z = (p > 0).double()
        x = x + z[..., None] * (flow @ sheath.o.weight.T + sheath.o.bias)
        zs.append(z)
        ps.append(p)
    return x, torch.stack(zs), torch.stack(ps)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("hops", [0, 1, 3])
def test_the_formulas(causal, shared, hops):
    layer, x = made(causal=causal, shared=shared, hops=hops, kappa=0.4).eval(), tokens()
    out, path = layer(x, return_path=True)
    expected, decisions, potentials = worm(layer, x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    assert torch.equal(path.passed, decisions)
    torch.testing.assert_close(path.potential, potentials, rtol=0, atol=1e-12)
    assert path.passed.shape == (3, 2, N if causal else 1)
    assert torch.equal(layer(x), out)


def test_some_paths_pass_and_some_do_not():
    _, path = made(causal=False, kappa=0.4).eval()(tokens(16), return_path=True)
    assert 0.2 < path.passed.mean() < 0.8


@pytest.mark.parametrize("causal", [True, False])
def test_a_mask(causal):
    layer, x = made(causal=causal).eval(), tokens()
    mask = torch.ones(2, N, dtype=torch.bool)
    mask[0, 3], mask[1, 5:] = False, False
    torch.testing.assert_close(layer(x, mask), worm(layer, x, mask)[0], rtol=0, atol=1e-12)


def test_tau_1_leaves_the_values():
    layer, x = made(1, tau=1.0, hops=4, kappa=0).eval(), tokens()
    h = norm(layer.norms[0], x)
    v = h @ layer.sheaths[0].v.weight.T + layer.sheaths[0].v.bias
    torch.testing.assert_close(layer._diffused(layer.sheaths[0], h, None), v, rtol=0, atol=1e-14)


@pytest.mark.parametrize("causal", [True, False])
def test_many_hops_are_the_resolvent(causal):
    layer, x = made(1, hops=250, causal=causal).eval(), tokens()
    h = norm(layer.norms[0], x)
    weights, v = operator(layer.sheaths[0], h, causal)
    resolvent = layer.tau * torch.linalg.inv(torch.eye(N, dtype=x.dtype) - (1 - layer.tau) * weights)
    expected = (resolvent @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer._diffused(layer.sheaths[0], h, None), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("hops", [1, 2, 4])
def test_rows_of_the_diffusion_sum_to_1(hops):
    """Values that are all alike stay what they are."""
    layer, x = made(1, hops=hops).eval(), tokens()
    with torch.no_grad():
        layer.sheaths[0].v.weight.zero_()
    found = layer._diffused(layer.sheaths[0], x, None)
    torch.testing.assert_close(found, layer.sheaths[0].v.bias.expand_as(found), rtol=0, atol=1e-14)


@pytest.mark.parametrize("training", [True, False])
def test_open_and_without_memory_it_is_a_stack(training):
    layer, x = opened(made(kappa=0.0)).train(training), tokens()
    expected = x
    for s in range(3):
        flow = diffused(layer, layer.sheaths[s], norm(layer.norms[s], expected))
        expected = expected + flow @ layer.sheaths[s].o.weight.T + layer.sheaths[s].o.bias
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(opened(layer, -1e3)(x), x)


def test_a_used_path_grows_easier_to_use():
    x = tokens(1)
    for bias, sign in ((1e3, 1), (-1e3, -1)):
        with_, without = (opened(made(2, kappa=k), bias).eval()(x, return_path=True)[1] for k in (0.3, 0.0))
        torch.testing.assert_close((with_.potential - without.potential)[1], torch.full((1, N), 0.3 * sign).double())


@pytest.mark.parametrize("kappa", [0.0, 0.5, 4.0])
def test_potentials_are_bounded(kappa):
    """|p| <= sup |w f + b| + kappa / (1 - lambda)."""
    layer, x = made(12, kappa=kappa, leak=0.7), tokens(4)
    torch.manual_seed(0)
    _, path = layer(x, return_path=True)
    leak = layer.leak.item()
    previous = torch.cat((torch.zeros_like(path.potential[:1]), path.potential[:-1]))
    fed = torch.cat((torch.zeros_like(path.passed[:1]), layer.kappa * (2 * path.passed[:-1] - 1)))
    drive = ((path.potential - leak * previous - fed) / (1 - leak)).abs().max()
    assert path.potential.abs().max() <= drive + layer.kappa / (1 - leak) + 1e-12


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_everything_learns(shared, causal):
    """To lambda, kappa and w above all."""
    layer, x = made(shared=shared, causal=causal), tokens(8)
    torch.manual_seed(0)
    layer(x).square().sum().backward()
    assert [n for n, p in layer.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []
    assert {"leak_logit", "kappa_raw"} <= dict(layer.named_parameters()).keys()


def test_the_start_values():
    layer = WormAttention(E, H, leak=0.8, kappa=0.25)
    assert layer.leak.item() == pytest.approx(0.8)
    assert layer.kappa.item() == pytest.approx(0.25)
    assert WormAttention(E, H, kappa=0).kappa.item() == 0
    assert WormAttention(E, H, 1).kappa_raw is None


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pattern", [None, "window:radius=2"])
def test_causal_means_exactly_no_leak(training, pattern):
    layer, x = made(pattern=pattern).train(training), tokens().requires_grad_()
    torch.manual_seed(0)
    out = layer(x)
    for t in (0, 3, 5):
        (grad,) = torch.autograd.grad(out[:, t].sum(), x, retain_graph=True)
        assert not grad[:, t + 1 :].any()
    layer.eval()
    later = x.detach().clone()
    later[:, 4:] += 3
    torch.testing.assert_close(layer(later)[:, :4], layer(x)[:, :4].detach(), rtol=0, atol=1e-13)


def test_a_pattern_is_its_mask():
    layer, x = opened(made(1, hops=2, pattern="window:radius=2", kappa=0)).eval(), tokens()
    h = norm(layer.norms[0], x)
    weights, v = operator(layer.sheaths[0], h, True)
    mask = torch.as_tensor(fc.pattern("window", radius=2).index_set(N, causal=True).to_mask())
    weights = weights * mask
    weights = weights / weights.sum(-1, keepdim=True)
    z = v
    for _ in range(2):
        z = 0.85 * weights @ z + 0.15 * v
    expected = x + z.transpose(1, 2).flatten(2) @ layer.sheaths[0].o.weight.T + layer.sheaths[0].o.bias
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_eval_is_deterministic_and_samples_are_independent(causal, capfd):
    layer, x = made(causal=causal, persistent=True).eval(), tokens(3)
    state = torch.get_rng_state()
    out = layer(x)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(out, torch.cat([layer(x[i : i + 1]) for i in range(3)]), rtol=0, atol=1e-13)
    assert capfd.readouterr() == ("", "")


def test_decisions_follow_the_potential():
    layer = made(1, causal=False, kappa=0)
    x = tokens(1).expand(20000, N, E)
    torch.manual_seed(0)
    _, path = layer(x, return_path=True)
    assert path.passed.mean().item() == pytest.approx(torch.sigmoid(path.potential[0, 0, 0]).item(), abs=0.015)


def test_a_persistent_potential():
    layer, x = made(persistent=True), tokens()
    assert "start" in layer.state_dict()
    layer.eval()(x)
    assert layer.start.item() == 0
    layer.train()
    torch.manual_seed(0)
    _, path = layer(x, return_path=True)
    assert layer.start.item() == pytest.approx(0.1 * path.potential[-1].mean().item())
    layer.eval()
    kept = layer.start.clone()
    torch.testing.assert_close(layer(x), worm(layer, x, start=kept.item())[0], rtol=0, atol=1e-12)
    assert torch.equal(layer.start, kept)
    fresh = made(seed=3, persistent=True).eval()
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x), layer(x))


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
@pytest.mark.parametrize("causal", [True, False])
def test_sizes_of_0_halves_and_copies(shape, causal):
    layer = made(causal=causal, persistent=True)
    x = torch.zeros(*shape, E, dtype=torch.float64)
    assert layer(x).shape == x.shape
    assert layer.start.isfinite()
    assert copy.deepcopy(layer).eval()(tokens()).equal(layer.eval()(tokens()))
    assert layer.bfloat16()(tokens().bfloat16()).dtype == torch.bfloat16


def test_it_compiles_as_one_graph():
    layer, x = made(), tokens()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    outs = []
    for run in (compiled, layer):
        torch.manual_seed(2)
        outs.append(run(x))
    torch.testing.assert_close(*outs)


@pytest.mark.parametrize(
    ("argument", "error", "call"),
    [
        ("dims", InvalidArgumentError, lambda: WormAttention(0, 1)),
        ("head", InvalidArgumentError, lambda: WormAttention(8, 3)),
        ("segments", InvalidArgumentError, lambda: WormAttention(8, 2, 0)),
        ("hops", InvalidArgumentError, lambda: WormAttention(8, 2, hops=-1)),
        ("hops", DTypeError, lambda: WormAttention(8, 2, hops=1.5)),
        ("tau", InvalidArgumentError, lambda: WormAttention(8, 2, tau=0)),
        ("tau", InvalidArgumentError, lambda: WormAttention(8, 2, tau=1.2)),
        ("leak", InvalidArgumentError, lambda: WormAttention(8, 2, leak=1.0)),
        ("kappa", InvalidArgumentError, lambda: WormAttention(8, 2, kappa=-0.1)),
        ("kappa", DTypeError, lambda: WormAttention(8, 2, kappa=True)),
        ("temperature", InvalidArgumentError, lambda: WormAttention(8, 2, temperature=math.inf)),
        ("causal", DTypeError, lambda: WormAttention(8, 2, causal=0)),
        ("x", ShapeError, lambda: made()(torch.zeros(2, 3, 4).double())),
        ("x", DTypeError, lambda: made()(torch.zeros(2, 3, 8, dtype=torch.int64))),
        ("mask", DTypeError, lambda: made()(tokens(), torch.ones(2, N))),
        ("mask", ShapeError, lambda: made()(tokens(), torch.ones(2, 3, dtype=torch.bool))),
        ("return_path", DTypeError, lambda: made()(tokens(), return_path="yes")),
    ],
)
def test_wrong_calls(argument, error, call):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.argument == argument
