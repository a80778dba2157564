"""`CurveNeighbors`: which keys its lists hold, their causality, and what it refuses."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn import CurveNeighbors

N, C = 60, 5


def points(n=N, width=C, seed=0, batch=2, groups=1):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, groups, n, width, generator=g) for _ in range(2)]


def sets(lists):
    return [[{int(key) for key in row if key >= 0} for row in rows] for rows in lists.flatten(0, 1)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", [1, 3, 17, N])
def test_window_and_global_tokens_are_in_every_list(n, causal):
    lists = CurveNeighbors(neighbors=4, window=2, global_tokens=3).lists(*points(n), causal=causal)
    assert lists.shape[:3] == (2, 1, n)
    for rows in sets(lists):
        for i, keys in enumerate(rows):
            near = set(range(max(0, i - 2), min(n, i + 1 + (0 if causal else 2))))
            first = {key for key in range(min(3, n)) if key <= i or not causal}
            assert near | first <= keys
            assert len(keys) <= len(near | first) + 4
            assert all(0 <= key < n and (key <= i or not causal) for key in keys)


def test_every_key_is_listed_once():
    lists = CurveNeighbors(neighbors=20, window=9, global_tokens=9).lists(*points())
    for rows in lists.flatten(0, 2):
        keys = rows[rows >= 0]
        assert len(keys.unique()) == len(keys)
    assert fc.IndexSet.from_padded(lists[0, 0].numpy(), N).n_queries == N


def test_neighbours_are_those_around_the_own_cell():
    """On a line the curve is the line: the neighbours are the nearest by rank."""
    e, r = points(width=1)
    lists = CurveNeighbors(neighbors=6, window=0, global_tokens=0, axes=1, bits=40).lists(e, r)
    for entry in range(2):
        line, places = np.sort(r[entry, 0, :, 0].double().numpy()), e[entry, 0, :, 0].double().numpy()
        order = np.argsort(r[entry, 0, :, 0].numpy())
        for i, keys in enumerate(sets(lists[entry : entry + 1])[0]):
            at = np.clip(np.searchsorted(line, places[i]), 3, N - 3)
            near = {int(key) for s in (-1, 0, 1) for key in order[max(0, at - 3 + s) : at + 3 + s]}
            assert len(keys - {i} & near) >= 5


def test_points_of_clusters_find_their_own():
    """Two far clusters: only where one ends on the curve are neighbours of the other."""
    side = torch.arange(N) % 2
    x = torch.randn(1, 1, N, 8, generator=torch.Generator().manual_seed(3)) + 50.0 * side[:, None]
    lists = CurveNeighbors(neighbors=8, window=0, global_tokens=0).lists(x, x)
    own = [float(side[key] == side[i]) for i, keys in enumerate(sets(lists)[0]) for key in keys]
    assert sum(own) / len(own) > 0.9


@pytest.mark.parametrize("curve", ["hilbert", "morton"])
def test_nothing_later_changes_causal_lists(curve):
    chosen = CurveNeighbors(neighbors=6, window=1, blocks=8, curve=curve)
    e, r = points()
    want = chosen.lists(e, r, causal=True)
    e[:, :, 30:], r[:, :, 30:] = 100.0, -7.0
    assert torch.equal(chosen.lists(e, r, causal=True)[:, :, :30], want[:, :, :30])


def test_batch_mates_do_not_matter():
    e, r = points()
    alone = CurveNeighbors().lists(e[1:], r[1:])
    assert torch.equal(CurveNeighbors().lists(e, r)[1:], alone)


def test_points_in_one_place():
    x = torch.zeros(1, 1, 9, 3)
    assert len(sets(CurveNeighbors(neighbors=4, window=0, global_tokens=0).lists(x, x))[0][5]) >= 4


@pytest.mark.parametrize(("batch", "n"), [(0, 5), (2, 0)])
def test_sizes_of_0(batch, n):
    lists = CurveNeighbors().lists(*points(n, batch=batch))
    assert lists.shape[:3] == (batch, 1, n)


@pytest.mark.parametrize(
    ("argument", "error", "wrong"),
    [
        ("neighbors", InvalidArgumentError, lambda: CurveNeighbors(neighbors=-1)),
        ("window", DTypeError, lambda: CurveNeighbors(window=1.5)),
        ("axes", InvalidArgumentError, lambda: CurveNeighbors(axes=7)),
        ("bits", InvalidArgumentError, lambda: CurveNeighbors(axes=6, bits=11)),
        ("curve", InvalidArgumentError, lambda: CurveNeighbors(curve="peano")),
        ("blocks", InvalidArgumentError, lambda: CurveNeighbors(blocks=0)),
        ("e", DTypeError, lambda: CurveNeighbors().lists(1, 2)),
        ("e", ShapeError, lambda: CurveNeighbors().lists(torch.zeros(3, 4), torch.zeros(3, 4))),
        ("r", ShapeError, lambda: CurveNeighbors().lists(torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 4, 4))),
        ("causal", DTypeError, lambda: CurveNeighbors().lists(*points(), causal=1)),
    ],
)
def test_wrong_calls(argument, error, wrong):
    with pytest.raises(error) as caught:
        wrong()
    assert caught.value.argument == argument
