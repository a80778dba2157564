"""Copies and pickles of index sets: rows, form, order, q_offset and memory stay."""

from __future__ import annotations

import ast
import copy
import multiprocessing
import os
import pickle

import fractal_core as fc
import numpy as np
import pytest
from fractal_core.errors import FractalError, InvalidArgumentError, ShapeError
from fractal_core.index_sets.travel import restore, state

SETS = {
    "offsets": lambda: fc.IndexSet.from_offsets([0, 1, 5, -2], 40, 50, 3),
    "offsets transposed": lambda: fc.IndexSet.from_offsets([0, 1, 5], 40, 50, 3).transpose(),
    "offsets of some rows": lambda: fc.IndexSet.from_offsets([0, 1, 5], 40, 50, 3).rows(7, 20),
    "no offsets": lambda: fc.IndexSet.from_offsets(np.zeros(0, np.int64), 4),
    "runs": lambda: fc.IndexSet.from_segments([0, 10, 25, 40], causal=True),
    "runs of one key": lambda: fc.IndexSet.from_runs([0, 2, 2, 3], [0, 2, 1], [1, 1, 1], 5),
    "runs of some rows": lambda: fc.IndexSet.from_segments([0, 10, 25, 40]).rows(8, 30),
    "listed": lambda: fc.IndexSet.from_mask(np.random.default_rng(0).random((30, 40)) < 0.2),
    "listed transposed": lambda: fc.IndexSet.from_segments([0, 10, 25, 40]).transpose(),
    "no pairs": lambda: fc.IndexSet.from_csr([0, 0, 0], np.zeros(0, np.int32), 3),
    "ordered": lambda: fc.pattern("hilbert").index_set(64),
    "ordered offsets": lambda: fc.IndexSet.from_offsets([0, 1], 6).with_order([5, 0, 4, 1, 3, 2]),
}


def assert_same(got: fc.IndexSet, expected: fc.IndexSet) -> None:
    assert got == expected
    assert got.shape == expected.shape
    assert got.q_offset == expected.q_offset
    for one, other in (
        (got.offsets, expected.offsets),
        (got.order, expected.order),
        *zip(got.runs or (None,), expected.runs or (None,), strict=True),
    ):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_keep_every_form(name: str, protocol: int) -> None:
    index_set = SETS[name]()
    assert_same(pickle.loads(pickle.dumps(index_set, protocol)), index_set)


@pytest.mark.parametrize("name", SETS)
def test_copies_keep_every_form(name: str) -> None:
    index_set = SETS[name]()
    assert_same(copy.copy(index_set), index_set)
    assert_same(copy.deepcopy({"set": [index_set]})["set"][0], index_set)


def test_pickles_of_offsets_and_runs_do_not_grow_with_their_pairs() -> None:
    assert len(pickle.dumps(fc.IndexSet.from_offsets([0, 1, 2], 10**9))) < 400
    runs = fc.IndexSet.from_segments([0, 5000])
    assert len(pickle.dumps(runs)) < 16 * 5000 + 1000
    listed = fc.IndexSet.from_mask(np.ones((100, 100), bool))
    assert len(pickle.dumps(listed)) < 4 * listed.nnz + 8 * 101 + 1000


def test_a_spawned_process_gets_and_gives_sets() -> None:
    sets = [make() for make in SETS.values()]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for got, expected in zip(pool.map(copy.copy, sets), sets, strict=True):
            assert_same(got, expected)


@pytest.mark.parametrize("change", [
    {0: "rows"}, {1: 41}, {2: -1}, {3: 2**50}, {4: ()}, {4: (b"123",)}, {5: b"\0" * 3}, {5: b"\xff" * 160}, {5: b""},
])  # fmt: skip
def test_a_broken_pickle_of_offsets_is_refused(change: dict[int, object]) -> None:
    given = list(state(SETS["offsets"]()))
    if 1 in change:
        given = list(state(SETS["listed"]()))
    for place, value in change.items():
        given[place] = value
    with pytest.raises(FractalError):
        restore(fc.IndexSet, tuple(given))  # pyright: ignore[reportArgumentType]


def test_a_broken_pickle_of_rows_is_refused() -> None:
    form, n_queries, n_keys, q_offset, (indptr, indices), order = state(SETS["listed"]())
    with pytest.raises(InvalidArgumentError, match="indices"):
        restore(fc.IndexSet, (form, n_queries, n_keys, q_offset, (indptr, bytes(len(indices))), order))
    form, n_queries, n_keys, q_offset, (indptr, runs), order = state(SETS["runs"]())
    with pytest.raises(ShapeError, match="arrays"):
        restore(fc.IndexSet, (form, n_queries, n_keys, q_offset, (indptr, runs[:-4]), order))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_draws_other_keys():
    read, write = os.pipe()
    first = fc.pattern("window", radius=2).index_set(8)
    child = os.fork()
    made = [fc.pattern("window", radius=2).index_set(8) for _ in range(4)]
    keys = [int(s.handle[0]) for s in made]
    if child == 0:
        os.write(write, repr([*keys, int(first.handle[0])]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    *theirs, shared = ast.literal_eval(os.read(read, 1000).decode())
    assert shared == int(first.handle[0])
    assert not set(theirs) & set(keys)
