"""Integers that do not fit are refused by name and value; none wraps round to one that does."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import IndexSet, curves
from fractal_core.errors import InvalidArgumentError

HUGE = 2**64 - 1
"""Wraps to -1, the pad value."""
ZEROS = [0, 2]

CALLS = {
    "from_padded": ("indices", lambda a: IndexSet.from_padded(a[None], 4)),
    "from_csr indptr": ("indptr", lambda a: IndexSet.from_csr(a, [0, 1], 4)),
    "from_csr indices": ("indices", lambda a: IndexSet.from_csr(ZEROS, a, 4)),
    "from_offsets": ("offsets", lambda a: IndexSet.from_offsets(a, 4)),
    "from_runs indptr": ("indptr", lambda a: IndexSet.from_runs(a, [0, 2], [1, 1], 4)),
    "from_runs starts": ("starts", lambda a: IndexSet.from_runs(ZEROS, a, [1, 1], 4)),
    "from_runs lengths": ("lengths", lambda a: IndexSet.from_runs(ZEROS, [0, 2], a, 4)),
    "from_segments queries": ("cu_seqlens_q", IndexSet.from_segments),
    "from_segments keys": ("cu_seqlens_k", lambda a: IndexSet.from_segments(ZEROS, a)),
    "with_order": ("order", lambda a: fc.pattern("window").index_set(2).with_order(a)),
    "hilbert_encode": ("coords", lambda a: curves.hilbert_encode(a, 4)),
    "morton_encode": ("coords", lambda a: curves.morton_encode(a, 4)),
    "hilbert_decode": ("index", lambda a: curves.hilbert_decode(a, 4)),
    "morton_decode": ("index", lambda a: curves.morton_decode(a, 4)),
}


@pytest.mark.parametrize("value", [HUGE, 2**63, 2**63 + 1, 2**64 - 2**31])
@pytest.mark.parametrize(("argument", "call"), CALLS.values(), ids=CALLS)
def test_values_beyond_int64_are_refused(argument, call, value):
    with pytest.raises(InvalidArgumentError) as caught:
        call(np.array([0, value], dtype=np.uint64))
    assert caught.value.argument == argument
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "call"), [item for item in CALLS.values() if item[0] in {"indices", "starts", "lengths"}]
)
def test_values_beyond_int32_are_refused(argument, call):
    for value in (2**32, 2**32 + 1, 2**31):
        with pytest.raises(InvalidArgumentError, match=argument):
            call(np.array([0, value], dtype=np.int64))


def test_refusals_speak_no_rust():
    for call in (
        lambda: IndexSet.from_csr([1, 2], [0, 1], 4),
        lambda: IndexSet.from_runs([1, 2], [0, 1], [1, 1], 4),
    ):
        with pytest.raises(InvalidArgumentError, match="first entry of 1") as caught:
            call()
        assert "Some" not in str(caught.value)


ENORMOUS = 10**5000
POINTS = np.zeros(3, complex)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("c", lambda: fc.fields.julia_escape(POINTS, ENORMOUS)),
        ("radius", lambda: fc.fields.julia_escape(POINTS, 0j, radius=ENORMOUS)),
        ("max_iter", lambda: fc.fields.julia_escape(POINTS, 0j, max_iter=ENORMOUS)),
        ("smoothness", lambda: fc.fields.julia_soft_escape(POINTS, 0j, smoothness=ENORMOUS)),
        ("extent", lambda: fc.fields.grid((3, 3), (ENORMOUS, 1, 2, 3))),
        ("c", lambda: fc.pattern("julia", c=ENORMOUS)),
        ("radius", lambda: fc.pattern("window", radius=ENORMOUS)),
        ("n_queries", lambda: fc.pattern("window").index_set(ENORMOUS)),
    ],
)
def test_a_number_that_nothing_holds_is_refused_by_name(argument, call):
    with pytest.raises(fc.errors.FractalError, match=f"^{argument}: got "):
        call()


def test_a_scale_that_nothing_holds_is_refused_by_name():
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    q = torch.ones(1, 1, 8, 4)
    with pytest.raises(fc.errors.FractalError, match=r"^scale: got "):
        fc.nn.sparse_attention(q, q, q, fc.pattern("window").index_set(8), scale=ENORMOUS)
    with pytest.raises(fc.errors.FractalError, match=r"^embed_dim: got "):
        fc.nn.FractalAttention(ENORMOUS, 1, "window")
