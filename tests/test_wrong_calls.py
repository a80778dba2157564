"""Wrong calls: each gives the typed error with the argument's name, and the process lives."""

import fractal_core as fc
import numpy as np
import pytest
from fractal_core import IndexSet
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, KeyIndexError, PluginError, ShapeError


def ok():
    return IndexSet.from_offsets([0, 1], 4)


INDEX_SETS = [
    ("indptr", InvalidArgumentError, lambda: IndexSet.from_csr([1, 2], [0, 0], 3)),
    ("indptr", InvalidArgumentError, lambda: IndexSet.from_csr([0, 2, 1], [0, 1], 3)),
    ("indptr", ShapeError, lambda: IndexSet.from_csr([0, 3], [0, 1], 3)),
    ("indptr", ShapeError, lambda: IndexSet.from_csr([], [], 3)),
    ("indptr", ShapeError, lambda: IndexSet.from_csr([[0, 1]], [0], 3)),
    ("indptr", DTypeError, lambda: IndexSet.from_csr([0.0, 1.0], [0], 3)),
    ("indices", InvalidArgumentError, lambda: IndexSet.from_csr([0, 2], [1, 0], 3)),
    ("indices", InvalidArgumentError, lambda: IndexSet.from_csr([0, 2], [1, 1], 3)),
    ("indices", KeyIndexError, lambda: IndexSet.from_csr([0, 1], [3], 3)),
    ("indices", KeyIndexError, lambda: IndexSet.from_csr([0, 1], [-1], 3)),
    ("indices", KeyIndexError, lambda: IndexSet.from_csr([0, 1], [2**32], 3)),
    ("indices", KeyIndexError, lambda: IndexSet.from_csr([0, 1], np.array([7], np.int32), 3)),
    ("indices", DTypeError, lambda: IndexSet.from_csr([0, 1], np.array([True]), 3)),
    ("n_keys", InvalidArgumentError, lambda: IndexSet.from_csr([0, 0], [], -1)),
    ("n_keys", InvalidArgumentError, lambda: IndexSet.from_csr([0, 0], [], 2**31)),
    ("n_keys", DTypeError, lambda: IndexSet.from_csr([0, 0], [], 2.5)),
    ("offsets", InvalidArgumentError, lambda: IndexSet.from_offsets([1, 1], 4)),
    ("offsets", InvalidArgumentError, lambda: IndexSet.from_offsets([-(2**63)], 4)),
    ("offsets", InvalidArgumentError, lambda: IndexSet.from_offsets(np.array([2**64 - 1], np.uint64), 4)),
    ("offsets", DTypeError, lambda: IndexSet.from_offsets([0.5], 4)),
    ("offsets", ShapeError, lambda: IndexSet.from_offsets(3, 4)),
    ("n", InvalidArgumentError, lambda: IndexSet.from_offsets([0], -1)),
    ("n", InvalidArgumentError, lambda: IndexSet.from_offsets([0], -3)),
    ("n", DTypeError, lambda: IndexSet.from_offsets([0], True)),
    ("q_offset", InvalidArgumentError, lambda: IndexSet.from_offsets([0], 4, q_offset=2**62)),
    ("mask", DTypeError, lambda: IndexSet.from_mask(np.ones((2, 2)))),
    ("mask", ShapeError, lambda: IndexSet.from_mask(np.ones(3, dtype=bool))),
    ("mask", ShapeError, lambda: IndexSet.from_mask(np.ones((1, 2, 3), dtype=bool))),
    ("indices", KeyIndexError, lambda: IndexSet.from_padded([[0, 5]], 5)),
    ("indices", KeyIndexError, lambda: IndexSet.from_padded([[0, -2]], 5)),
    ("indices", InvalidArgumentError, lambda: IndexSet.from_padded([[3, -1, 3]], 5)),
    ("indices", ShapeError, lambda: IndexSet.from_padded([1, 2], 5)),
    ("indices", ShapeError, lambda: IndexSet.from_padded(np.zeros((3, 1, 2), int), 5)),
    ("indices", DTypeError, lambda: IndexSet.from_padded([[0.0]], 5)),
    ("other", ShapeError, lambda: ok() | IndexSet.from_offsets([0], 5)),
    ("other", ShapeError, lambda: ok() & IndexSet.from_offsets([0], 4, 5)),
    ("other", DTypeError, lambda: ok() | np.eye(4, dtype=bool)),
    ("rows", KeyIndexError, lambda: ok().rows(2, 5)),
    ("rows", KeyIndexError, lambda: ok().rows(3, 2)),
    ("start", InvalidArgumentError, lambda: ok().rows(-1, 2)),
    ("prefix", KeyIndexError, lambda: ok().prefix(5)),
    ("order", ShapeError, lambda: ok().with_order([0, 1])),
    ("order", InvalidArgumentError, lambda: ok().with_order([0, 1, 1, 3])),
    ("order", KeyIndexError, lambda: ok().with_order([0, 1, 2, 4])),
    ("order", KeyIndexError, lambda: ok().with_order([0, 1, 2, -1])),
    ("layers", InvalidArgumentError, lambda: ok().reach(0)),
    ("index_set", ShapeError, lambda: IndexSet.from_offsets([0], 4, 5).reach()),
    ("native", DTypeError, lambda: IndexSet([[0]])),
    ("block_size", InvalidArgumentError, lambda: ok().to_block_mask(block_size=0)),
]

