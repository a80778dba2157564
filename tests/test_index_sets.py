"""Index sets: every way in, every way out, algebra, views and reports, against dense masks."""

import gc
import subprocess
import sys

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import _native
from fractal_core._calls import Attention
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.index_sets import IndexSet
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))
offset_lists = st.lists(st.integers(-50, 50), max_size=12, unique=True)


def offset_mask(offsets, n, n_keys, q_offset):
    mask = np.zeros((n, n_keys), dtype=bool)
    for i in range(n):
        for o in offsets:
            if 0 <= i + q_offset - o < n_keys:
                mask[i, i + q_offset - o] = True
    return mask


@given(masks)
def test_round_trips(mask):
    made = IndexSet.from_mask(mask)
    assert made.shape == mask.shape
    assert made.nnz == mask.sum()
    assert (made.to_mask() == mask).all()
    assert IndexSet.from_csr(made.indptr, made.indices, made.n_keys) == made
    assert (made.indices == np.nonzero(mask)[1]).all()
    if made.nnz:
        assert IndexSet.from_padded(made.to_padded(), made.n_keys) == made


@given(masks, st.data())
def test_algebra(mask, data):
    other = data.draw(hnp.arrays(bool, mask.shape))
    one, two = IndexSet.from_mask(mask), IndexSet.from_mask(other)
    assert ((one | two).to_mask() == mask | other).all()
    assert ((one & two).to_mask() == mask & other).all()
    assert (one.transpose().to_mask() == mask.T).all()
    q_offset = data.draw(st.integers(-45, 45))
    assert (one.causal(q_offset).to_mask() == np.tril(mask, q_offset)).all()
    assert (one.causal().to_mask() == np.tril(mask, mask.shape[1] - mask.shape[0])).all()
    assert one.is_causal == (one.causal() == one)
    start = data.draw(st.integers(0, mask.shape[0]))
    stop = data.draw(st.integers(start, mask.shape[0]))
    assert (one.rows(start, stop).to_mask() == mask[start:stop]).all()
    assert (one.prefix(*mask.shape).to_mask() == mask).all()
    n, k = data.draw(st.integers(1, mask.shape[0])), data.draw(st.integers(1, mask.shape[1]))
    assert (one.prefix(n, k).to_mask() == mask[:n, :k]).all()


