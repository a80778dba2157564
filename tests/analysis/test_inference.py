"""Tests, effects and shares of variance against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core.analysis import inference
from fractal_core.errors import InvalidArgumentError, ShapeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def test_a_permutation_test_counts_draws():
    found = inference.permutation_test([5.0, 0.0], [[1.0, 0.0], [2.0, 1.0], [3.0, -1.0]], tail="greater")
    assert found.p.tolist() == [0.25, 0.75]
    assert found.mean.tolist() == [2.0, 0.0]
    assert found.z.tolist() == [3.0, 0.0]
    assert inference.permutation_test(5.0, [1.0, 2.0, 3.0], tail="less").p == 1.0
    assert inference.permutation_test(5.0, [1.0, 2.0, 3.0]).p == 0.25
    assert np.isnan(inference.permutation_test(5.0, [1.0, 1.0]).z)


def test_p_values_of_a_null_are_uniform():
    rng = np.random.default_rng(0)
    found = inference.permutation_test(rng.standard_normal(2000), rng.standard_normal((99, 2000)))
    for level in (0.05, 0.25, 0.5):
        assert abs((found.p <= level).mean() - level) < 5 * np.sqrt(level * (1 - level) / 2000) + 0.01


def test_effects():
    assert inference.auc([3, 4], [1, 2]) == 1
    assert inference.auc([1, 2], [3, 4]) == 0
    assert inference.auc([1, 2], [1, 2]) == 0.5
    assert inference.cliffs_delta([1, 2, 3], [2]) == 0
    assert inference.cohens_d([1, 3], [2, 4]) == pytest.approx(-1 / np.sqrt(2))
    assert np.isnan(inference.cohens_d([1, 1], [1, 1]))


@given(hnp.arrays(float, st.integers(1, 20), elements=st.integers(-5, 5)),
       hnp.arrays(float, st.integers(1, 20), elements=st.integers(-5, 5)))  # fmt: skip
def test_the_auc_is_the_share_of_pairs(a, b):
    pairs = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
    assert inference.auc(a, b) == pytest.approx(pairs, abs=1e-12)
    assert inference.auc(a, b) + inference.auc(b, a) == pytest.approx(1, abs=1e-12)


def test_false_discoveries_of_the_papers_example():
    # Table of the 1995 paper: of 15 p-values four are rejected at 0.05.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
         1.0]  # fmt: skip
    found = inference.false_discoveries(p)
    assert found.rejected.tolist() == [True] * 4 + [False] * 11
    assert found.q[3] == pytest.approx(0.0095 * 15 / 4)
    mixed = inference.false_discoveries(np.array(p)[::-1].reshape(3, 5))
    assert mixed.rejected.sum() == 4
    assert mixed.rejected[2, 4]


def test_shares_of_variance():
    model = np.repeat(["a", "b"], 6)
    length = np.tile(np.repeat([8, 16, 32], 2), 2)
    values = 2.0 * (model == "b") + 1.0 * (length == 16)
    shares = inference.variance_shares(values, {"length": length, "model": model})
    assert [s.factor for s in shares] == ["length", "model", "rest"]
    assert [s.levels for s in shares] == [3, 2, 12]
    total = values.var() * 12
    assert shares[0].alone == pytest.approx(12 * (1 / 3 * 2 / 3) / total)
    assert shares[1].added == pytest.approx(12 / total)
    assert sum(s.added for s in shares) == pytest.approx(1)
    assert shares[2].added == pytest.approx(0, abs=1e-12)


def test_what_a_factor_adds_is_what_is_left():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 300), rng.integers(0, 3, 300)
    values = a + rng.standard_normal(300)
    shares = inference.variance_shares(values, {"a": a, "again": a * 10, "b": b})
    assert shares[1].added == pytest.approx(0, abs=1e-9)
    assert shares[1].alone == pytest.approx(shares[0].alone)
    assert 0 < shares[2].added < 0.05


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: inference.permutation_test([1.0], [[1.0]]), ShapeError, "null"),
        (lambda: inference.permutation_test(1.0, [1.0, 2.0], tail="up"), InvalidArgumentError, "tail"),
        (lambda: inference.permutation_test(np.nan, [1.0, 2.0]), InvalidArgumentError, "observed"),
        (lambda: inference.auc([], [1.0]), ShapeError, "a"),
        (lambda: inference.cohens_d([1.0, 2.0], [1.0]), ShapeError, "b"),
        (lambda: inference.false_discoveries([0.5, 1.5]), InvalidArgumentError, "p"),
        (lambda: inference.false_discoveries([0.5], level=0), InvalidArgumentError, "level"),
        (lambda: inference.variance_shares([1.0, 1.0], {"a": [0, 1]}), InvalidArgumentError, "values"),
        (lambda: inference.variance_shares([1.0, 2.0], {}), InvalidArgumentError, "factors"),
        (lambda: inference.variance_shares([1.0, 2.0], {"a": [0]}), ShapeError, "factors['a']"),
    ],
)
def test_what_is_refused(call, error, argument):
    with pytest.raises(error) as found:
        call()
    assert found.value.argument == argument
