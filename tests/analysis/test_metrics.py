"""Metrics and transforms of one matrix: what each says on attention whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import AttentionMetrics, FractalTransforms
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy_attention import weights

METRICS, TRANSFORMS = AttentionMetrics(), FractalTransforms()
CAUSAL_METRICS, CAUSAL = AttentionMetrics("causal"), FractalTransforms(support="causal")


def even(n, causal):
    cells = np.tril(np.ones((n, n))) if causal else np.ones((n, n))
    return cells / cells.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n", [2, 99, 100, 101, 500])
@pytest.mark.parametrize("causal", [False, True])
def test_uniform_attention_reads_the_same_at_every_length(n, causal):
    metrics = CAUSAL_METRICS if causal else METRICS
    found = metrics.compute_all_metrics(even(n, causal))
    assert found["sparsity"] == 0
    assert found["uniformity"] == pytest.approx(1, abs=1e-9)
    assert found["gini"] == pytest.approx(0, abs=1e-9)
    keys = np.arange(1, n + 1) if causal else np.full(n, n)
    assert found["entropy"] == pytest.approx(np.log(keys).mean(), abs=1e-9)
    if n > 5:
        assert found["concentration"] == pytest.approx((5 / keys[keys > 5]).mean(), abs=1e-9)


@pytest.mark.parametrize("n", [8, 64, 301])
def test_one_key_a_row(n):
    found = METRICS.compute_all_metrics(np.eye(n))
    assert found["entropy"] == 0
    assert found["uniformity"] == 0
    assert found["concentration"] == 1
    assert found["sparsity"] == pytest.approx((n - 1) / n)
    assert found["self_attention"] == 1
    assert found["effective_support"] == 1
    assert all(type(value) is float for value in found.values())


def test_few_keys_have_no_concentration():
    assert math.isnan(METRICS.compute_concentration(even(5, causal=False)))
    assert METRICS.compute_concentration(even(5, causal=False), top_k=2) == pytest.approx(0.4)


def test_flows():
    shifted = np.eye(6, k=-1) + np.eye(6, k=5)
    assert METRICS.compute_attention_flow(shifted) == pytest.approx(
        {"forward_flow": 1 / 6, "backward_flow": 5 / 6, "self_attention": 0}
    )
    rectangular = np.array([[0, 0, 0.25, 0.25, 0.5]])
    assert METRICS.compute_attention_flow(rectangular) == {
        "forward_flow": 0,
        "backward_flow": 0.5,
        "self_attention": 0.5,
    }


def test_a_factor_changes_no_metric():
    array = weights(1, 40)[0]
    for name, value in CAUSAL_METRICS.compute_all_metrics(array).items():
        assert CAUSAL_METRICS.compute_all_metrics(array * 0.309)[name] == pytest.approx(value, abs=1e-9), name
    assert CAUSAL_METRICS.compute_sparsity_improvement(array, array * 0.309) == pytest.approx(0, abs=1e-12)


def test_differences_have_the_signs_they_say():
    assert METRICS.compute_entropy_reduction(even(16, causal=False), np.eye(16)) == pytest.approx(math.log(16))
    assert METRICS.compute_sparsity_improvement(even(16, causal=False), np.eye(16)) == pytest.approx(15 / 16)


def test_the_score_takes_weights_of_ones_own():
    array = even(16, causal=False)
    assert METRICS.compute_interpretability_score(array, weights={"uniformity": 2, "sparsity": 1}) == pytest.approx(2)
    assert METRICS.compute_interpretability_score(array, 1.5, weights={"fractal_dimension": 2}) == pytest.approx(3)
    for wrong in (None, {}, {"beauty": 1.0}):
        with pytest.raises(InvalidArgumentError):
            METRICS.compute_interpretability_score(array, weights=wrong)


def test_the_dimension_of_a_support_is_two_at_every_length():
    for n in (32, 50, 63, 100, 250):
        assert TRANSFORMS.compute_fractal_dimension(even(n, causal=False), foreground=0.0) == pytest.approx(2, abs=1e-9)
        assert CAUSAL.compute_fractal_dimension(even(n, causal=True), foreground=0.0) == pytest.approx(2, abs=1e-9)


def test_the_dimension_is_that_of_the_floor_below():
    array = weights(1, 100)[0]
    want = dimension.box_dimension(array, "causal", foreground=("mass", 0.9))
    assert CAUSAL.compute_fractal_dimension(array) == float(want)
    fit = CAUSAL.fractal_dimension_fit(array, scales=[1, 2, 4, 8])
    np.testing.assert_array_equal(fit.scales, [1, 2, 4, 8])
    assert CAUSAL.compute_fractal_dimension(np.eye(64), foreground=0.5) == pytest.approx(1, abs=0.2)


def test_few_tokens_have_no_dimension():
    assert math.isnan(CAUSAL.compute_fractal_dimension(weights(1, 9)[0]))
    assert math.isfinite(CAUSAL.compute_fractal_dimension(weights(1, 16)[0], force=True))


def test_the_partition_has_all_of_the_mass():
    array = weights(1, 55)[0]
    cut = CAUSAL.golden_ratio_partition(array)
    assert cut.top_left.shape == (33, 33)
    np.testing.assert_array_equal(np.block([list(cut[:2]), list(cut[2:4])]), array)
    assert cut.shares.sum() == pytest.approx(1)
    assert cut.shares[1] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.floats(0, 0.9), st.booleans(), st.integers(0, 99))
def test_interpolation_keeps_rows_and_support(n, pieces, scaling, causal, seed):
    array = weights(1, n, causal=causal, seed=seed)[0]
    transforms = CAUSAL if causal else TRANSFORMS
    drawn = transforms.fractal_interpolation_function(array, scaling, pieces=min(pieces, n))
    np.testing.assert_allclose(drawn.sum(axis=1), 1, atol=1e-9)
    assert drawn.min() >= 0
    if causal:
        assert not np.triu(drawn, 1).any()


@pytest.mark.parametrize("scaling", [0.0, 0.5, 0.9])
def test_interpolation_passes_through_its_points(scaling):
    array = weights(1, 64, causal=False)[0]
    drawn = TRANSFORMS.fractal_interpolation_function(array, scaling, pieces=4)
    np.testing.assert_allclose(drawn.reshape(64, 4, 16).sum(axis=2), array.reshape(64, 4, 16).sum(axis=2), atol=1e-12)
    if scaling == 0:
        np.testing.assert_allclose(drawn, np.repeat(array.reshape(64, 4, 16).mean(axis=2), 16, axis=1), atol=1e-12)


def test_interpolation_is_the_fixed_point_of_its_maps():
    """Within each run: the even share, and a shrunk copy of the whole row."""
    row = np.array([[0.1, 0.2, 0.3, 0.4]]).repeat(16, axis=1) / 16
    drawn = TRANSFORMS.fractal_interpolation_function(row, 0.7, pieces=4)[0]
    shrunk = drawn.reshape(16, 4).sum(axis=1)
    for i, mass in enumerate((0.1, 0.2, 0.3, 0.4)):
        np.testing.assert_allclose(drawn[16 * i : 16 * i + 16], mass * (0.3 / 16 + 0.7 * shrunk), atol=1e-12)


def test_scales_that_differ():
    array = weights(1, 50, causal=False)[0]
    found = TRANSFORMS.multi_scale_analysis(array)
    assert [scale for scale, _ in found] == [1, 2, 3, 4, 7]
    assert [matrix.shape[0] for _, matrix in found] == [50, 25, 17, 13, 8]
    for side, matrix in found:
        assert matrix.sum() == pytest.approx(array.sum())
        assert matrix[0, 0] == pytest.approx(array[: int(side), : int(side)].sum())
    with pytest.raises(InvalidArgumentError, match="at most 50"):
        TRANSFORMS.multi_scale_analysis(array, 10)


def test_self_similarity_of_known_patterns():
    n = 256
    keys, queries = np.arange(n), np.arange(n)[:, None]
    triangle = ((keys & queries) == 0).astype(float)
    assert TRANSFORMS.compute_self_similarity(triangle / triangle.sum(axis=1, keepdims=True)) > 0.5
    power = np.tril(1.0 / (1 + np.abs(queries - keys)))
    assert CAUSAL.compute_self_similarity(power / power.sum(axis=1, keepdims=True)) > 0.5
    assert TRANSFORMS.compute_self_similarity(np.eye(n)) == pytest.approx(1)
    noise = [abs(TRANSFORMS.compute_self_similarity(weights(1, n, causal=False, seed=s)[0])) for s in range(3)]
    assert max(noise) < 0.1
    masked = [abs(CAUSAL.compute_self_similarity(weights(1, n, seed=s)[0])) for s in range(3)]
    assert max(masked) < 0.15
    assert math.isnan(TRANSFORMS.compute_self_similarity(even(n, causal=False)))
    assert math.isnan(CAUSAL.compute_self_similarity(even(n, causal=True)))


def test_scores_by_position_for_several_bases():
    array = weights(1, 40, causal=False)[0]
    scored = TRANSFORMS.golden_ratio_scoring(array)
    phi = (1 + math.sqrt(5)) / 2
    ratio = scored.sum(axis=1)[0] / scored.sum(axis=1)[-1]
    assert ratio == pytest.approx(phi ** (39 / 40))
    found = TRANSFORMS.position_scores(array)
    assert list(found) == ["1", "sqrt2", "e/2", "phi", "2"]
    np.testing.assert_allclose(found["1"], array.mean(axis=0))
    np.testing.assert_allclose(found["phi"], scored.sum(axis=0))
    for scores in found.values():
        assert scores.sum() == pytest.approx(1)


def test_the_ratio():
    assert FractalTransforms().phi == pytest.approx(1.618033988749895)
    for wrong in (0, 1, -2, math.nan, math.inf):
        with pytest.raises(InvalidArgumentError, match="phi"):
            FractalTransforms(phi=wrong)


OK = weights(1, 8)[0]
WRONG = [
    (ShapeError, OK[0]),
    (ShapeError, OK[None]),
    (ShapeError, np.ones((0, 4))),
    (DTypeError, OK.astype(complex)),
    (DTypeError, OK.astype(str)),
    (InvalidArgumentError, OK * np.nan),
    (InvalidArgumentError, np.where(OK > 0, np.inf, 0)),
    (InvalidArgumentError, -OK),
    (InvalidArgumentError, weights(1, 8, causal=False)[0]),
]


@pytest.mark.parametrize(("error", "array"), WRONG)
@pytest.mark.parametrize("method", sorted(m for m in dir(METRICS) if m.startswith("compute_") and "score" not in m))
def test_wrong_matrices_are_refused_by_metrics(error, array, method):
    call = getattr(CAUSAL_METRICS, method)
    with pytest.raises(error):
        call(*([array, OK] if method in {"compute_entropy_reduction", "compute_sparsity_improvement"} else [array]))


@pytest.mark.parametrize(("error", "array"), WRONG)
@pytest.mark.parametrize(
    "method",
    [
        "golden_ratio_partition",
        "fractal_interpolation_function",
        "compute_fractal_dimension",
        "multi_scale_analysis",
        "compute_self_similarity",
        "golden_ratio_scoring",
        "position_scores",
    ],
)
def test_wrong_matrices_are_refused_by_transforms(error, array, method):
    with pytest.raises(error):
        getattr(CAUSAL, method)(array)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (InvalidArgumentError, lambda: CAUSAL.fractal_interpolation_function(OK, 1.0)),
        (InvalidArgumentError, lambda: CAUSAL.fractal_interpolation_function(OK, -0.1)),
        (InvalidArgumentError, lambda: CAUSAL.fractal_interpolation_function(OK, pieces=9)),
        (DTypeError, lambda: CAUSAL.fractal_interpolation_function(OK, "half")),
        (InvalidArgumentError, lambda: CAUSAL.compute_self_similarity(OK, 1)),
        (InvalidArgumentError, lambda: CAUSAL.golden_ratio_scoring(OK, base=0)),
        (InvalidArgumentError, lambda: CAUSAL.compute_fractal_dimension(OK, scales=[0, 2])),
        (InvalidArgumentError, lambda: CAUSAL.compute_fractal_dimension(OK, foreground=("median", 1.0))),
        (InvalidArgumentError, lambda: CAUSAL.multi_scale_analysis(OK, 0)),
        (InvalidArgumentError, lambda: CAUSAL_METRICS.compute_concentration(OK, top_k=0)),
        (DTypeError, lambda: CAUSAL_METRICS.compute_sparsity(OK, threshold="low")),
        (InvalidArgumentError, lambda: AttentionMetrics("diagonal").compute_entropy(OK)),
        (InvalidArgumentError, lambda: FractalTransforms(support="diagonal").golden_ratio_scoring(OK)),
    ],
)
def test_wrong_calls(error, call):
    with pytest.raises(error):
        call()
