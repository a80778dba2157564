"""Bands and spectra: every bin in one band, Parseval, tones, white noise. Faults F2, F5, F6 and F7."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.optim import band_edges
from fractal_core.optim.bands import LAYOUTS, white_shares
from fractal_core.optim.spectrum import mean_spectra, mean_spectrum, normalised_probe, sample, sample_shape
from fractal_core.optim.spectrum import shares as shares_of_bins
from hypothesis import given, settings
from hypothesis import strategies as st

layouts = st.sampled_from(LAYOUTS)


def shares(rows, bands, layout, kind):
    return shares_of_bins(mean_spectrum(rows, kind), rows.shape[-1], bands, layout, kind)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=200)
@given(st.integers(2, 5000), st.integers(1, 16), layouts)
def test_edges_increase_and_cover_every_bin(n, bands, layout):
    """F5 lost the highest bins, F6 gave empty bands and divided by zero."""
    found = band_edges(n // 2, bands, layout)
    assert found[0] == 0
    assert found[-1] == n // 2
    assert len(found) == min(bands, n // 2) + 1
    assert all(a < b for a, b in pairwise(found))


def test_layouts_are_what_they_say():
    assert band_edges(16, 4) == (0, 4, 8, 12, 16)
    assert band_edges(256, 8, "log") == (0, 2, 4, 8, 16, 32, 64, 128, 256)
    assert band_edges(10, 4, "halves") == (0, 2, 5, 7, 10)
    assert band_edges(7, 3, "halves") == (0, 3, 5, 7)
    assert band_edges(5, 9) == (0, 1, 2, 3, 4, 5)


@settings(max_examples=60)
@given(st.integers(2, 700), st.integers(1, 16), layouts, st.sampled_from(["power", "amplitude"]), st.integers(0, 99))
def test_shares_sum_to_one_and_are_those_of_the_definition(numpy_shares, n, bands, layout, kind, seed):
    rows = noise(3, n, seed=seed)
    found, seen = shares(rows, bands, layout, kind)
    assert seen
    assert found.sum().item() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.numpy(), numpy_shares(rows.numpy(), bands, layout, kind), atol=1e-11)
    single, _ = shares(rows.float(), bands, layout, kind)
    assert single.sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 16, 81, 1024, 997])
def test_parseval(n):
    """F7: power, and without the mean, so that what the bins add up to is the variance of the rows."""
    rows = noise(1, n, seed=n) + 3
    bins = torch.fft.rfft(rows)[..., 1:].abs().square()
    weights = torch.tensor([2.0] * (n // 2 - (n % 2 == 0)) + [1.0] * (n % 2 == 0))
    assert (bins * weights).sum().item() == pytest.approx(n * (rows - rows.mean()).square().sum().item(), rel=1e-10)
    shifted, _ = shares(rows + 100, 8, "linear", "power")
    torch.testing.assert_close(shifted, shares(rows, 8, "linear", "power")[0], atol=1e-8, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["power", "amplitude"])
def test_a_tone_lies_in_its_band_and_the_highest_one_in_the_last(layout, kind):
    """F5: a tone of the highest frequency had a share of 0 in all three layouts."""
    n, t = 300, torch.arange(300, dtype=torch.float64)
    edges = band_edges(n // 2, 8, layout)
    for k in (1, 2, 5, 40, 75, 149, 150):
        found, _ = shares(torch.cos(2 * torch.pi * k * t / n)[None], 8, layout, kind)
        band = next(j for j in range(8) if edges[j] <= k - 1 < edges[j + 1])
        assert found[band].item() == pytest.approx(1, abs=1e-9), k
    assert shares(torch.cos(torch.pi * t)[None], 8, layout, kind)[0][-1].item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n", [32, 63])
def test_white_noise_has_the_shares_that_are_expected(layout, n):
    edges = band_edges(n // 2, 6, layout)
    expected = white_shares(n, edges, "power")
    assert sum(expected) == pytest.approx(1, abs=1e-14)
    found, _ = shares(noise(20000, 1, n, seed=5), 6, layout, "power")
    np.testing.assert_allclose(found.mean(0).numpy(), expected, atol=4e-3)


def test_order_matters():
    """F2: a smooth gradient is of low frequency as it lies; the seed looked at it in a random order."""
    smooth = torch.cumsum(torch.cumsum(noise(256, 256), 1), 1)
    mixed = smooth[:, torch.randperm(256, generator=torch.Generator().manual_seed(0))]
    low, _ = shares(sample(smooth), 8, "linear", "power")
    high, _ = shares(sample(mixed), 8, "linear", "power")
    assert low[4:].sum() < 0.01
    assert high[4:].sum() > 0.3


def test_many_spectra_are_those_of_each():
    """On the CPU they are taken in parts that its cache holds: more than one here."""
    gradients = [noise(64, 1024, seed=i) for i in range(5)]
    found = mean_spectra(gradients, "power")
    assert found.shape == (5, 512)
    for g, bins in zip(gradients, found, strict=True):
        torch.testing.assert_close(bins, mean_spectrum(g, "power"), atol=0, rtol=1e-12)
    assert mean_spectra([g.to(torch.bfloat16) for g in gradients], "amplitude").dtype == torch.float32


def test_samples_are_rows_in_order():
    g = torch.arange(200 * 3000).view(200, 30, 100)
    assert sample_shape(g.shape) == (64, 1024)
    torch.testing.assert_close(sample(g), g.view(200, 3000)[: 64 * 3 : 3, :1024])
    assert sample_shape((10, 4, 4)) == (10, 16)
    torch.testing.assert_close(sample(g[:, 0, 0]), g[:, 0, 0][None])
    assert sample_shape((2000,)) == (1, 1024)
    assert sample_shape((500, 1)) == (1, 500)
    assert sample_shape(()) == (1, 1)
    assert sample_shape((0, 4)) == (1, 0)
    turned = noise(40, 70).T
    torch.testing.assert_close(sample(turned), turned.contiguous()[:64])


def test_probes_have_norm_one_and_survive_zeros_and_infinities():
    found = normalised_probe(noise(1000, seed=1), torch.float64)
    assert found.shape == (128,)
    assert found.norm().item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(normalised_probe(torch.zeros(50), torch.float32), torch.zeros(50))
    torch.testing.assert_close(normalised_probe(torch.full((50,), torch.inf), torch.float32), torch.zeros(50))


def test_no_spectrum_is_told():
    for value in (0.0, 1.0, float("nan"), float("inf")):
        assert not shares(torch.full((2, 8), value), 4, "linear", "power")[1]


@pytest.mark.parametrize(
    ("argument", "kind", "call"),
    [
        ("n_bins", InvalidArgumentError, lambda: band_edges(0, 4)),
        ("n_bins", DTypeError, lambda: band_edges(4.0, 4)),
        ("n_bands", InvalidArgumentError, lambda: band_edges(4, 0)),
        ("n_bands", DTypeError, lambda: band_edges(4, True)),
        ("layout", InvalidArgumentError, lambda: band_edges(4, 4, "cubic")),
    ],
)
def test_wrong_bands(argument, kind, call):
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.argument == argument
