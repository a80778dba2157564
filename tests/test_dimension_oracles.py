"""Estimators held to other packages' where those are installed."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import dimension


def test_correlation_sums_are_corrdims():
    corrdim = pytest.importorskip("corrdim")
    torch = pytest.importorskip("torch")
    points = np.random.default_rng(0).normal(size=(400, 5))
    radii = np.geomspace(0.8, 6, 12)
    shares = dimension.correlation_sum(points, radii)
    theirs = corrdim.correlation_integral(torch.from_numpy(points), torch.from_numpy(radii), show_progress=False)
    np.testing.assert_allclose(shares, np.asarray(theirs), atol=1e-6)


@pytest.mark.parametrize("order", [1.0, 0.5])
def test_fluctuations_are_near_antropys(order):
    antropy = pytest.importorskip("antropy")
    rng = np.random.default_rng(1)
    noise = rng.normal(size=4096)
    series = np.cumsum(noise) if order == 0.5 else noise
    # antropy's windows grow by a factor of 1.2, and it lays them from the start alone.
    assert float(dimension.dfa(series)) == pytest.approx(float(antropy.detrended_fluctuation(series)), abs=0.05)
