"""FAM and FAMAdamW against NumPy and against torch's optimizers: values of whole runs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fractal_core.optim import FAM, FAMAdamW, SimpleFAM

SHAPES = [(40, 30), (300,), (5, 4), (70, 3, 3, 3)]


def problem(shapes=SHAPES, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)) for s in shapes]


def gradients(steps, shapes=SHAPES, seed=1, slow=0.5):
    """Noise with a memory, so that spectra in time are not white."""
    generator = torch.Generator().manual_seed(seed)
    last = [torch.zeros(s, dtype=torch.float64) for s in shapes]
    for _ in range(steps):
        last = [slow * g + torch.randn(g.shape, generator=generator, dtype=torch.float64).cumsum(-1) for g in last]
        yield last


def run(optimizer, params, steps, **kwargs):
    for given in gradients(steps, [tuple(p.shape) for p in params], **kwargs):
        for p, g in zip(params, given, strict=True):
            p.grad = g.to(p.dtype, copy=True)
        optimizer.step()
    return [p.detach().double().numpy() for p in params]


def compare(cls, steps, numpy_fam, tolerance=1e-10, **settings):
    params = problem()
    told = {k: v for k, v in settings.items() if k not in {"foreach", "capturable"}}
    twins = [numpy_fam(p.detach().numpy(), adam=cls is FAMAdamW, **told) for p in params]
    optimizer = cls(params, **settings)
    found = run(optimizer, params, steps)
    for given in gradients(steps):
        for twin, g in zip(twins, given, strict=True):
            twin.step(g.numpy())
    for ours, twin in zip(found, twins, strict=True):
        np.testing.assert_allclose(ours, twin.p, rtol=0, atol=tolerance)
    return twins


@pytest.mark.parametrize(
    ("rule", "signal", "handler"),
    list(
        itertools.product(
            ["calibrated", "seed"], ["spatial", "temporal"], ["default", "conv", "attention", "embedding", "simple"]
        )
    ),
)
def test_whole_run_is_that_of_numpy(numpy_fam, rule, signal, handler):
    twins = compare(
        FAM, 40, numpy_fam, rule=rule, signal=signal, handler=handler, lr=0.1, fam_start_step=5, min_size=20, beta=0.8
    )
    assert len(set(twins[0].alphas)) > 1 or rule == "seed"


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled": False},
        {"bias_correction": True},
        {"maximize": True, "weight_decay": 0.1, "decoupled": False},
        {"update_every": 3},
        {"update_every": 4, "capturable": True},
        {"foreach": True, "bias_correction": True},
        {"foreach": True, "weight_decay": 0.1, "signal": "temporal"},
        {"foreach": False, "capturable": True, "signal": "temporal", "update_every": 2},
        {"n_bands": 3, "band_layout": "log", "delta": 0.3, "alpha_min": 0.85, "alpha_max": 0.92},
        {"min_size": 0, "n_bands": 64},
        {"alpha": 0.3},
        {"alpha": 0.995},
        {"fam_start_step": 0, "beta": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("cls", [FAM, FAMAdamW])
def test_options_are_those_of_numpy(numpy_fam, cls, settings):
    if cls is FAMAdamW:
        settings = {k: v for k, v in settings.items() if k not in {"decoupled", "bias_correction"}}
    compare(cls, 25, numpy_fam, **{"lr": 0.05, "fam_start_step": 4, "min_size": 30, "weight_decay": 0.0, **settings})


def test_before_the_start_it_is_an_average_from_zero():
    """Not SGD with dampening, whose average starts at the first gradient."""
    params = problem()
    start = [p.detach().numpy().copy() for p in params]
    found = run(FAM(params, lr=0.1, alpha=0.8, fam_start_step=12), params, 12)
    averages = [np.zeros_like(p) for p in start]
    for given in gradients(12):
        for i, g in enumerate(given):
            averages[i] = 0.8 * averages[i] + 0.2 * g.numpy()
            start[i] = start[i] - 0.1 * averages[i]
    for ours, theirs in zip(found, start, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    other = problem()
    dampened = run(torch.optim.SGD(other, lr=0.1, momentum=0.8, dampening=0.2), other, 12)
    assert np.abs(dampened[0] - found[0]).max() > 1e-3


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_without_a_signal_famadamw_is_adamw(foreach, decay):
    ours, theirs = problem(), problem()
    found = run(FAMAdamW(ours, lr=0.01, weight_decay=decay, signal="none", foreach=foreach), ours, 30)
    known = run(torch.optim.AdamW(theirs, lr=0.01, weight_decay=decay), theirs, 30)
    for a, b in zip(found, known, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_simple_fam_is_fam_with_two_bands(numpy_fam):
    """F17: no comparison on the host, and `beta` is used; F15 named it unused."""
    for rule in ("calibrated", "seed"):
        params = problem([(60, 40), (30, 30)])
        kwargs = {"lr": 0.1, "alpha": 0.9, "beta": 0.7}
        told = {"n_bands": 2, "min_size": 1000, "delta": 0.05, "handler": "simple", "fam_start_step": 3, "rule": rule}
        twins = [numpy_fam(p.detach().numpy(), **kwargs, **told) for p in params]
        found = run(SimpleFAM(params, **kwargs, rule=rule, fam_start_step=3), params, 15)
        for given in gradients(15, [(60, 40), (30, 30)]):
            for twin, g in zip(twins, given, strict=True):
                twin.step(g.numpy())
        for a, twin in zip(found, twins, strict=True):
            np.testing.assert_allclose(a, twin.p, rtol=0, atol=1e-10)
        assert set(twins[1].alphas) == {0.9}
        assert len(set(twins[0].alphas)) > 2


@pytest.mark.parametrize("cls", [FAM, FAMAdamW])
@pytest.mark.parametrize("foreach", [None, False, True])
def test_a_tensor_as_rate(cls, foreach):
    ours, theirs = problem(), problem()
    rate = torch.tensor(0.05, dtype=torch.float64)
    kwargs = {"fam_start_step": 2, "weight_decay": 0.1, "foreach": foreach}
    optimizer = cls(ours, lr=rate, **kwargs)
    a, b = run(optimizer, ours, 6), run(cls(theirs, lr=0.05, **kwargs), theirs, 6)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-12)
    before = ours[0].detach().clone()
    rate.fill_(0)
    run(optimizer, ours, 1)
    torch.testing.assert_close(ours[0].detach(), before, atol=0, rtol=0)


@pytest.mark.parametrize("cls", [FAM, FAMAdamW])
def test_a_closure_gives_its_loss_and_has_gradients(cls):
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = cls([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3
    assert optimizer.step() is None
    assert (p < 1).all()


def test_white_noise_changes_nothing_and_tones_do():
    """F1: the seed's rules fire on white noise every time; the calibrated ones stay at alpha."""
    for handler, signal in itertools.product(["default", "conv", "attention", "embedding"], ["spatial", "temporal"]):
        found = {}
        for rule in ("calibrated", "seed"):
            p = torch.nn.Parameter(torch.zeros(64, 256))
            optimizer = FAM([p], lr=0, handler=handler, signal=signal, rule=rule, fam_start_step=35, beta=0.9)
            generator = torch.Generator().manual_seed(3)
            for _ in range(70):
                p.grad = torch.randn(64, 256, generator=generator)
                optimizer.step()
            found[rule] = optimizer.readings()["0.0"][2].item()
        assert found["calibrated"] == pytest.approx(0.9, abs=0.01)
        if handler != "attention":
            assert found["seed"] > 0.94


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 0.82), (-1.0, 0.98)])
def test_the_signal_in_time_knows_slow_from_fast(sign, expected):
    """F20: along the entries these gradients are white; in time they are a tone of the lowest or highest frequency."""
    p = torch.nn.Parameter(torch.zeros(20, 20))
    optimizer = FAM([p], lr=0, signal="temporal", fam_start_step=40)
    shape = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
    for step in range(60):
        wave = np.cos(2 * np.pi * step / 32) if sign > 0 else (-1.0) ** step
        p.grad = shape * (wave + 1e-3)
        optimizer.step()
    assert optimizer.readings()["0.0"][2].item() == pytest.approx(expected, abs=0.02)


