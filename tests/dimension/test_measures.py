"""Measures: the exact numbers of a cascade, baselines of supports, lacunarity, surfaces with known roughness."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

EXACT = {-2: 2.384470, 0: 2.0, 0.5: 1.917492, 1: 1.846439, 2: 1.736966, 5: 1.566336}
SPECTRUM = {
    -2: (2.934809, 1.283793),
    0: (2.175687, 2.0),
    1: (1.846439, 1.846439),
    2: (1.646439, 1.555913),
    5: (1.425662, 0.862966),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_cascade_has_its_generalised_dimensions(cascade, dtype):
    found = dimension.renyi_dimension(cascade(9).astype(dtype), q=list(EXACT))
    np.testing.assert_allclose(found.value, list(EXACT.values()), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.r2, 1, atol=1e-9)
    np.testing.assert_allclose(found.baseline, 2, atol=1e-12)
    assert found.reliable.all()
    for i, q in enumerate(EXACT):
        assert dimension.renyi_dimension(cascade(9), q=q).value == pytest.approx(found.value[i], abs=1e-6)


def test_a_cascade_has_its_spectrum(cascade):
    found = dimension.singularity_spectrum(cascade(9), q=list(SPECTRUM))
    np.testing.assert_allclose(found.alpha.value, [a for a, _ in SPECTRUM.values()], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.f.value, [f for _, f in SPECTRUM.values()], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.tau, found.q * found.alpha.value - found.f.value, atol=1e-9)
    assert found.width == pytest.approx(2.934809 - 1.425662, abs=1e-6)
    assert found.baseline_width == pytest.approx(0, abs=1e-12)
    top, low, high = 2.175687, 1.425662, 2.934809
    assert found.asymmetry == pytest.approx((2 * top - low - high) / (high - low), abs=1e-5)


def test_uniform_attention_on_a_causal_support_is_its_own_baseline():
    uniform = np.tri(256) / np.arange(1, 257)[:, None]
    found = dimension.renyi_dimension(uniform, "causal", q=[1, 2], scales=[1, 2, 4, 8, 16, 32])
    np.testing.assert_allclose(found.value, [1.945, 1.7825], atol=5e-4)
    np.testing.assert_allclose(found.value, found.baseline, atol=1e-12)
    full = dimension.renyi_dimension(np.random.default_rng(0).random((3, 64, 64)), q=[0, 2])
    np.testing.assert_allclose(full.baseline, 2, atol=1e-12)


def test_negative_orders_flag_the_edge_and_empty_matrices_are_nan():
    weights = np.tri(64)
    found = dimension.renyi_dimension(weights, "causal", q=[-1, 2])
    assert found.flags["boxes at the edge of the support left out"].tolist() == [True, False]
    empty = dimension.renyi_dimension(np.stack([np.zeros((64, 64)), weights]), "causal", q=1)
    assert math.isnan(empty.value[0])
    assert empty.flags["no mass"].tolist() == [True, False]
    assert not empty.reliable[0]


weights64 = hnp.arrays(np.float64, (32, 32), elements=st.floats(1e-3, 1))


@given(weights64, st.floats(1e-3, 1e3), st.sampled_from([-1.5, 0.0, 1.0, 2.0, 3.5]))
def test_dimensions_of_measures_do_not_change_with_factor_turn_or_padding(weights, factor, q):
    found = float(dimension.renyi_dimension(weights, q=q, scales=[1, 2, 4, 8]))
    for same in (weights * factor, weights.T, np.rot90(weights)):
        assert float(dimension.renyi_dimension(same, q=q, scales=[1, 2, 4, 8])) == pytest.approx(found, abs=1e-9)
    if q >= 0:
        padded = np.pad(weights, ((0, 32), (32, 0)))
        assert float(dimension.renyi_dimension(padded, q=q, scales=[1, 2, 4, 8])) == pytest.approx(found, abs=1e-9)
    narrow = dimension.renyi_dimension(weights.astype(np.float32), q=q, scales=[1, 2, 4, 8])
    assert float(narrow) == pytest.approx(found, abs=1e-5)


@given(weights64)
def test_generalised_dimensions_fall_with_the_order(weights):
    # At two scales whose boxes all have the same size, this is a theorem.
    found = dimension.renyi_dimension(weights, q=[-3, 0, 1, 2, 7], scales=[1, 32])
    assert (np.diff(found.value) <= 1e-9).all()
    assert found.value[1] == pytest.approx(2, abs=1e-12)


def test_lacunarity_of_filled_and_random_cells():
    filled = dimension.lacunarity(np.full((64, 64), 0.3), scales=[1, 5, 64])
    np.testing.assert_allclose(filled.values, 1, atol=1e-9)
    assert filled.boxes.tolist() == [64**2, 60**2, 1]
    rng = np.random.default_rng(3)
    random = dimension.lacunarity(rng.random((4, 512, 512)) < 0.1, scales=[2, 8]).values.mean(axis=0)
    np.testing.assert_allclose(random, [1 + 0.9 / (0.1 * r * r) for r in (2, 8)], rtol=0.01)
    causal = dimension.lacunarity(np.tri(64), "causal", scales=[1, 4, 16])
    np.testing.assert_allclose(causal.values, 1, atol=1e-9)


def surface(hurst, seed, n=512):
    rng = np.random.default_rng(seed)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n)))
    k[0, 0] = np.inf
    phases = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    return np.fft.ifft2(phases * k ** -(hurst + 1)).real


@pytest.mark.parametrize(("hurst", "wanted"), [(0.2, 2.66), (0.5, 2.44), (0.8, 2.22)])
def test_rough_surfaces(hurst, wanted):
    surfaces = np.stack([surface(hurst, seed) for seed in range(3)])
    lags = [1, 2, 4, 8, 16, 32, 64]
    variogram = dimension.variogram(surfaces, scales=lags)
    assert variogram.value.mean() == pytest.approx(wanted, abs=0.08)
    assert dimension.madogram(surfaces, scales=lags).value.mean() == pytest.approx(wanted, abs=0.08)
    # The bias of differential boxes that its docstring warns of.
    boxes = dimension.differential_box_dimension(surfaces, scales=lags[1:]).value.mean()
    assert boxes == pytest.approx({0.2: 2.36, 0.5: 2.19, 0.8: 2.03}[hurst], abs=0.03)


def test_differential_boxes_of_noise_ramp_and_masked_logits():
    scales = [2, 4, 8, 16, 32, 64]
    noise = np.random.default_rng(0).random((512, 512))
    assert float(dimension.differential_box_dimension(noise, scales=scales)) == pytest.approx(2.88, abs=0.01)
    ramp = np.add.outer(np.arange(512.0), np.arange(512.0))
    assert float(dimension.differential_box_dimension(ramp, scales=scales)) == pytest.approx(1.99, abs=0.01)
    assert float(dimension.variogram(ramp)) == pytest.approx(2, abs=1e-9)
    assert float(dimension.variogram(noise)) == pytest.approx(3, abs=0.01)
    masked = np.where(np.tri(512, dtype=bool), ramp, -np.inf)
    assert float(dimension.variogram(masked, "causal")) == pytest.approx(2, abs=1e-9)
    flat = dimension.variogram(np.ones((64, 64)))
    assert math.isnan(flat.value)
    assert "flat: the surface does not vary" in flat.reasons
    unfloored = dimension.differential_box_dimension(noise, scales=scales, floored=False)
    assert 2.8 < float(unfloored) <= 3


def test_an_index_set_is_a_support():
    mask = np.tri(64, dtype=bool) & (np.add.outer(np.arange(64), np.arange(64)) % 3 > 0)
    weights = np.random.default_rng(0).random((2, 64, 64)) * mask
    for q in (-1, 1):
        by_set = dimension.renyi_dimension(weights, IndexSet.from_mask(mask), q=q)
        by_mask = dimension.renyi_dimension(weights, mask, q=q)
        np.testing.assert_array_equal(by_set.value, by_mask.value)


def test_threads_do_not_change_a_bit():
    code = """
import numpy as np, hashlib
from fractal_core import dimension as d
w = np.random.default_rng(0).random((6, 96, 96)).astype(np.float32)
parts = [d.renyi_dimension(w, q=[-1, 1, 2]).value, d.variogram(w).value, d.lacunarity(w).values,
         d.row_statistics(w).gini, d.attention_rollout(w), d.correlation_dimension(w[0]).value, d.dfa(w[0]).value]
print(hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest())
"""
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "FRACTAL_CORE_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "3")
    ]
    assert runs[0] == runs[1]
