"""Segments, runs and blocks: what they are, what stays runs, and that long ones cost no list."""

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import IndexSet
from hypothesis import given
from hypothesis import strategies as st


def packed(lengths):
    return np.concatenate([[0], np.cumsum(lengths, dtype=int)])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=7), st.booleans())
def test_segments(lengths, causal):
    queries, keys = packed([q for q, _ in lengths]), packed([k for _, k in lengths])
    if queries[-1] == 0 or keys[-1] == 0:
        return
    expected = np.zeros((queries[-1], keys[-1]), dtype=bool)
    for s, (q, k) in enumerate(lengths):
        ones = np.ones((q, k), dtype=bool)
        expected[queries[s] : queries[s + 1], keys[s] : keys[s + 1]] = np.tril(ones, k - q) if causal else ones
    made = IndexSet.from_segments(queries, keys, causal=causal)
    assert (made.to_mask() == expected).all()
    assert made.runs is not None
    assert made == IndexSet.from_mask(expected)
    assert IndexSet.from_mask(expected) == made


def test_keys_are_packed_as_the_queries_unless_said():
    made = IndexSet.from_segments(np.array([0, 2, 5], dtype=np.int32))
    assert made == IndexSet.from_segments([0, 2, 5], [0, 2, 5])
    assert made.shape == (5, 5)
    assert made.causal() == IndexSet.from_segments([0, 2, 5], causal=True)
    assert made.causal().is_causal


def test_runs_that_touch_are_one():
    made = IndexSet.from_runs([0, 3, 3, 4], [0, 2, 5, 1], [2, 1, 2, 6], 7)
    indptr, bounds = made.runs
    assert indptr.tolist() == [0, 2, 2, 3]
    assert bounds.tolist() == [[0, 3], [5, 7], [1, 7]]
    assert not bounds.flags.writeable
    assert made.nnz == 11
    assert made.indices.tolist() == [0, 1, 2, 5, 6, 1, 2, 3, 4, 5, 6]
    assert made.offsets is None
    assert repr(made) == "IndexSet(n_queries=3, n_keys=7, nnz=11, 3 runs)"
    assert made.report().prefix_stable is None


def test_what_stays_runs():
    one, other = IndexSet.from_segments([0, 4, 9]), IndexSet.from_segments([0, 6, 9])
    dense = [s.to_mask() for s in (one, other)]
    for made, mask in [
        (one | other, dense[0] | dense[1]),
        (one & other, dense[0] & dense[1]),
        (one.causal(), np.tril(dense[0])),
        (one.rows(3, 7), dense[0][3:7]),
        (one.prefix(7, 5), dense[0][:7, :5]),
    ]:
        assert made.runs is not None
        assert made == IndexSet.from_mask(mask)
    window = IndexSet.from_offsets([0, 1], 9)
    assert (one & window).runs is not None
    assert one & window == IndexSet.from_mask(dense[0] & window.to_mask())
    for made, mask in [(one.transpose(), dense[0].T), (one | window, dense[0] | window.to_mask())]:
        assert made.runs is None
        assert made == IndexSet.from_mask(mask)
    assert one != other
    assert one.reach().layers is None
    assert (one | other).reach().layers == 2
    assert one.with_order(np.arange(9)[::-1]) == one


@pytest.mark.parametrize(("size", "shape"), [(4, None), ((3, 5), None), ((3, 5), (10, 13)), (16, (50, 49))])
def test_blocks(size, shape):
    mask = np.random.default_rng(0).random((4, 3 if shape is None or shape[0] == 10 else 4)) < 0.5
    q, k = (size, size) if isinstance(size, int) else size
    dense = mask.repeat(q, 0).repeat(k, 1)
    made = IndexSet.from_blocks(mask, size) if shape is None else IndexSet.from_blocks(mask, size, *shape)
    if shape is not None:
        dense = dense[: shape[0], : shape[1]]
    assert (made.to_mask() == dense).all()
    assert made.runs is not None


def test_a_column_of_keys_is_listed_where_that_is_shorter():
    mask = np.eye(6, dtype=bool)
    assert IndexSet.from_blocks(mask, (4, 1)).runs is None
    assert IndexSet.from_blocks(mask, (4, 2)).runs is not None


def test_long_segments_cost_no_list():
    n = 100_000
    made = IndexSet.from_segments([0, n // 2, n])
    assert made.nnz == n * n // 2
    assert made == IndexSet.from_blocks(np.eye(2, dtype=bool), n // 2)
    assert IndexSet.from_segments([0, n], causal=True) == made.causal() | IndexSet.from_segments([0, n], causal=True)
    with pytest.raises(fc.errors.InvalidArgumentError, match=r"^index_set: got 5000000000 edges"):
        _ = made.indices


def test_report_of_segments():
    report = IndexSet.from_segments([0, 2048, 4096]).report()
    assert report.tile_share == 1.0
    assert report.tile_fill == 1.0
    assert report.index_bytes < 4096 * 16