@given(offset_lists, offset_lists, st.integers(1, 30), st.integers(1, 30), st.integers(-35, 35), st.integers(-35, 35))
def test_offsets(a, b, n, n_keys, q_offset, causal_from):
    one = IndexSet.from_offsets(a, n, n_keys, q_offset)
    two = IndexSet.from_offsets(b, n, n_keys, q_offset)
    mask, other = offset_mask(a, n, n_keys, q_offset), offset_mask(b, n, n_keys, q_offset)
    assert (one.to_mask() == mask).all()
    assert one.nnz == mask.sum()
    assert one.is_causal == (not np.triu(mask, q_offset + 1).any())
    listed = IndexSet.from_mask(mask)
    assert one == listed
    assert listed.offsets is None
    for derived, expected in (
        (one | two, mask | other),
        (one & two, mask & other),
        (one.transpose(), mask.T),
        (one.causal(), np.tril(mask, q_offset)),
        (one.causal(causal_from), np.tril(mask, causal_from)),
        (one.rows(n // 2, n), mask[n // 2 :]),
        (one.prefix(1, n_keys), mask[:1]),
    ):
        assert (derived.to_mask() == expected).all()
        assert derived.offsets is not None
    assert ((one | IndexSet.from_mask(other)).to_mask() == mask | other).all()
    assert (np.diff(one.offsets) > 0).all()
    sparse = one.to_padded()
    assert sparse.shape == (n, mask.sum(1).max())
    assert sparse.dtype == np.int32


def test_convention_of_offsets():
    decode = IndexSet.from_offsets([0, 1, 3], 1, 10)
    assert decode.q_offset == 9
    assert decode.indices.tolist() == [6, 8, 9]
    assert IndexSet.from_offsets([0], 3, 5).indices.tolist() == [2, 3, 4]
    assert IndexSet.from_offsets([0], 3, 5, q_offset=0).indices.tolist() == [0, 1, 2]


def test_padded_rows_may_be_unsorted():
    made = IndexSet.from_padded([[4, -1, 0], [-1, -1, -1], [2, 1, 3]], n_keys=5)
    assert made.to_padded().tolist() == [[0, 4, -1], [-1, -1, -1], [1, 2, 3]]


@pytest.mark.parametrize("kind", ["offsets", "csr"])
def test_arrays_are_views_of_the_native_object(kind):
    made = fc.pattern("window", radius=1).index_set(50)
    if kind == "csr":
        made = IndexSet.from_csr(made.indptr, made.indices, 50)
    for name in ("indptr", "indices"):
        first, second = getattr(made, name), getattr(made, name)
        assert isinstance(first.base, _native.IndexSet)
        assert not first.flags.owndata
        assert not first.flags.writeable
        assert first.__array_interface__["data"][0] == second.__array_interface__["data"][0]
    assert made.indptr.dtype == np.int64
    assert made.indices.dtype == np.int32
    indices, expected = made.indices, made.indices.copy()
    del made, first, second
    gc.collect()
    assert (indices == expected).all()


def test_results_are_moved_not_copied():
    for array in (IndexSet.from_mask(np.eye(9, dtype=bool)).to_mask(), IndexSet.from_padded([[0]], 1).to_padded()):
        assert not array.flags.owndata
        assert array.flags.writeable


def test_any_strides_are_read():
    mask = np.random.default_rng(0).random((40, 30)) < 0.3
    assert (IndexSet.from_mask(mask[::2, ::-3]).to_mask() == mask[::2, ::-3]).all()
    made = IndexSet.from_mask(mask)
    twice = np.repeat(made.indices, 2)
    assert IndexSet.from_csr(made.indptr, twice[::2], 30) == made
    assert IndexSet.from_csr(made.indptr.astype(np.uint16), made.indices.astype(np.int8), 30) == made


def test_handle_names_a_living_set():
    made = fc.pattern("window", radius=2).index_set(8)
    handle = made.handle
    assert handle.shape == (1,)
    assert handle.dtype == np.int64
    q = np.random.default_rng(0).normal(size=(1, 1, 8, 4))
    lse, expected, got = np.empty((1, 1, 8)), np.empty_like(q), np.empty_like(q)
    _native.attention_forward(Attention(q, q, q, int(handle[0]), "f64", 0.5), expected, lse)
    del made
    gc.collect()
    _native.attention_forward(Attention(q, q, q, int(handle[0]), "f64", 0.5), got, lse)
    assert (got == expected).all()
    key = int(handle[0])
    del handle
    gc.collect()
    with pytest.raises(fc.errors.InvalidArgumentError, match="a living IndexSet"):
        _native.attention_forward(Attention(q, q, q, key, "f64", 0.5), got, lse)


def test_order():
    made = fc.pattern("window").index_set(5).with_order([4, 2, 0, 1, 3])
    assert made.order.tolist() == [4, 2, 0, 1, 3]
    assert made.order.dtype == np.uint32
    assert (made | fc.pattern("cantor").index_set(5)).order.tolist() == [4, 2, 0, 1, 3]
    assert fc.pattern("window").index_set(5).order is None
    box = fc.pattern("hilbert", window=3, shape=(6, 7))
    whole, cut_off = box.index_set(42).order[:16], box.index_set(42).order[16:]
    assert whole.tolist() == [7 * y + x for y in range(4) for x in range(4)]
    assert sorted([*whole, *cut_off]) == list(range(42))
    assert sorted(box.index_set(10, 42).order) == list(range(10))


def test_block_mask():
    torch = pytest.importorskip("torch")
    made = fc.pattern("window:radius=5|cantor:base=4").index_set(100, 130, causal=True)
    block_mask = made.to_block_mask(block_size=32)
    assert block_mask.shape[-2:] == (100, 130)
    dense = made.to_mask()
    blocks = np.pad(dense, ((0, 28), (0, 30))).reshape(4, 32, 5, 32).any((1, 3))
    assert (block_mask.to_dense()[0, 0].numpy().astype(bool) == blocks).all()
    i, j = np.indices((100, 130))
    got = block_mask.mask_mod(torch.tensor(0), torch.tensor(0), torch.from_numpy(i), torch.from_numpy(j))
    assert (got.numpy() == dense).all()


def test_equality_and_repr():
    one = fc.pattern("window", radius=1).index_set(4)
    assert one == IndexSet.from_mask(one.to_mask())
    assert one != fc.pattern("window", radius=2).index_set(4)
    assert one != fc.pattern("window", radius=1).index_set(5)
    assert one != "set"
    assert repr(one) == "IndexSet(n_queries=4, n_keys=4, nnz=10, 3 offsets)"
    assert repr(IndexSet.from_mask(one.to_mask())) == "IndexSet(n_queries=4, n_keys=4, nnz=10, listed)"


def reach_by_matrices(mask, layers):
    n = len(mask)
    causal = not np.triu(mask, 1).any()
    pairs = np.tril(np.ones((n, n), dtype=bool)) if causal else np.ones((n, n), dtype=bool)
    reached, shares = np.eye(n, dtype=bool), []
    for _ in range(layers):
        reached = reached | ((mask.astype(int) @ reached.astype(int)) > 0)
        shares.append((reached & pairs).sum() / pairs.sum())
    return causal, shares


@given(hnp.arrays(bool, st.integers(1, 20).map(lambda n: (n, n))), st.booleans())
def test_reach_is_the_matrix_power(mask, causal):
    mask = np.tril(mask) if causal else mask
    got = IndexSet.from_mask(mask).reach(25)
    expected_causal, shares = reach_by_matrices(mask, 25)
    assert got.causal == expected_causal
    assert got.layers == (shares.index(1.0) + 1 if 1.0 in shares else None)
    assert got.shares == pytest.approx(shares[: len(got.shares)])
    assert got.share == shares[-1]


@given(st.lists(st.integers(-12, 12), max_size=5, unique=True), st.integers(1, 30), st.integers(-4, 4))
def test_reach_of_offsets_is_the_matrix_power(offsets, n, q_offset):
    made = IndexSet.from_offsets(offsets, n, n, q_offset)
    causal, shares = reach_by_matrices(made.to_mask(), 40)
    got = made.reach(40)
    assert got.causal == causal
    assert got.shares == pytest.approx(shares[: len(got.shares)])
    assert got.share == shares[-1]


def test_reach_of_many_blocks_of_columns():
    n = 8192 + 300
    dense = fc.pattern("cantor", base=7).index_set(n, causal=True)
    listed = IndexSet.from_csr(dense.indptr, dense.indices, n)
    assert listed.reach() == dense.reach()
    assert dense.reach().layers == 6


def test_report():
    report = fc.pattern("window", radius=2).index_set(100, causal=True).report()
    assert (report.edges, report.keys_min, report.keys_max) == (297, 1, 3)
    assert report.keys_mean == 2.97
    assert (report.layers, report.reach, report.prefix_stable) == (50, 1.0, True)
    assert set(report.to_dict()) >= {"tile_share", "tile_fill", "lanes_per_edge", "index_bytes"}
    with pytest.raises(AttributeError):
        report.edges = 3
    oblong = fc.pattern("random").index_set(3, 100).report()
    assert (oblong.layers, oblong.reach, oblong.prefix_stable) == (None, None, None)
    assert fc.pattern("random").report(100).prefix_stable is True
    assert fc.pattern("cantor_samples").report(100).prefix_stable is False


@pytest.mark.parametrize("spec", fc.patterns.names())
def test_every_built_in_goes_through_the_one_plan(spec):
    pattern = fc.pattern(spec)
    made = pattern.index_set(pattern.length or 512, causal=True)
    report, plan = made.report(), made._native.plan_report()
    assert plan["tile_edges"] + plan["row_edges"] == report.edges
    assert report.tile_share == plan["tile_edges"] / report.edges
    assert report.tile_fill == plan["tile_edges"] / plan["tile_lanes"] <= 1
    assert report.lanes_per_edge == (plan["tile_lanes"] + plan["row_edges"]) / report.edges >= 1
    assert report.index_bytes > 0


def test_index_memory_of_offsets_does_not_grow():
    for spec, keys in (("window:radius=64", 65), ("cantor:base=5", 128), ("window:radius=64|cantor:base=3", 1280 + 65)):
        short, long = (fc.pattern(spec).index_set(n, causal=True).report(1).index_bytes for n in (16384, 65536))
        assert long < 200 * keys
        assert long <= 4 * short


def test_handles_of_two_processes_are_never_the_same() -> None:
    program = "import fractal_core as fc; print(*(int(fc.IndexSet.from_offsets([0], 4).handle[0]) for _ in range(50)))"
    made = [
        set(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split())
        for _ in range(2)
    ]
    assert len(made[0] | made[1]) == 100


@pytest.mark.parametrize("window", [None, 3, (2, 0), (0, 5)])
@pytest.mark.parametrize("align", ["lower_right", "upper_left"])
@pytest.mark.parametrize("causal", [False, True])
def test_windows_within_segments(window, align, causal):
    queries, keys = [0, 4, 9, 20], [0, 7, 10, 24]
    found = IndexSet.from_segments(queries, keys, causal=causal, window=window, align=align)
    assert found.runs is not None
    mask = np.zeros((20, 24), bool)
    before, after = (24, 24) if window is None else (window, window) if isinstance(window, int) else window
    for s in range(3):
        for i in range(queries[s], queries[s + 1]):
            place = keys[s] + i - queries[s] if align == "upper_left" else keys[s + 1] + i - queries[s + 1]
            for j in range(keys[s], keys[s + 1]):
                mask[i, j] = place - j <= before and j - place <= (0 if causal else after)
    assert np.array_equal(found.to_mask(), mask)


def test_segments_and_offsets_stay_runs():
    segments = IndexSet.from_segments([0, 30, 64])
    for offsets in (range(-4, 5), [0, 1, 2, 8, 9]):
        both = segments & IndexSet.from_offsets(offsets, 64)
        assert both.runs is not None
        assert np.array_equal(both.to_mask(), segments.to_mask() & IndexSet.from_offsets(offsets, 64).to_mask())


@pytest.mark.parametrize(
    ("more", "error", "named"),
    [
        ({"window": -1}, InvalidArgumentError, "window"),
        ({"window": (1, 2, 3)}, ShapeError, "window"),
        ({"window": 1.5}, DTypeError, "window"),
        ({"window": (1, "2")}, DTypeError, "window"),
        ({"align": "top"}, InvalidArgumentError, "align"),
        ({"align": None}, InvalidArgumentError, "align"),
    ],
)
def test_wrong_segments_are_refused(more, error, named):
    with pytest.raises(error, match=named):
        IndexSet.from_segments([0, 4], **more)
