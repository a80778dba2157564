"""A step as one graph. Fault F9: the seed's step branched on data."""

from __future__ import annotations

import pytest
import torch
from fractal_core.optim import FAM, FAMAdamW


@pytest.mark.filterwarnings("ignore:.*Profiler record function.*")
@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (FAM, {}),
        (FAM, {"signal": "temporal", "bias_correction": True, "update_every": 2}),
        (FAM, {"rule": "seed", "handler": "attention", "foreach": True}),
        (FAMAdamW, {"weight_decay": 0.1}),
    ],
    ids=str,
)
def test_fullgraph_is_eager(cls, settings):
    torch.compiler.reset()
    pairs = []
    for _ in range(2):
        torch.manual_seed(0)
        pairs.append(torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Linear(40, 30)))
    optimizers = [cls(net.parameters(), lr=torch.tensor(0.05), fam_start_step=2, **settings) for net in pairs]
    steps = [optimizers[0].step, torch.compile(optimizers[1].step, fullgraph=True, backend="eager")]
    for number in range(6):
        generator = torch.Generator().manual_seed(number)
        for p, q in zip(*(net.parameters() for net in pairs), strict=True):
            p.grad = torch.randn(p.shape, generator=generator).cumsum(-1)
            q.grad = p.grad.clone()
        for step in steps:
            step()
    for p, q in zip(*(net.parameters() for net in pairs), strict=True):
        torch.testing.assert_close(p, q, atol=2e-7, rtol=1e-6)