PATTERNS = [
    ("radius", InvalidArgumentError, lambda: fc.pattern("window", radius=-1)),
    ("radius", DTypeError, lambda: fc.pattern("window", radius=1.5)),
    ("radius", DTypeError, lambda: fc.pattern("window", radius="wide")),
    ("width", InvalidArgumentError, lambda: fc.pattern("window", width=3)),
    ("base", InvalidArgumentError, lambda: fc.pattern("cantor", base=1)),
    ("digits", InvalidArgumentError, lambda: fc.pattern("cantor", digits=(0, 3))),
    ("digits", InvalidArgumentError, lambda: fc.pattern("cantor", digits=(1, 2))),
    ("digits", InvalidArgumentError, lambda: fc.pattern("cantor", digits=())),
    ("digits", InvalidArgumentError, lambda: fc.pattern("cantor", digits=(0, 1, 1))),
    ("digits", DTypeError, lambda: fc.pattern("cantor", digits=7)),
    ("depth", InvalidArgumentError, lambda: fc.pattern("cantor_samples", depth=17)),
    ("window", InvalidArgumentError, lambda: fc.pattern("hilbert", window=4)),
    ("window", InvalidArgumentError, lambda: fc.pattern("hilbert", window=-7)),
    ("shape", ShapeError, lambda: fc.pattern("hilbert", shape=(2, 2, 2, 2))),
    ("shape", ShapeError, lambda: fc.pattern("hilbert", shape=(2**20, 2**20))),
    ("shape", InvalidArgumentError, lambda: fc.pattern("hilbert", shape=(0, 4))),
    ("shape", DTypeError, lambda: fc.pattern("hilbert", shape=4)),
    ("n_keys", ShapeError, lambda: fc.pattern("hilbert", shape=(3, 3)).index_set(8)),
    ("radius", InvalidArgumentError, lambda: fc.pattern("dragon", radius=-1)),
    ("c", InvalidArgumentError, lambda: fc.pattern("julia", c=complex("nan"))),
    ("c", InvalidArgumentError, lambda: fc.pattern("julia", c=3j)),
    ("c", DTypeError, lambda: fc.pattern("julia", c="0.3")),
    ("max_iter", InvalidArgumentError, lambda: fc.pattern("julia", max_iter=0)),
    ("k", InvalidArgumentError, lambda: fc.pattern("random", k=-1)),
    ("seed", InvalidArgumentError, lambda: fc.pattern("random", seed=-1)),
    ("seed", InvalidArgumentError, lambda: fc.pattern("random", seed=2**64)),
    ("n_queries", InvalidArgumentError, lambda: fc.pattern("window").index_set(0)),
    ("n_queries", InvalidArgumentError, lambda: fc.pattern("window").index_set(5, 4)),
    ("n_queries", DTypeError, lambda: fc.pattern("window").index_set(4.0)),
    ("n_keys", InvalidArgumentError, lambda: fc.pattern("window").index_set(4, 2**31)),
    ("other", DTypeError, lambda: fc.pattern("window") | "cantor"),
    ("text", InvalidArgumentError, lambda: fc.patterns.parse("window:radius")),
    ("text", DTypeError, lambda: fc.patterns.parse(3)),
    ("name", DTypeError, lambda: fc.pattern(None)),
    ("unknown pattern", PluginError, lambda: fc.pattern("mandala")),
]

WRONG = [*INDEX_SETS, *PATTERNS]


@pytest.mark.parametrize(
    ("argument", "kind", "call"), WRONG, ids=[f"{n}-{argument}" for n, (argument, *_) in enumerate(WRONG)]
)
def test_wrong_call(argument, kind, call):
    with pytest.raises(kind, match=rf"^{argument}") as caught:
        call()
    assert type(caught.value) is kind
    assert isinstance(caught.value, FractalError)
    if not isinstance(caught.value, PluginError):
        assert caught.value.argument == argument
        assert str(caught.value) == f"{argument}: got {caught.value.given}; allowed: {caught.value.allowed}"
