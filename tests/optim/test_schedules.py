"""Schedules against torch's own in a row. Fault F18: rates that rose again, a division by zero, a base list shared."""

from __future__ import annotations

import copy

import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.optim import FAMScheduler, FAMScheduler2, WarmupPlateauCosine
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR


def optimizer(*rates):
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], lr=1.0)


def rates(sgd, schedule, steps):
    found = []
    for _ in range(steps):
        found.append([float(group["lr"]) for group in sgd.param_groups])
        sgd.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("warmup", "plateau", "total"), [(7, 12, 30), (7, 7, 20), (1, 4, 5)])
def test_it_is_torchs_three_in_a_row(warmup, plateau, total):
    ours, theirs = optimizer(0.3), optimizer(0.3)
    schedule = WarmupPlateauCosine(ours, warmup, total, plateau, start_lr=0.03, eta_min=0.01)
    parts = [
        LinearLR(theirs, start_factor=0.1, total_iters=warmup),
        ConstantLR(theirs, factor=1.0, total_iters=1),
        CosineAnnealingLR(theirs, T_max=total - plateau, eta_min=0.01),
    ]
    marks = [warmup, plateau]
    if plateau == warmup:
        parts, marks = [parts[0], parts[2]], [warmup]
    known = SequentialLR(theirs, parts, milestones=marks)
    a, b = rates(ours, schedule, total + 1), rates(theirs, known, total + 1)
    assert [x for (x,) in a] == pytest.approx([x for (x,) in b], abs=1e-12)


def test_the_end_stays_the_end():
    """F18: after the last step the seed's rate rose again."""
    sgd = optimizer(1.0, 0.5)
    found = rates(sgd, WarmupPlateauCosine(sgd, 3, 10, eta_min=0.1), 40)
    assert found[0] == [0.0, 0.0]
    assert found[3] == [1.0, 0.5]
    assert all(pair == pytest.approx([0.1, 0.1], abs=1e-15) for pair in found[10:])


def test_no_warm_up_and_a_plateau():
    sgd = optimizer(1.0)
    found = [x for (x,) in rates(sgd, WarmupPlateauCosine(sgd, 0, 8, 4), 9)]
    assert found[:5] == [1.0] * 5
    assert found[6] == pytest.approx(0.5)
    assert found[8] == pytest.approx(0, abs=1e-15)


def test_the_seeds_names():
    one, two, three = optimizer(0.1), optimizer(0.1), optimizer(0.1)
    a = rates(one, FAMScheduler(one, 5, 20), 25)
    b = rates(two, FAMScheduler2(two, warmup_steps=5, total_steps=20, warmup_start_lr=1e-8, eta_min=1e-8), 25)
    c = rates(three, WarmupPlateauCosine(three, 5, 20, start_lr=1e-8, eta_min=1e-8), 25)
    assert a == b == c
    assert a[0] == [1e-8]
    four = optimizer(0.1)
    d = rates(four, FAMScheduler2(four, 5, 20, decay_start_step=10), 12)
    assert d[5:11] == [[0.1]] * 6
    assert d[11][0] < 0.1


def test_base_rates_are_not_shared():
    """F18: the plateau handed out the list of base rates itself."""
    sgd = optimizer(0.1)
    schedule = WarmupPlateauCosine(sgd, 0, 9, 5)
    schedule.get_lr()[0] = 7.0
    assert schedule.base_lrs == [0.1]


def test_tensor_rates_are_filled_in_place():
    rate = torch.tensor(0.4)
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    schedule = WarmupPlateauCosine(sgd, 2, 6)
    found = [x for (x,) in rates(sgd, schedule, 7)]
    assert found[:3] == pytest.approx([0.0, 0.2, 0.4])
    assert found[4] == pytest.approx(0.2)
    assert found[6] == pytest.approx(0.0, abs=1e-7)


def test_resume():
    sgd = optimizer(0.2)
    schedule = WarmupPlateauCosine(sgd, 3, 12, 5)
    rates(sgd, schedule, 7)
    other = optimizer(0.2)
    resumed = WarmupPlateauCosine(other, 3, 12, 5)
    other.load_state_dict(copy.deepcopy(sgd.state_dict()))
    resumed.load_state_dict(copy.deepcopy(schedule.state_dict()))
    assert rates(sgd, schedule, 6) == rates(other, resumed, 6)
    went_on = WarmupPlateauCosine(sgd, 3, 12, 5, last_epoch=8)
    assert went_on.last_epoch == 9


@pytest.mark.parametrize(
    ("argument", "kind", "call"),
    [
        ("warmup", InvalidArgumentError, lambda o: WarmupPlateauCosine(o, -1, 5)),
        ("warmup", DTypeError, lambda o: WarmupPlateauCosine(o, 1.5, 5)),
        ("total", InvalidArgumentError, lambda o: WarmupPlateauCosine(o, 5, 5)),
        ("plateau_until", InvalidArgumentError, lambda o: WarmupPlateauCosine(o, 5, 9, 4)),
        ("total", InvalidArgumentError, lambda o: WarmupPlateauCosine(o, 5, 9, 9)),
        ("start_lr", InvalidArgumentError, lambda o: WarmupPlateauCosine(o, 1, 9, start_lr=-1)),
        ("eta_min", InvalidArgumentError, lambda o: WarmupPlateauCosine(o, 1, 9, eta_min=-1)),
        ("max_epochs", InvalidArgumentError, lambda o: FAMScheduler(o, 5, 5)),
        ("warmup_epochs", DTypeError, lambda o: FAMScheduler(o, True, 5)),
        ("warmup_start_lr", InvalidArgumentError, lambda o: FAMScheduler(o, 1, 5, -1)),
        ("total_steps", InvalidArgumentError, lambda o: FAMScheduler2(o, 100, 100)),
        ("decay_start_step", InvalidArgumentError, lambda o: FAMScheduler2(o, 100, 1000, 10)),
    ],
)
def test_wrong_calls(argument, kind, call):
    """F18: equal warm-up and total divided by zero; a fall that begins before the climb has ended was taken."""
    with pytest.raises(kind, match=f"^{argument}"):
        call(optimizer(0.1))
