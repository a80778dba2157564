"""The original's transforms and metrics, each with the meaning that its name promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import AttentionMetrics, FractalTransforms, nulls
from fractal_core.errors import InvalidArgumentError, ShapeError
from hypothesis import given
from hypothesis import strategies as st


def causal(n, seed=0, peak=2.0):
    weights = np.tri(n) * np.exp(peak * np.random.default_rng(seed).standard_normal((n, n)))
    return weights / weights.sum(-1, keepdims=True)


def test_the_dimension_of_a_cascade(cascade):
    transforms = FractalTransforms()
    assert transforms.compute_fractal_dimension(cascade(7)) == pytest.approx(1.846439, abs=1e-6)
    found = transforms.information_dimension(causal(64))
    assert found.support == "causal"
    assert found.baseline is not None
    assert math.isnan(transforms.compute_fractal_dimension(causal(16)))
    # The original gives 1.309 for each of these.
    assert transforms.compute_fractal_dimension(np.full((64, 64), 1 / 64)) == pytest.approx(2, abs=1e-12)
    with pytest.raises(InvalidArgumentError):
        transforms.compute_fractal_dimension(np.full((64, 64), np.nan))


def test_a_cascade_is_like_itself_and_noise_is_not(cascade):
    transforms = FractalTransforms()
    assert transforms.compute_self_similarity(cascade(6)) == pytest.approx(1, abs=1e-12)
    assert transforms.compute_self_similarity(cascade(6), 4) == pytest.approx(1, abs=1e-12)
    noise = np.random.default_rng(0).random((128, 128))
    assert abs(transforms.compute_self_similarity(noise / noise.sum(-1, keepdims=True))) < 0.05
    assert math.isnan(transforms.compute_self_similarity(np.full((8, 8), 1 / 8)))


def test_scales_differ_and_are_means_over_the_support():
    weights = causal(37)
    scales = FractalTransforms().multi_scale_analysis(weights, 9)
    assert [side for side, _ in scales] == [1, 2, 4, 8, 16, 32, 64]
    assert [matrix.shape for _, matrix in scales] == [(37, 37), (19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    assert np.array_equal(scales[0][1], weights)
    for side, matrix in scales[1:]:
        i, j = np.indices((37, 37))
        for a in range(len(matrix)):
            for b in range(len(matrix)):
                box = (i // side == a) & (j // side == b) & (j <= i)
                assert matrix[a, b] == pytest.approx(weights[box].mean() if box.any() else 0, abs=1e-12)


def test_interpolation_and_scores_are_what_the_floor_gives():
    weights = causal(40)
    transforms = FractalTransforms()
    found = transforms.fractal_interpolation_function(weights, 0.7)
    assert np.array_equal(found, dimension.interpolated_rows(weights, "causal", factor=0.7))
    scored = transforms.golden_ratio_scoring(weights)
    assert np.allclose(scored.sum(-1), dimension.position_weights(40) * 40, rtol=1e-12)
    assert transforms.golden_ratio_partition(weights).shares.sum() == pytest.approx(1)
    assert FractalTransforms(phi=2).golden_ratio_partition(weights).cuts == (20, 20)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: FractalTransforms(phi=0), InvalidArgumentError),
        (lambda: FractalTransforms(phi=1), InvalidArgumentError),
        (lambda: FractalTransforms().golden_ratio_scoring(np.ones((2, 2, 2))), ShapeError),
        (lambda: FractalTransforms().compute_fractal_dimension(np.ones(4)), ShapeError),
        (lambda: FractalTransforms().compute_fractal_dimension(np.ones((0, 4))), ShapeError),
        (lambda: FractalTransforms().compute_fractal_dimension(np.ones((64, 64)), scales=[0, 2]), InvalidArgumentError),
        (lambda: FractalTransforms().compute_fractal_dimension(np.ones((64, 64)), scales=[4, 2]), InvalidArgumentError),
        (lambda: FractalTransforms().multi_scale_analysis(np.ones((4, 4)), 0), InvalidArgumentError),
        (lambda: FractalTransforms().compute_self_similarity(np.ones((4, 4)), 3), InvalidArgumentError),
        (lambda: FractalTransforms().compute_self_similarity(np.ones((3, 3))), ShapeError),
        (
            lambda: FractalTransforms(support="causal").compute_fractal_dimension(np.ones((64, 64))),
            InvalidArgumentError,
        ),
        (lambda: AttentionMetrics().compute_entropy(np.ones(3)), ShapeError),
        (lambda: AttentionMetrics().compute_entropy(-np.ones((3, 3))), InvalidArgumentError),
        (lambda: AttentionMetrics().compute_concentration(np.ones((3, 3)), 0), InvalidArgumentError),
    ],
)
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call()


@pytest.mark.parametrize("n", [99, 100, 101, 300])
def test_uniform_attention_is_uniform_at_every_length(n):
    metrics = AttentionMetrics()
    for weights in (np.full((n, n), 1 / n), np.tri(n) / np.arange(1, n + 1)[:, None]):
        assert metrics.compute_sparsity(weights) == 0
        assert metrics.compute_uniformity(weights) == pytest.approx(1, abs=1e-12)
        assert metrics.compute_interpretability_score(weights) == pytest.approx(0, abs=1e-9)
    assert metrics.compute_concentration(np.full((n, n), 1 / n)) == pytest.approx(0, abs=1e-9)
    assert metrics.compute_entropy(np.full((n, n), 1 / n)) == pytest.approx(math.log(n))


def test_one_key_has_everything():
    metrics, weights = AttentionMetrics(), np.zeros((20, 20))
    weights[:, 0] = 1
    assert metrics.compute_entropy(weights) == 0
    assert metrics.compute_concentration(weights, 1) == pytest.approx(1)
    assert metrics.compute_sparsity(weights) == pytest.approx(np.mean([i / (i + 1) for i in range(1, 20)]))
    assert math.isnan(metrics.compute_concentration(np.eye(4)))
    assert metrics.compute_interpretability_score(np.eye(50)) > 0.95


def test_flow_says_where_the_mass_goes():
    flow = AttentionMetrics().compute_attention_flow([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.5, 0.25, 0.25]])
    assert flow == pytest.approx({"forward_flow": 0.5 / 3, "backward_flow": 0.75 / 3, "self_attention": 1.75 / 3})
    assert AttentionMetrics().compute_attention_flow(causal(30))["forward_flow"] == 0
    assert all(isinstance(value, float) for value in flow.values())


@given(st.integers(0, 99))
def test_reductions_do_not_see_a_scale(seed):
    weights = causal(24, seed)
    metrics = AttentionMetrics()
    assert metrics.compute_sparsity_improvement(weights, 0.309 * weights) == pytest.approx(0, abs=1e-12)
    shuffled = nulls.row_shuffled(weights, "causal", rng=np.random.default_rng(seed))
    assert metrics.compute_entropy_reduction(weights, shuffled) == pytest.approx(0, abs=1e-12)
    sharper = weights**2 / (weights**2).sum(-1, keepdims=True)
    assert metrics.compute_entropy_reduction(weights, sharper) > 0
    assert metrics.compute_sparsity_improvement(weights, sharper) > 0


def test_all_metrics_at_once():
    found = AttentionMetrics().compute_all_metrics(causal(40), fractal_dimension=1.5)
    assert list(found) == ["entropy", "sparsity", "concentration", "uniformity", "forward_flow", "backward_flow",
                           "self_attention", "interpretability_score", "fractal_dimension"]  # fmt: skip
    assert all(isinstance(value, float) for value in found.values())
    assert found["forward_flow"] + found["backward_flow"] + found["self_attention"] == pytest.approx(1)
