"""Bounded functions: values, gradients, masks."""

from __future__ import annotations

import math

import pytest
import torch
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn import NumericalStability as S


def test_log_and_exp_are_bounded():
    x = torch.tensor([-1.0, 0.0, 1e-7, 1.0, math.e], requires_grad=True)
    log = S.stable_log(x)
    assert torch.allclose(log, torch.tensor([math.log(1e-6)] * 3 + [0.0, 1.0]))
    log.sum().backward()
    assert torch.equal(x.grad[:3], torch.zeros(3))
    assert x.grad[3] == 1.0
    y = torch.tensor([-1e4, 0.0, 1.0, 1e4])
    assert torch.allclose(S.stable_exp(y), torch.tensor([math.exp(-20), 1.0, math.e, math.exp(20)]))
    assert S.stable_exp(y, max_val=2.0)[-1] == pytest.approx(math.exp(2))
    assert S.EPS == 1e-6


@pytest.mark.parametrize("dim", [0, -1])
def test_softmax_is_exact(dim):
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 100
    weights = S.stable_softmax(x, dim=dim)
    assert torch.allclose(weights, torch.softmax(x, dim), rtol=1e-15, atol=0)
    assert torch.allclose(weights.sum(dim), torch.ones(1, dtype=torch.float64), rtol=1e-15)


def test_masked_rows_give_zero_and_no_gradient():
    x = torch.tensor([[1.0, -math.inf, 2.0], [-math.inf] * 3], requires_grad=True)
    temperature = torch.tensor(2.0, requires_grad=True)
    weights = S.stable_softmax(x, temperature=temperature)
    assert torch.equal(weights[1], torch.zeros(3))
    assert weights[0, 1] == 0
    (weights * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert torch.equal(x.grad[1], torch.zeros(3))
    assert x.grad[0, 1] == 0
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(temperature.grad)
    assert temperature.grad != 0


def test_softmax_gradcheck_by_scores_and_temperature():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(1))
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, t: S.stable_softmax(x, temperature=t), (x, temperature))


def test_wrong_values_are_refused():
    x = torch.zeros(2)
    for call in (
        lambda: S.stable_log(x, eps=0.0),
        lambda: S.stable_exp(x, max_val=-1.0),
        lambda: S.stable_softmax(x, temperature=0.0),
        lambda: S.stable_softmax(x, temperature=torch.tensor([1.0, -1.0])),
    ):
        with pytest.raises(InvalidArgumentError):
            call()
