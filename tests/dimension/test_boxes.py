"""Box counting: known sets to the last digit, supports, invariances, and what a slope says of itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from fractal_core.errors import InvalidArgumentError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

TRIADIC = [1, 3, 9, 27, 81]
SIERPINSKI = {
    "carpet": (lambda i, j: (i != 1) | (j != 1), math.log(8) / math.log(3)),
    "dust": (lambda i, j: (i != 1) & (j != 1), math.log(4) / math.log(3)),
    "vicsek": (lambda i, j: (i == 1) | (j == 1), math.log(5) / math.log(3)),
}


def triadic(keep, n=243):
    i, j = np.mgrid[:n, :n]
    inside = np.ones((n, n), bool)
    for _ in range(round(math.log(n, 3))):
        inside &= keep(i % 3, j % 3)
        i, j = i // 3, j // 3
    return inside


@pytest.mark.parametrize("name", SIERPINSKI)
@pytest.mark.parametrize("mode", ["relative", "exact", "raw"])
def test_triadic_sets_are_exact(name, mode):
    keep, true = SIERPINSKI[name]
    found = dimension.box_dimension(triadic(keep), mode=mode, scales=TRIADIC)
    assert float(found) == pytest.approx(true, abs=1e-12)
    assert float(found.r2) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.local_slopes, true, atol=1e-12)
    assert found.reliable
    assert found.reasons == ()


@pytest.mark.parametrize("mode", ["relative", "exact", "raw"])
def test_the_triangle_and_simple_sets_are_exact(mode):
    i, j = np.mgrid[:256, :256]
    point = np.zeros((256, 256), bool)
    point[17, 200] = True
    shapes = {math.log(3) / math.log(2): i & j == 0, 2.0: i >= 0, 1.0: i == j}
    shapes |= {0.0: point} if mode != "exact" else {}
    for true, shape in shapes.items():
        assert float(dimension.box_dimension(shape, mode=mode)) == pytest.approx(true, abs=1e-12)
    assert float(dimension.box_dimension(i == 3, mode="raw")) == pytest.approx(1, abs=1e-12)


def test_the_whole_support_has_dimension_2_at_every_length():
    for n in range(32, 601):
        assert float(dimension.box_dimension(np.ones((n, n), bool))) == pytest.approx(2, abs=1e-12)
    for n in range(32, 601, 37):
        for support in ("causal", ("window", 5), ("causal_window", 20)):
            near = np.subtract.outer(np.arange(n), np.arange(n))
            mask = {"causal": near >= 0, ("window", 5): abs(near) <= 5}.get(support, (near >= 0) & (near <= 20))
            for named in (support, mask, IndexSet.from_mask(mask)):
                assert float(dimension.box_dimension(mask, named)) == pytest.approx(2, abs=1e-12)
    assert float(dimension.box_dimension(np.ones((48, 200), bool))) == pytest.approx(2, abs=1e-12)


def test_causal_masks_and_half_filled_noise_have_closed_forms():
    scales = [2, 4, 8, 16, 32]
    mask = np.tri(256, dtype=bool)
    counts = dimension.box_dimension(mask, mode="raw", scales=scales).counts
    assert counts.tolist() == [(256 // s) * (256 // s + 1) / 2 for s in scales]
    rng = np.random.default_rng(0)
    noise = rng.random((50, 256, 256)) < 0.5
    found = dimension.box_dimension(noise, mode="raw", scales=scales).value
    assert found.mean() == pytest.approx(2 + math.log(15 / 16) / (5 * math.log(2)), abs=2e-4)


def test_foregrounds_are_theirs():
    weights = np.tril(np.random.default_rng(1).random((64, 64)))
    weights /= weights.sum(axis=1, keepdims=True)
    keys = np.arange(1, 65)[:, None]
    on = np.tri(64, dtype=bool)
    quantile = np.sort(weights[on])[int(0.7 * (on.sum() - 1))]
    for foreground, mask in {
        0.02: weights > 0.02,
        ("above", 0.02): weights > 0.02,
        ("uniform", 1.0): weights > 1 / keys,
        ("quantile", 0.7): weights > quantile,
    }.items():
        found = dimension.box_dimension(weights, "causal", foreground=foreground)
        same = dimension.box_dimension(mask & on, "causal")
        assert found.counts.tolist() == same.counts.tolist()
    top = dimension.box_dimension(weights, "causal", foreground=("mass", 1.0))
    assert float(top) == pytest.approx(2, abs=1e-12)


def test_leading_axes_and_indexing():
    carpets = np.stack([triadic(keep) for keep, _ in SIERPINSKI.values()])
    found = dimension.box_dimension(np.stack([carpets, carpets[::-1]]), scales=TRIADIC)
    assert found.value.shape == (2, 3)
    assert found.counts.shape == (2, 3, 5)
    assert found.interval.shape == (2, 3, 2)
    true = [true for _, true in SIERPINSKI.values()]
    np.testing.assert_allclose(found.value, [true, true[::-1]], atol=1e-12)
    assert float(found[1, 0]) == pytest.approx(true[2], abs=1e-12)
    assert found[0].counts.shape == (3, 5)
    assert found.range == (1, 81)
    assert found.decades == pytest.approx(math.log10(81))
    with pytest.raises(InvalidArgumentError, match="slope"):
        float(found)
    with pytest.raises(InvalidArgumentError, match="index"):
        found[1, 0][0]


def test_a_support_for_each_matrix_and_a_padding_mask():
    padding = np.zeros((2, 1, 1, 64), bool)
    padding[0, ..., :40] = True
    padding[1, ..., :64] = True
    weights = np.broadcast_to(padding, (2, 3, 64, 64)) / 64
    found = dimension.box_dimension(weights, padding, foreground=0.0)
    np.testing.assert_allclose(found.value, 2, atol=1e-12)


def test_short_sides_give_no_value_unless_forced():
    short = np.ones((31, 31), bool)
    found = dimension.box_dimension(short)
    assert math.isnan(found.value)
    assert not found.reliable
    assert "scale range: a side below 32" in found.reasons
    assert "fewer than 4 scales" in found.reasons
    assert float(dimension.box_dimension(short, force=True)) == pytest.approx(2, abs=1e-12)
    raw = dimension.box_dimension(np.ones((50, 50), bool), mode="raw")
    assert any(reason.startswith("raw") for reason in raw.reasons)


def test_several_origins_take_the_smallest_count():
    shape = np.zeros((64, 64), bool)
    shape[3:5, 3:5] = True
    scales = [1, 2, 4, 8]
    assert dimension.box_dimension(shape, scales=scales).counts.tolist() == [4, 4, 4, 1]
    found = dimension.box_dimension(shape, scales=scales, origins=[(0, 0), (1, 1)])
    assert found.counts.tolist() == [4, 1, 1, 1]


sets = hnp.arrays(bool, (32, 32)).filter(lambda mask: mask.any())
nested = st.sampled_from([[1, 2, 4, 8], [1, 4, 16], [2, 4, 8, 32]])


@given(sets, nested)
def test_nested_scales_give_0_to_2(mask, scales):
    for mode in ("relative", "raw"):
        assert -1e-12 <= float(dimension.box_dimension(mask, mode=mode, scales=scales)) <= 2 + 1e-12


@given(sets, nested)
def test_counts_do_not_change_when_the_matrix_is_turned_or_padded(mask, scales):
    counts = dimension.box_dimension(mask, scales=scales).counts.tolist()
    for same in (mask.T, np.rot90(mask), np.pad(mask, ((0, 32), (32, 0)))):
        assert dimension.box_dimension(same, scales=scales).counts.tolist() == counts


@given(hnp.arrays(np.float32, (32, 32), elements=st.floats(0, 1, width=32)), st.floats(0.1, 50))
def test_widths_and_factors_do_not_change_sets(weights, factor):
    weights[0, 0] = 1
    for foreground in (("uniform", 1.0), ("mass", 0.8)):
        counts = dimension.box_dimension(weights, foreground=foreground).counts
        wide = dimension.box_dimension(weights.astype(np.float64), foreground=foreground).counts
        assert counts.tolist() == wide.tolist()
    counts = dimension.box_dimension(weights, foreground=0.5).counts
    half = dimension.box_dimension(weights * np.float32(0.25), foreground=0.125).counts
    assert counts.tolist() == half.tolist()
