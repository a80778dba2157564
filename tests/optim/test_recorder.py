"""Spectra over training, without files and without a trace when it is not attached."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.optim import FAM, FAMAdamW, Spectra


def trained(spectra_of, steps=12, **settings):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.Linear(20, 30))
    optimizer = FAM(net.named_parameters(), lr=0.1, fam_start_step=4, beta=0.5, **settings)
    spectra = spectra_of(optimizer)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for p in net.parameters():
            p.grad = torch.randn(p.shape, generator=generator).cumsum(-1)
        optimizer.step()
    return net, optimizer, spectra


def test_what_is_recorded_is_what_was_used(numpy_fam):
    net, optimizer, spectra = trained(Spectra)
    assert spectra.names() == ["0.weight", "1.weight"]
    torch.manual_seed(0)
    twin = numpy_fam(torch.nn.Linear(30, 20).weight.detach().numpy(), lr=0.1, fam_start_step=4, beta=0.5)
    bands = []
    for step in range(12):
        generator = torch.Generator().manual_seed(step)
        twin.step(torch.randn(20, 30, generator=generator).cumsum(-1).numpy())
        bands.append(np.zeros(8) if twin.bands is None else twin.bands)
    found = spectra["0.weight"]
    assert found.steps.tolist() == list(range(1, 13))
    np.testing.assert_allclose(found.alphas, twin.alphas, atol=1e-5)
    np.testing.assert_allclose(found.bands, bands, atol=1e-5)
    plain = spectra.to_dict()
    assert plain["0.weight"]["steps"] == list(range(1, 13))
    assert len(plain["1.weight"]["bands"][5]) == 8
    np.testing.assert_allclose(net[0].weight.detach().numpy(), twin.p, atol=1e-4)
    assert optimizer.state


def test_every_and_names():
    _, _, spectra = trained(lambda o: Spectra(o, every=5, names=["1.weight"]))
    assert spectra.names() == ["1.weight"]
    assert spectra["1.weight"].steps.tolist() == [5, 10]


def test_recording_changes_nothing_and_ends():
    with_it, optimizer, spectra = trained(Spectra)
    without, other, _ = trained(lambda _: None)
    assert all(torch.equal(p, q) for p, q in zip(with_it.parameters(), without.parameters(), strict=True))
    assert not other._optimizer_step_post_hooks
    spectra.detach()
    assert not optimizer._optimizer_step_post_hooks
    optimizer.step()
    assert spectra["0.weight"].steps[-1] == 12
    with Spectra(optimizer) as short:
        optimizer.step()
    optimizer.step()
    assert len(short["0.weight"].steps) == 1
    assert not copy.deepcopy(optimizer)._optimizer_step_post_hooks


def test_the_plot_shows_bands_and_momenta(tmp_path):
    pytest.importorskip("matplotlib")
    _, _, spectra = trained(Spectra)
    figure = spectra.plot(["1.weight"])
    left, right, *_ = figure.axes
    drawn = np.ma.filled(left.collections[0].get_array(), 0.0).reshape(8, 12)
    np.testing.assert_allclose(drawn, spectra["1.weight"].bands.T, atol=1e-12)
    np.testing.assert_allclose(right.lines[0].get_ydata(), spectra["1.weight"].alphas)
    figure.savefig(tmp_path / "spectra.png")
    assert len(spectra.plot().axes) == 6


def test_wrong_calls():
    optimizer = FAMAdamW(torch.nn.Linear(4, 4).named_parameters())
    with pytest.raises(DTypeError, match=r"^optimizer"):
        Spectra(torch.optim.SGD([torch.zeros(1)], lr=0.1))
    with pytest.raises(InvalidArgumentError, match=r"^every"):
        Spectra(optimizer, every=0)
    with pytest.raises(InvalidArgumentError, match=r"^names: got 'head'"):
        Spectra(optimizer, names=["head"])
    spectra = Spectra(optimizer)
    with pytest.raises(InvalidArgumentError, match=r"^name: got 'weight'"):
        spectra["weight"]
    with pytest.raises(InvalidArgumentError, match=r"^names"):
        spectra.plot()
