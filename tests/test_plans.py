"""Plans as arrays: in plain NumPy they give back the set's rows and its attention, and they are views."""

import fractal_core as fc
import numpy as np
import pytest
from fractal_core.index_sets import IndexSet

N = 150


def mask(rng, n=N, m=N):
    return rng.random((n, m)) < 0.1


def front_ends():
    """A set by every front end, and by patterns with forms of their own."""
    rng = np.random.default_rng(0)
    lists = np.sort(np.argsort(rng.random((N, N)), axis=1)[:, :7], axis=1)
    lists[3] = -1
    return {
        "csr": IndexSet.from_mask(mask(rng)).with_order(rng.permutation(N)),
        "offsets": IndexSet.from_offsets([-40, -3, 0, 1, 2, 3, 5, 90], N, N + 30, 17),
        "few offsets": IndexSet.from_offsets([0, 77], N, N),
        "mask": IndexSet.from_mask(mask(rng, N, 70)),
        "padded": IndexSet.from_padded(lists, N),
        "runs": IndexSet.from_runs([0, 2, 2, 3], [0, 40, 5], [30, 2, 60], 100),
        "segments": IndexSet.from_segments([0, 33, 34, 90, N], causal=True),
        "blocks": IndexSet.from_blocks(rng.random((10, 10)) < 0.3, 8),
        "window": fc.pattern("window", radius=20).index_set(N, causal=True),
        "ladder": fc.pattern("window|cantor").index_set(40, N, causal=True),
        "neighborhood": fc.pattern("neighborhood", shape=(10, 15), kernel_size=5).index_set(N),
        "random": fc.pattern("random", k=9).index_set(N),
        "one query": fc.pattern("window").index_set(1, N, causal=True),
        "no keys": IndexSet.from_csr([0, 0, 0], [], 5),
    }


SETS = front_ends()


def entries(plan, tile):
    """(key, mask) of a tile, runs written out."""
    first, last = (0, plan.tile_keys.size) if plan.tile_ptr is None else map(int, plan.tile_ptr[tile : tile + 2])
    base = 0 if plan.tile_ptr is not None else 16 * tile + plan.q_offset
    at = first
    while at < last:
        key, used = int(plan.tile_keys[at]) + base, int(plan.tile_masks[at])
        if used:
            yield key, used
            at += 1
        else:
            length, used = int(plan.tile_keys[at + 1]), int(plan.tile_masks[at + 1])
            yield from ((key + i, used) for i in range(length))
            at += 2


def rows(plan):
    """The keys of each query, out of tiles and rows."""
    found = [[] for _ in range(plan.n_queries)]
    order = range(plan.n_queries) if plan.order is None else plan.order
    for position, query in enumerate(order):
        tile, lane = divmod(position, 16)
        keys = [key for key, used in entries(plan, tile) if used >> lane & 1]
        if plan.form == "listed":
            keys += plan.row_keys[slice(*map(int, plan.row_ptr[position : position + 2]))].tolist()
        else:
            offsets = plan.row_offsets[slice(*map(int, plan.row_ptr[lane : lane + 2]))]
            keys += (position + plan.q_offset - offsets).tolist()
        found[query] = [key for key in keys if 0 <= key < plan.n_keys]
    return found


@pytest.mark.parametrize("name", SETS)
def test_tiles_and_rows_are_the_set(name):
    found = rows(SETS[name].plan())
    indptr, indices = SETS[name].indptr, SETS[name].indices
    for query, keys in enumerate(found):
        assert sorted(keys) == indices[indptr[query] : indptr[query + 1]].tolist()


@pytest.mark.parametrize("name", SETS)
def test_the_transpose_has_the_row_edges_of_each_key(name):
    plan = SETS[name].plan()
    got, want = set(), set()
    order = range(plan.n_queries) if plan.order is None else plan.order
    if plan.form == "listed":
        for key in range(plan.n_keys):
            for query, edge in plan.key_edges[slice(*map(int, plan.key_ptr[key : key + 2]))].tolist():
                got.add((query, key, edge))
        for position, query in enumerate(order):
            for edge in range(*map(int, plan.row_ptr[position : position + 2])):
                want.add((int(query), int(plan.row_keys[edge]), edge))
    else:
        for key in range(plan.n_keys):
            part = slice(*map(int, plan.residue_ptr[(key - plan.q_offset) % 16 :][:2]))
            for offset, slot in zip(plan.residue_offsets[part], plan.residue_slots[part], strict=True):
                query = int(key - plan.q_offset + offset)
                if 0 <= query < plan.n_queries:
                    got.add((query, key, query // 16 * plan.row_offsets.size + int(slot)))
        for query in order:
            part = slice(*map(int, plan.row_ptr[query % 16 :][:2]))
            for offset, slot in zip(plan.row_offsets[part], plan.row_slots[part], strict=True):
                key = int(query + plan.q_offset - offset)
                if 0 <= key < plan.n_keys:
                    want.add((query, key, query // 16 * plan.row_offsets.size + int(slot)))
    assert got == want


@pytest.mark.parametrize("name", SETS)
def test_plain_attention_over_the_arrays_equals_the_kernel(name):
    made = SETS[name]
    rng = np.random.default_rng(1)
    q, k, v = rng.normal(size=(made.n_queries, 8)), *rng.normal(size=(2, made.n_keys, 8))
    want = np.zeros_like(q)
    for query, keys in enumerate(rows(made.plan())):
        if keys:
            scores = k[keys] @ q[query] / np.sqrt(8)
            weights = np.exp(scores - scores.max())
            want[query] = weights @ v[keys] / weights.sum()
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    got = fc.nn.sparse_attention(*(torch.from_numpy(x)[None, None] for x in (q, k, v)), made)
    np.testing.assert_allclose(got[0, 0], want, atol=1e-12)


@pytest.mark.parametrize("name", SETS)
def test_the_arrays_are_views_of_the_same_memory(name):
    one, other = SETS[name].plan(), SETS[name].plan()
    arrays = one.arrays()
    assert len(arrays) >= 7
    for key, array in arrays.items():
        again = other.arrays()[key]
        assert not array.flags.writeable
        assert not array.flags.owndata
        assert array.__array_interface__["data"][0] == again.__array_interface__["data"][0]
        base = array
        while isinstance(base, np.ndarray):
            base = base.base
        assert type(base).__name__ == "IndexSet"


def test_the_arrays_keep_the_set_alive():
    keys = fc.pattern("random", k=9).index_set(3000).plan().row_keys
    copy = keys.copy()
    for seed in range(20):
        fc.pattern("random", k=9, seed=seed).index_set(3000).plan()
    assert (keys == copy).all()


def test_repr():
    assert repr(SETS["window"].plan()).startswith("Plan(shifted, 150 x 150, 10 tiles, ")