def test_momentum_grows_with_the_share_of_high_frequencies():
    t = torch.arange(128, dtype=torch.float64)
    low, high = torch.cos(2 * torch.pi * 3 * t / 128), torch.cos(2 * torch.pi * 60 * t / 128)
    found = []
    for mix in np.linspace(0, 1, 9):
        p = torch.nn.Parameter(torch.zeros(8, 128, dtype=torch.float64))
        p.grad = ((1 - mix) * low + mix * high).expand(8, 128).clone()
        optimizer = FAM([p], lr=0, fam_start_step=0)
        optimizer.step()
        found.append(optimizer.readings()["0.0"][2].item())
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.82, abs=1e-9)
    assert found[-1] == pytest.approx(0.98, abs=1e-9)


@pytest.mark.parametrize("cls", [FAM, FAMAdamW])
def test_bounds_never_move_alpha_itself(cls):
    """F8: caps lowered and floors raised the momentum that was asked for."""
    for alpha in (0.2, 0.995):
        p = torch.nn.Parameter(torch.zeros(64, 1024))
        optimizer = cls([p], lr=0, alpha=alpha, fam_start_step=0, delta=0.0)
        p.grad = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
        optimizer.step()
        assert optimizer.readings()["0.0"][2].item() == pytest.approx(alpha, abs=1e-7)


