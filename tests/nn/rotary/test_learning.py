"""Every parameter learns: gradients by finite differences, and a frequency found from scores."""

from __future__ import annotations

import pytest
import torch
from fractal_core.nn import RotaryEmbedding

LEARNED = {
    "frequencies": {"learned_freq": True},
    "frequencies of halves": {"learned_freq": True, "layout": "half"},
    "frequencies of two axes": {"learned_freq": True, "n_axes": 2},
    "axes": {"mode": "quaternion3"},
    "axes of four": {"mode": "quaternion4", "learned_freq": True},
    "givens": {"basis": "givens"},
    "cayley": {"basis": "cayley"},
    "householder": {"basis": "householder"},
    "projection": {"proj_dim": 4, "learned_freq": True},
    "xpos": {"learned_freq": True, "xpos": True},
}


def made(name, dim=12):
    rotary = RotaryEmbedding(dim, **LEARNED[name]).double()
    x = torch.randn(2, 3, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[0.0, 1.0], [2.0, 0.5], [1.0, 3.0]], dtype=torch.float64)[:, : rotary.n_axes]
    return rotary, x, places


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_by_finite_differences(name):
    rotary, x, places = made(name)
    names, values = zip(*rotary.named_parameters(), strict=True)
    g = torch.Generator().manual_seed(1)
    moved = [(p.detach() + 0.2 * torch.randn(p.shape, generator=g, dtype=p.dtype)).requires_grad_() for p in values]

    def scores(x, *parameters):
        q, k = torch.func.functional_call(rotary, dict(zip(names, parameters, strict=True)), (x, x.flip(-1), places))
        return (q @ k.mT).sum(-1), q[0, :, :2]

    assert torch.autograd.gradcheck(scores, (x.requires_grad_(), *moved), fast_mode=True)


@pytest.mark.parametrize("name", LEARNED)
def test_every_parameter_gets_a_gradient_where_it_starts(name):
    rotary, x, places = made(name)
    q, k = rotary(x, x.flip(-1), places)
    (q @ k.mT).square().sum().backward()
    for parameter, value in rotary.named_parameters():
        assert value.grad is not None
        assert value.grad.abs().max() > 0, parameter


def test_a_frequency_is_learned_from_scores():
    """R17: parameters of the original got no gradient, or were rounded away."""
    torch.manual_seed(0)
    target, rotary = RotaryEmbedding(4, base=20.0), RotaryEmbedding(4, base=40.0, learned_freq=True)
    q, k = torch.randn(16, 12, 4), torch.randn(16, 12, 4)
    a, b = target(q, k)
    optimizer = torch.optim.Adam(rotary.parameters(), lr=0.02)
    for _ in range(150):
        c, d = rotary(q, k)
        loss = (c @ d.mT - a @ b.mT).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(rotary.frequencies().detach(), target.frequencies(), rtol=1e-2, atol=0)


def test_learned_frequencies_start_as_the_fixed_ones():
    for given in ({}, {"n_axes": 3}, {"scaling": {"rope_type": "linear", "factor": 4.0}}):
        fixed, learned = RotaryEmbedding(12, **given), RotaryEmbedding(12, learned_freq=True, **given)
        torch.testing.assert_close(learned.frequencies().detach(), fixed.frequencies(), rtol=1e-6, atol=0)
        with torch.no_grad():
            for p in learned.parameters():
                p.zero_()
        learned.learned.reset_parameters()
        torch.testing.assert_close(learned.frequencies().detach(), fixed.frequencies(), rtol=1e-6, atol=0)


def test_positions_have_gradients():
    rotary, x = RotaryEmbedding(8), torch.randn(3, 8, dtype=torch.float64)
    places = torch.tensor([0.5, 1.0, 2.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: rotary.rotate(x, p), places)
