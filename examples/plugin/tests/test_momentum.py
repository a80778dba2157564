"""The momentum rule by its name, in an optimizer."""

import pytest

torch = pytest.importorskip("torch")


def test_dampened_by_its_name():
    from fractal_core.optim import FAM, Spectra, momentum_rules

    assert momentum_rules.info("dampened").origin.startswith("fractal-attn-koch")
    weight = torch.nn.Parameter(torch.zeros(8, 64))
    optimizer = FAM([("weight", weight)], lr=0.1, rule="dampened", fam_start_step=0)
    with Spectra(optimizer) as spectra:
        weight.grad = torch.cos(2 * torch.pi * torch.arange(64) / 64).repeat(8, 1)
        optimizer.step()
    assert spectra["weight"].alphas == pytest.approx([0.82])