def test_bad_gradients_leave_the_bands():
    p = torch.nn.Parameter(torch.zeros(30, 30))
    optimizer = FAM([p], lr=0, fam_start_step=0)
    p.grad = torch.randn(30, 30)
    optimizer.step()
    bands = optimizer.state[p]["bands"].clone()
    for value in (0.0, float("nan"), float("inf")):
        p.grad = torch.full((30, 30), value)
        optimizer.step()
        torch.testing.assert_close(optimizer.state[p]["bands"], bands, atol=0, rtol=0)


def test_no_spectrum_yet_means_alpha():
    p = torch.nn.Parameter(torch.ones(30, 30))
    optimizer = FAM([p], lr=1.0, alpha=0.5, fam_start_step=0)
    p.grad = torch.ones(30, 30)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.full((30, 30), 0.5))


@pytest.mark.parametrize("cls", [FAM, FAMAdamW])
def test_gradients_pass_through_a_step(cls):
    """`differentiable`: the derivative of the new parameter by the gradient, at a fixed momentum."""
    start = torch.randn(20, 20, dtype=torch.float64)

    def stepped(gradient):
        p = start.clone().requires_grad_().clone()
        p.grad = gradient
        optimizer = cls([p], lr=0.1, alpha=0.75, differentiable=True, fam_start_step=0, delta=0.0)
        optimizer.step()
        return p

    gradient = (torch.rand(20, 20, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(stepped, (gradient,), fast_mode=True)
    if cls is FAM:
        (found,) = torch.autograd.grad(stepped(gradient).sum(), gradient)
        torch.testing.assert_close(found, torch.full_like(found, -0.025))


def test_empty_and_missing_gradients():
    empty, none, used = (torch.nn.Parameter(torch.zeros(s)) for s in ((0, 300), (300,), (300,)))
    optimizer = FAM([empty, none, used], lr=0.1, fam_start_step=0, min_size=0)
    empty.grad, used.grad = torch.zeros(0, 300), torch.ones(300)
    optimizer.step()
    assert none not in optimizer.state
    assert (used != 0).all()
