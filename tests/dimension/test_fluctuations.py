"""Fluctuations of surfaces against a cascade, noise and planes; series against another library."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.errors import InvalidArgumentError

P = np.array([[0.1, 0.2], [0.3, 0.4]])


def test_a_cascade_has_its_exponents(cascade):
    orders = np.array([-2.0, -1, 1, 2, 4])
    wanted = (2 - np.log2((P.reshape(-1, 1) ** orders).sum(axis=0))) / orders
    errors = []
    for scales in ([16, 32, 64], [32, 64, 128], [64, 128, 256]):
        found = dimension.surface_mfdfa(cascade(9), q=orders, scales=scales)
        # Dyadic segments are copies of each other up to their mass: what is left is a slope of their common shape,
        assert np.allclose(found.value - found.value[2], wanted - wanted[2], rtol=0, atol=1e-9)
        errors.append(np.abs(found.value - wanted).max())
    # which goes with the side of a cell.
    assert errors[0] < 0.16
    assert errors[1] < 0.66 * errors[0]
    assert errors[2] < 0.6 * errors[1]


def test_noise_supports_and_levels():
    noise = np.random.default_rng(0).normal(size=(4, 256, 256))
    found = dimension.surface_mfdfa(noise, q=2)
    assert found.value.mean() == pytest.approx(1, abs=0.05)
    assert found.value.shape == (4,)
    assert np.allclose(dimension.surface_mfdfa(5 * noise, q=[0, 2]).value[:, 1], found.value, rtol=0, atol=1e-9)
    hidden = np.where(np.tri(256) > 0, noise, -np.inf)
    assert dimension.surface_mfdfa(hidden, "causal", q=2).value.mean() == pytest.approx(1, abs=0.1)
    assert dimension.surface_mfdfa(noise.swapaxes(1, 2), q=2).value == pytest.approx(found.value, abs=1e-9)


def test_orders_join_smoothly_at_zero():
    noise = np.random.default_rng(0).normal(size=(64, 64)) ** 3
    around = dimension.surface_mfdfa(noise, q=[-1e-6, 0, 1e-6]).counts
    assert np.allclose(around[0], around[2], rtol=1e-4)
    assert np.allclose(around[1], around[2], rtol=1e-4)


def test_what_says_nothing_says_so():
    flat = dimension.surface_mfdfa(np.full((64, 64), 3.0), q=2)
    assert any("flat" in reason for reason in flat.reasons)
    bare = dimension.surface_mfdfa(np.ones((64, 64)), ("window", 2), q=2)
    assert any("no segment" in reason for reason in bare.reasons)
    noise = np.random.default_rng(0).normal(size=(31, 31))
    assert np.isnan(dimension.surface_mfdfa(noise, q=2).value)
    assert np.isfinite(dimension.surface_mfdfa(noise, q=2, force=True).value)


@pytest.mark.parametrize(
    ("options", "argument"),
    [({"q": 101}, "q"), ({"order": 5}, "order"), ({"scales": [2, 8]}, "scales"), ({"scales": [8]}, "scales")],
)
def test_what_is_refused(options, argument):
    with pytest.raises(InvalidArgumentError) as found:
        dimension.surface_mfdfa(np.ones((40, 40)), **options)
    assert found.value.argument == argument
    with pytest.raises(InvalidArgumentError):
        dimension.surface_mfdfa(np.full((40, 40), np.nan))


@pytest.mark.parametrize("h", [0.3, 0.5, 0.7])
def test_higuchi_is_antropys(h):
    antropy = pytest.importorskip("antropy", reason="antropy is not installed: `make test-models` installs it")
    rng = np.random.default_rng(int(10 * h))
    spectrum = rng.standard_normal(2049) * np.exp(2j * np.pi * rng.random(2049))
    spectrum[1:] *= np.arange(1, 2049.0) ** -(h + 0.5)
    series = np.fft.irfft(spectrum)
    for kmax in (5, 10, 40):
        assert float(dimension.higuchi_dimension(series, kmax=kmax)) == pytest.approx(
            antropy.higuchi_fd(series, kmax=kmax), abs=1e-6
        )
