"""Attention that grows row by row has the numbers of the whole matrix, to 1e-12, at every length."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.analysis import DimensionStream
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, ShapeError
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy_attention import weights

CLOSE = 1e-12


def agree(stream, whole, support, q, foreground=("mass", 0.9), close=CLOSE):
    scales = stream.scales
    if len(scales) < 2:
        return
    for order in q:
        found = stream.renyi_dimension(order, force=True)
        want = dimension.renyi_dimension(whole, support, q=order, scales=scales, force=True)
        for name in ("value", "stderr", "r2", "baseline", "local_slopes", "counts"):
            a, b = getattr(found, name), getattr(want, name)
            np.testing.assert_allclose(a, b, rtol=0, atol=close, err_msg=f"{order} {name}")
        np.testing.assert_array_equal(found.reliable, want.reliable)
    found = stream.box_dimension(force=True)
    want = dimension.box_dimension(whole, support, foreground=foreground, scales=scales, force=True)
    np.testing.assert_allclose(found.value, want.value, rtol=0, atol=close)
    np.testing.assert_array_equal(found.counts, want.counts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("radius", [None, 40])
def test_at_every_length(dtype, radius):
    whole = weights(2, 140, radius=radius).astype(dtype)
    support = "causal" if radius is None else ("causal_window", radius)
    stream = DimensionStream(2, q=(0, 0.5, 1, 2), support=support)
    stream.push(whole[:, :30, :30])
    for i in range(30, 140):
        stream.push(whole[:, i, : i + 1])
        if i % 9 == 0 or i > 130:
            agree(stream, whole[:, : i + 1, : i + 1], support, (0, 0.5, 1, 2))
    assert stream.length == 140
    assert stream.scales == (1, 2, 4, 8, 16, 32)


def test_long():
    whole = weights(1, 1024).astype(np.float32)
    stream = DimensionStream(1)
    stream.push(whole[:, :1000, :1000])
    for i in range(1000, 1024):
        stream.push(whole[:, i, : i + 1])
    agree(stream, whole, "causal", (2,))
    # Half a million terms are added in another order.
    agree(stream, whole, "causal", (1,), close=CLOSE)
    mass = whole[whole > 0].astype(np.float64).tolist()
    total = math.fsum(mass)
    exact = math.fsum(m / total * math.log(m / total) for m in mass)
    assert stream.renyi_dimension(1).log_y[0, 0] == pytest.approx(exact, abs=CLOSE)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(2, 3), st.integers(0, 99))
def test_rows_may_come_in_any_portions(portions, base, seed):
    n = sum(portions)
    whole = weights(2, n, seed=seed)
    stream = DimensionStream(2, q=(1, 2), base=base)
    first = 0
    for count in portions:
        stream.push(whole[:, first : first + count, : first + count])
        first += count
    agree(stream, whole, "causal", (1, 2))


def test_row_statistics_are_those_of_the_whole():
    whole, ids = weights(2, 50), np.random.default_rng(0).integers(0, 6, 50)
    stream = DimensionStream(2, settings={"top_k": 3, "local": 4})
    stream.push(whole[:, :20, :20], ids=ids[:20])
    for i in range(20, 50):
        stream.push(whole[:, i, : i + 1], ids=ids[i : i + 1])
    want = dimension.row_statistics(whole, "causal", top_k=3, local=4, tokens=ids)
    for name, values in vars(stream.row_statistics()).items():
        np.testing.assert_allclose(values, getattr(want, name), rtol=0, atol=CLOSE, err_msg=name)


def test_a_cache_may_let_keys_go_that_the_window_has_left():
    whole = weights(2, 60, radius=7)
    stream = DimensionStream(2, support=("causal_window", 7))
    stream.push(whole[:, :20, :20])
    for i in range(20, 60):
        stream.push(whole[:, i, i - 7 : i + 1])
    agree(stream, whole, ("causal_window", 7), (1, 2))


@pytest.mark.parametrize("foreground", [("uniform", 1.5), ("mass", 0.5), 0.01])
def test_rules_of_strong_weights(foreground):
    whole = weights(2, 80)
    stream = DimensionStream(2, foreground=foreground)
    stream.push(whole)
    agree(stream, whole, "causal", (), foreground)


def test_memory_does_not_grow_with_the_square():
    stream = DimensionStream(1, longest=4096)
    whole = weights(1, 512)
    stream.push(whole)
    kept = sum(boxes.open.size for boxes in stream._mass.boxes)
    assert kept <= 2 * 512


def stream_of(n=10):
    stream = DimensionStream(2, longest=64)
    stream.push(weights(2, n))
    return stream


ROW = weights(2, 11)[:, 10]
WRONG = [
    (InvalidArgumentError, lambda: DimensionStream(0)),
    (DTypeError, lambda: DimensionStream(2.0)),
    (InvalidArgumentError, lambda: DimensionStream(2, q=-1)),
    (InvalidArgumentError, lambda: DimensionStream(2, support="full")),
    (InvalidArgumentError, lambda: DimensionStream(2, foreground=("quantile", 0.5))),
    (InvalidArgumentError, lambda: DimensionStream(2).box_dimension()),
    (InvalidArgumentError, lambda: DimensionStream(2).row_statistics()),
    (InvalidArgumentError, lambda: stream_of().renyi_dimension(3)),
    (ShapeError, lambda: stream_of().push(ROW[:1])),
    (ShapeError, lambda: stream_of().push(ROW[:, :8])),
    (ShapeError, lambda: stream_of().push(np.ones((2, 12)))),
    (DTypeError, lambda: stream_of().push(ROW.astype(str))),
    (InvalidArgumentError, lambda: stream_of().push(-ROW)),
    (InvalidArgumentError, lambda: stream_of().push(ROW * np.nan)),
    (ShapeError, lambda: stream_of().push(ROW, ids=[1])),
    (InvalidArgumentError, lambda: DimensionStream(2, longest=8).push(weights(2, 9))),
]


@pytest.mark.parametrize(("error", "call"), WRONG)
def test_wrong_calls(error, call):
    with pytest.raises(error):
        call()


def test_a_refused_row_changes_nothing():
    stream = stream_of(40)
    before = stream.renyi_dimension(1).value, stream.box_dimension().value
    with pytest.raises(FractalError):
        stream.push(weights(2, 41)[:, 40] * np.nan)
    assert stream.length == 40
    np.testing.assert_array_equal(stream.renyi_dimension(1).value, before[0])
    np.testing.assert_array_equal(stream.box_dimension().value, before[1])
