"""Sizes of 0: batch, heads, queries, keys, edges. What torch's own attention gives there, with zero gradients."""

from __future__ import annotations

import itertools
import pickle

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError

# batch, heads, key heads, queries, keys
SIZES = [
    sizes
    for sizes in itertools.product((0, 2), (0, 4), (0, 2, 4), (0, 1, 3), (0, 5))
    if 0 in sizes and not (sizes[2] == 0 and sizes[1] > 0)
]


def tensors(batch, heads, kv_heads, n_queries, n_keys, dtype=torch.float64, dim=6, value_dim=3):
    shapes = [(batch, heads, n_queries, dim), (batch, kv_heads, n_keys, dim), (batch, kv_heads, n_keys, value_dim)]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def all_pairs(n_queries, n_keys):
    return fc.IndexSet.from_mask(np.ones((n_queries, n_keys), dtype=bool))


def are_zero(*given):
    return all(t.grad is not None and t.grad.shape == t.shape and not t.grad.any() for t in given)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_attention_is_torchs(sizes, dtype):
    batch, heads, kv_heads, n_queries, n_keys = sizes
    q, k, v = tensors(*sizes, dtype=dtype)
    bias = torch.randn(batch, heads, n_keys, requires_grad=True)
    padding = torch.zeros(batch, n_keys, dtype=torch.bool)
    index_set = all_pairs(n_queries, n_keys)
    edge_bias = torch.randn(heads, index_set.nnz, requires_grad=True)
    out, lse = fc.nn.sparse_attention(
        q, k, v, index_set, bias=bias, edge_bias=edge_bias, key_padding_mask=padding, dropout_p=0.1, return_lse=True
    )
    assert (out.shape, out.dtype) == ((batch, heads, n_queries, 3), dtype)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    assert (lse.shape, lse.dtype) == ((batch, heads, n_queries), exact)
    assert (lse == -torch.inf).all()
    (out.sum() + lse.exp().sum()).backward()
    assert are_zero(q, k, v, bias, edge_bias)
    if kv_heads:
        repeated = (t.detach().repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        expected = torch.nn.functional.scaled_dot_product_attention(q.detach(), *repeated)
        torch.testing.assert_close(out.detach(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("sizes", SIZES)
def test_statistics(sizes):
    batch, heads, _, n_queries, n_keys = sizes
    q, k, v = tensors(*sizes)
    rows = list(range(n_queries))
    out, stats = fc.nn.sparse_attention(q, k, v, all_pairs(n_queries, n_keys), return_stats=True)
    for got in stats[:3]:
        assert got.shape == (batch, heads, n_queries)
        assert not got.any()
    assert stats.column_mass.shape == (batch, heads, n_keys)
    assert not stats.column_mass.any()
    (out.sum() + stats.entropy.sum() + stats.mean_distance.sum() + stats.column_mass.sum()).backward()
    assert are_zero(q, k, v)
    assert not stats.maximum.requires_grad
    weights = fc.nn.attention_stats(q, k, all_pairs(n_queries, n_keys), rows=rows).weights
    assert weights.weights.shape == (batch, heads, n_queries * n_keys)
    assert weights.rows.tolist() == rows


@pytest.mark.parametrize(
    "lists", [torch.zeros(1, 1, 3, 0, dtype=torch.int64), torch.full((2, 2, 3, 4), -1, dtype=torch.int32)]
)
@pytest.mark.parametrize("n_keys", [0, 5])
def test_lists_without_a_key(lists, n_keys):
    q, k, v = tensors(2, 4, 2, 3, n_keys)
    out, lse = fc.nn.sparse_attention(q, k, v, lists, return_lse=True)
    assert not out.any()
    assert (lse == -torch.inf).all()
    out.sum().backward()
    assert are_zero(q, k, v)


def test_sets_without_an_edge():
    q, k, v = tensors(2, 4, 2, 3, 5)
    edge_bias = torch.zeros(0, requires_grad=True)
    for index_set in (
        fc.IndexSet.from_mask(np.zeros((3, 5), dtype=bool)),
        fc.IndexSet.from_padded(np.zeros((3, 0), dtype=int), 5),
        fc.IndexSet.from_offsets([], 3, 5),
        fc.IndexSet.from_segments([0, 0, 3], [0, 5, 5]),
    ):
        out, lse = fc.nn.sparse_attention(q, k, v, index_set, edge_bias=edge_bias, return_lse=True)
        assert not out.any()
        assert (lse == -torch.inf).all()
        out.sum().backward()
        assert are_zero(q, k, v, edge_bias)
        assert not fc.nn.attention_stats(q, k, index_set).column_mass.any()


@pytest.mark.parametrize("sizes", [(0, 4, 2, 3, 5), (2, 4, 2, 0, 5), (2, 0, 0, 3, 5)])
def test_stacks(sizes):
    batch, heads, _, n_queries, n_keys = sizes
    one, other = all_pairs(3, n_keys), fc.IndexSet.from_offsets([0, 2], 3, n_keys)
    for row in ([one], [one] * 4, [one, other, other, one]):
        if heads or len(row) == 1:
            q, k, v = tensors(*sizes)
            out, lse = fc.nn.sparse_attention(q, k, v, fc.IndexSet.stack([row]), return_lse=True)
            assert (out.shape, lse.shape) == ((batch, heads, n_queries, 3), (batch, heads, n_queries))
            out.sum().backward()
            assert are_zero(q, k, v)


def test_no_queries_of_a_set_that_has_some():
    q, k, v = tensors(2, 4, 2, 0, 5)
    for index_set in (all_pairs(3, 5), fc.pattern("window").index_set(3, 5)):
        for q_offset in (None, 0, 3):
            edge_bias = torch.zeros(index_set.nnz, requires_grad=True)
            out = fc.nn.sparse_attention(q, k, v, index_set, edge_bias=edge_bias, q_offset=q_offset)
            assert out.shape == (2, 4, 0, 3)
            out.sum().backward()
            assert are_zero(edge_bias)


def test_nan_of_a_query_without_keys_stays_where_it_is():
    q, k, v = tensors(2, 4, 2, 3, 0)
    with torch.no_grad():
        q.fill_(torch.nan)
    out = fc.nn.sparse_attention(q, k, v, all_pairs(3, 0))
    out.sum().backward()
    assert not out.any()
    assert are_zero(q)


def test_under_torch_func_autocast_and_the_other_devices():
    q, k, v = (t.detach() for t in tensors(2, 4, 2, 3, 0, dtype=torch.float32))
    index_set = all_pairs(3, 0)

    def total(q, k, v):
        return fc.nn.sparse_attention(q, k, v, index_set).sum()

    grads = torch.func.grad(total, argnums=(0, 1, 2))(q, k, v)
    assert [g.shape for g in grads] == [q.shape, k.shape, v.shape]
    assert not any(g.any() for g in grads)
    mapped = torch.func.vmap(lambda q, k, v: fc.nn.sparse_attention(q[None], k[None], v[None], index_set))(q, k, v)
    assert mapped.shape == (2, 1, 4, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fc.nn.sparse_attention(q, k, v, index_set).dtype == torch.bfloat16
    assert fc.nn.sparse_attention(q, k, v, index_set, device="auto").shape == (2, 4, 3, 3)


def test_compiles_whole_beside_sizes_that_are_not_0():
    index_set = all_pairs(3, 5)
    compiled = torch.compile(
        lambda q, k, v: fc.nn.sparse_attention(q, k, v, index_set) * 2, fullgraph=True, backend="aot_eager"
    )
    for batch in (2, 3, 0, 4):
        q, k, v = tensors(batch, 4, 2, 3, 5)
        got = compiled(q, k, v)
        torch.testing.assert_close(got, fc.nn.sparse_attention(q, k, v, index_set) * 2, rtol=0, atol=0)
        got.sum().backward()
        assert q.grad.shape == q.shape


BOXES = [((2, 0), 1), ((0, 4), 1), ((2, 0, 5), 2), ((2, 4, 0), 2), ((0, 4, 5), 2), ((2, 3, 0, 4), 3), ((0, 0, 0, 0), 3)]


@pytest.mark.parametrize(("shape", "axes"), BOXES)
def test_neighbourhoods(shape, axes):
    function = (fc.nn.na1d, fc.nn.na2d, fc.nn.na3d)[axes - 1]
    q, k, v = (torch.randn(*shape, *size, requires_grad=True) for size in ((4, 6), (2, 6), (2, 3)))
    out = function(q, k, v, 3)
    assert out.shape == (*shape, 4, 3)
    out.sum().backward()
    assert are_zero(q, k, v)
    with pytest.raises(InvalidArgumentError, match=r"^stride"):
        function(q, k, v, 3, stride=4)
    with pytest.raises(DTypeError, match=r"^is_causal"):
        function(q, k, v, 3, is_causal=1)


def test_neighbourhoods_without_a_batch_are_checked_against_their_box():
    q = torch.zeros(0, 6, 8, 2, 4)
    with pytest.raises(InvalidArgumentError, match=r"^kernel_size"):
        fc.nn.na2d(q, q, q, 7)
    assert fc.nn.na2d(q[:, :, :0], q[:, :, :0], q[:, :, :0], (6, 99)).shape == (0, 6, 0, 2, 4)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("batch", "length"), [(0, 5), (2, 0), (0, 0)])
def test_layer(batch, length, causal):
    layer = fc.nn.FractalAttention(12, 3, "window", causal=causal, num_kv_heads=1, dropout=0.1)
    x = torch.randn(batch, length, 12, requires_grad=True)
    out = layer(x, key_padding_mask=torch.zeros(batch, length, dtype=torch.bool))
    assert out.shape == x.shape
    out.sum().backward()
    assert are_zero(x, *layer.parameters())


def test_a_cache_takes_no_tokens():
    layer = fc.nn.FractalAttention(12, 3, "window", causal=True)
    x, cache = torch.randn(2, 6, 12), fc.nn.KeyValueCache()
    parts = [layer(part, cache=cache) for part in (x[:, :0], x[:, :4], x[:, 4:4], x[:, 4:])]
    torch.testing.assert_close(torch.cat(parts, 1), layer(x), rtol=0, atol=1e-6)
    assert len(cache) == 6
    with pytest.raises(ShapeError, match=r"^cache"):
        layer(x[:1, :0], cache=cache)


MODULES = {
    "HilbertCurveAttention": lambda batch, n_queries: (torch.zeros(batch, n_queries, dtype=torch.int64),),
    "CantorSetAttention": lambda *_: (0.5,),
    "DragonCurveAttention": lambda *_: (),
    "JuliaSetAttention": lambda *_: (),
    "UnifiedFractalAttention": lambda *_: (0.5,),
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(("batch", "n_queries", "n_keys"), [(0, 1, 16), (0, 3, 16), (2, 0, 16), (2, 3, 0), (2, 1, 0)])
def test_tutorials_modules(name, batch, n_queries, n_keys):
    module = getattr(fc.nn, name)(fc.nn.FractalConfig())
    shapes = ((batch, n_queries, 8), (batch, n_keys, 8), (batch, n_keys, 4))
    q, k, v = (torch.randn(shape, requires_grad=True) for shape in shapes)
    rest = MODULES[name](batch, n_queries)
    if name == "HilbertCurveAttention" and n_keys == 0:
        with pytest.raises(KeyIndexError, match=r"^query_pos"):
            module(q, k, v, *rest)
        return
    out = module(q, k, v, *rest)
    assert out.shape == ((batch, 4) if n_queries == 1 else (batch, n_queries, 4))
    out.sum().backward()
    assert are_zero(q, k, v, *module.parameters())


def test_short_form_needs_a_token():
    module = fc.nn.UnifiedFractalAttention(fc.nn.FractalConfig())
    assert module(torch.zeros(0, 16, 8), torch.zeros(0)).shape == (0, 8)
    with pytest.raises(ShapeError, match=r"^query"):
        module(torch.zeros(2, 0, 8), 0.5)


SETS = {
    "csr without queries": lambda: fc.IndexSet.from_csr([0], [], 3),
    "csr without keys": lambda: fc.IndexSet.from_csr([0, 0, 0], [], 0),
    "csr without both": lambda: fc.IndexSet.from_csr([0], [], 0),
    "mask without queries": lambda: fc.IndexSet.from_mask(np.zeros((0, 3), dtype=bool)),
    "mask without keys": lambda: fc.IndexSet.from_mask(np.zeros((3, 0), dtype=bool)),
    "lists without queries": lambda: fc.IndexSet.from_padded(np.zeros((0, 2), dtype=int), 3),
    "lists without keys": lambda: fc.IndexSet.from_padded(np.full((3, 2), -1), 0),
    "lists without width": lambda: fc.IndexSet.from_padded(np.zeros((3, 0), dtype=int), 3),
    "offsets without queries": lambda: fc.IndexSet.from_offsets([0, 1], 0, 3),
    "offsets without keys": lambda: fc.IndexSet.from_offsets([0, 1], 3, 0),
    "offsets without both": lambda: fc.IndexSet.from_offsets([0, 1], 0),
    "runs without queries": lambda: fc.IndexSet.from_runs([0], [], [], 3),
    "runs without keys": lambda: fc.IndexSet.from_runs([0, 0], [], [], 0),
    "segments without queries": lambda: fc.IndexSet.from_segments([0, 0], [0, 3], causal=True),
    "segments without keys": lambda: fc.IndexSet.from_segments([0, 2, 3], [0, 0, 0]),
    "segments without both": lambda: fc.IndexSet.from_segments([0]),
    "blocks without queries": lambda: fc.IndexSet.from_blocks(np.zeros((0, 2), dtype=bool), 2),
    "blocks without keys": lambda: fc.IndexSet.from_blocks(np.zeros((2, 0), dtype=bool), (2, 3), n_queries=3),
    "rows without queries": lambda: fc.pattern("window").index_set(5).rows(2, 2),
    "prefix of nothing": lambda: fc.pattern("window").index_set(5).prefix(0),
}


@pytest.mark.parametrize("make", SETS.values(), ids=SETS)
def test_sets(make):
    index_set = make()
    shape = index_set.shape
    assert 0 in shape or index_set.nnz == 0
    assert index_set.nnz == 0 == len(index_set.indices)
    assert index_set.indptr.tolist() == [0] * (shape[0] + 1)
    assert index_set.to_mask().shape == shape
    assert len(index_set.to_padded()) == shape[0]
    assert index_set.transpose().shape == shape[::-1]
    assert index_set | index_set == index_set & index_set == index_set.causal() == index_set
    assert pickle.loads(pickle.dumps(index_set)) == index_set
    assert index_set.with_order(np.arange(shape[0])) == index_set
    assert index_set.rows(0, 0).shape == (0, shape[1])
    assert index_set.report(predict=True).edges == 0
    assert index_set.plan() is not None
    if shape == (0, 0):
        assert index_set.reach().shares == ()
    q, k, v = tensors(1, 2, 1, *shape)
    assert fc.nn.sparse_attention(q, k, v, index_set).shape == (1, 2, shape[0], 3)


def test_what_is_still_refused():
    q, k, v = tensors(2, 4, 2, 3, 5)
    index_set, nothing = all_pairs(3, 5), all_pairs(3, 0)
    wrong = [
        ("q", ShapeError, lambda: fc.nn.sparse_attention(q[..., :0], k[..., :0], v, index_set)),
        ("v", ShapeError, lambda: fc.nn.sparse_attention(q, k, v[..., :0], index_set)),
        ("k", ShapeError, lambda: fc.nn.sparse_attention(q, k[:, :0], v[:, :0], index_set)),
        ("k", ShapeError, lambda: fc.nn.sparse_attention(q, k[:0], v[:0], index_set)),
        ("v", ShapeError, lambda: fc.nn.sparse_attention(q, k, v[:, :, :0], index_set)),
        ("index_set", ShapeError, lambda: fc.nn.sparse_attention(q, k, v, nothing)),
        ("index_set", ShapeError, lambda: fc.nn.sparse_attention(q, k[:, :, :0], v[:, :, :0], index_set)),
        (
            "index_set",
            KeyIndexError,
            lambda: fc.nn.sparse_attention(q, k[:, :, :0], v[:, :, :0], torch.zeros(1, 1, 3, 2, dtype=torch.int64)),
        ),
        ("edge_bias", ShapeError, lambda: fc.nn.sparse_attention(q[:0], k[:0], v[:0], index_set, edge_bias=q[0, 0, 0])),
        ("bias", ShapeError, lambda: fc.nn.sparse_attention(q[:0], k[:0], v[:0], index_set, bias=q[0, 0, 0])),
        ("q", ShapeError, lambda: fc.nn.attention_stats(q[..., :0], k[..., :0], index_set)),
        ("rows", KeyIndexError, lambda: fc.nn.attention_stats(q[:, :, :0], k, index_set, rows=[0])),
        ("cu_seqlens_q", InvalidArgumentError, lambda: fc.IndexSet.from_segments([1, 2], [0, 0])),
        ("cu_seqlens_q", InvalidArgumentError, lambda: fc.IndexSet.from_segments([0, 2, 1], [0, 0, 0])),
        ("cu_seqlens_k", InvalidArgumentError, lambda: fc.IndexSet.from_segments([0, 0], [1, 2])),
        ("indptr", ShapeError, lambda: fc.IndexSet.from_csr([], [], 3)),
        ("n_keys", InvalidArgumentError, lambda: fc.IndexSet.from_csr([0], [], -1)),
        ("n_queries", InvalidArgumentError, lambda: fc.pattern("window").index_set(0)),
        ("query", ShapeError, lambda: fc.nn.na1d(q[..., :0], q[..., :0], q, 3)),
    ]
    for argument, kind, call in wrong:
        with pytest.raises(kind, match=rf"^{argument}"):
            call()
