"""Rules of momentum are parts of a registry: ours, registered ones, and those of plug-ins."""

from __future__ import annotations

import sys

import pytest
import torch
from fractal_core import optim
from fractal_core.errors import PluginError
from fractal_core.optim import FAM, MomentumRule, Reading, momentum_rules

ROOT_OF_EXAMPLE = "examples/plugin/src"


def test_built_in_rules():
    assert {"calibrated", "seed"} <= set(momentum_rules.names())
    for name in ("calibrated", "seed"):
        assert isinstance(momentum_rules.create(name), MomentumRule)
        info = momentum_rules.info(name)
        assert info.origin == "built-in"
        assert info.summary


class Inverse:
    """Less momentum where there is more of the highest band."""

    spectrum = "power"

    def momentum(self, reading: Reading):
        return (reading.alpha - reading.delta * reading.bands[..., -1]).clamp(min=reading.alpha_min)


def test_a_registered_rule_is_used_by_its_name():
    if "inverse" not in momentum_rules.names():
        momentum_rules.register("inverse", Inverse)
    p = torch.nn.Parameter(torch.zeros(20, 64))
    optimizer = FAM([p], lr=0, rule="inverse", fam_start_step=0, delta=0.3)
    p.grad = torch.tensor([1.0, -1.0]).repeat(20, 32)
    optimizer.step()
    assert optimizer.readings()["0.0"][2].item() == pytest.approx(0.6, abs=1e-6)


def test_what_is_no_rule_is_refused():
    if "broken" not in momentum_rules.names():
        momentum_rules.register("broken", dict)
    with pytest.raises(PluginError, match=r"momentum rule 'broken'.*made a dict, which is not a momentum rule"):
        FAM([torch.nn.Parameter(torch.zeros(1))], rule="broken")


def test_the_rule_of_the_example(request):
    folder = request.config.rootpath / ROOT_OF_EXAMPLE
    sys.path.insert(0, str(folder))
    try:
        from fractal_attn_koch.momentum import Dampened
    finally:
        sys.path.remove(str(folder))
    if "dampened" not in momentum_rules.names():
        momentum_rules.register("dampened", Dampened)
    p = torch.nn.Parameter(torch.zeros(8, 64))
    optimizer = FAM([p], lr=0, rule="dampened", fam_start_step=0)
    p.grad = torch.tensor([1.0, -1.0]).repeat(8, 32)
    optimizer.step()
    assert optimizer.readings()["0.0"][2].item() == pytest.approx(0.9)
    p.grad = torch.cos(2 * torch.pi * torch.arange(64) / 64).repeat(8, 1)
    fresh = FAM([p], lr=0, rule="dampened", fam_start_step=0)
    fresh.step()
    assert fresh.readings()["0.0"][2].item() == pytest.approx(0.82)


def test_names_are_public():
    assert set(optim.__all__) <= set(dir(optim))
