"""Index sets that differ by batch entry and head: each head as if it were alone; what is held, planned and refused."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core import IndexSet
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.nn import FractalAttention, KeyValueCache, modifiers, sparse_attention

B, H, HKV, N, D = 2, 6, 2, 48, 8
SETS = [
    IndexSet.from_offsets(range(-5, 6), N),
    IndexSet.from_offsets([0, 1, 2, 9, 30], N),
    IndexSet.from_mask(np.random.default_rng(0).random((N, N)) < 0.2),
    IndexSet.from_segments([0, 20, N]),
]


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def tensors(dtype=torch.float64):
    shapes = ((B, H, N, D), (B, HKV, N, D), (B, HKV, N, D))
    return [drawn(*shape, seed=i, dtype=dtype).requires_grad_() for i, shape in enumerate(shapes)]


STACKS = {
    "one": [[0]],
    "by head": [[0, 0, 0, 1, 1, 1]],
    "within groups": [[0, 1, 1, 2, 2, 0]],
    "every head": [[0, 1, 2, 3, 0, 1]],
    "by entry": [[0], [2]],
    "by both": [[0, 0, 0, 1, 1, 1], [2, 3, 0, 0, 0, 0]],
}


def alone(q, k, v, which, **more):
    """Each head of each entry in a call of its own."""
    group = H // HKV
    outs = []
    for b in range(B):
        row = which[min(b, len(which) - 1)]
        heads = []
        for h in range(H):
            of = {}
            if "bias" in more:
                of["bias"] = more["bias"][b, h]
            if "key_padding_mask" in more:
                of["key_padding_mask"] = more["key_padding_mask"][b : b + 1]
            given = [
                modifiers.DistanceTable(m.values[h : h + 1])
                if isinstance(m, modifiers.DistanceTable)
                else modifiers.Sink(m.logits[h : h + 1])
                if isinstance(m, modifiers.Sink)
                else m
                for m in more.get("modifiers", ())
            ]
            one = SETS[row[min(h, len(row) - 1)]]
            kv = h // group
            part = (q[b : b + 1, h : h + 1], k[b : b + 1, kv : kv + 1], v[b : b + 1, kv : kv + 1])
            heads.append(sparse_attention(*part, one, modifiers=given, return_lse=True, **of))
        outs.append([torch.cat(parts, 1) for parts in zip(*heads, strict=True)])
    return [torch.cat(parts, 0) for parts in zip(*outs, strict=True)]


@pytest.mark.parametrize("name", STACKS)
def test_each_head_is_as_if_alone(name):
    which = STACKS[name]
    stack = IndexSet.stack([[SETS[i] for i in row] for row in which])
    assert stack.shape == (len(which), len(which[0]))
    q, k, v = tensors()
    bias, table, sinks = (drawn(*s, seed=9).requires_grad_() for s in ((B, H, N), (H, 11), (H,)))
    padding = torch.rand(B, N, generator=torch.Generator().manual_seed(3)) < 0.2
    changed = [modifiers.DistanceTable(table), modifiers.Sink(sinks), modifiers.SoftCap(2.0)]
    more = {"bias": bias, "key_padding_mask": padding, "modifiers": changed}
    found = sparse_attention(q, k, v, stack, return_lse=True, **more)
    wanted = alone(q, k, v, which, **more)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    into, weights = [q, k, v, bias, table, sinks], [drawn(*t.shape, seed=7) for t in wanted]
    for ours, theirs in zip(*(torch.autograd.grad(r, into, weights) for r in (found, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_other_dtypes(dtype, bound):
    which = STACKS["by both"]
    stack = IndexSet.stack([[SETS[i] for i in row] for row in which])
    exact = tensors()
    rough = [t.detach().to(dtype).requires_grad_() for t in exact]
    found = sparse_attention(*rough, stack)
    into = [t.detach().double().requires_grad_() for t in rough]
    wanted = alone(*into, which)[0]
    assert found.dtype == dtype
    assert (found.double() - wanted).abs().max() <= bound
    grads = torch.autograd.grad(found.float().sum(), rough)
    wanted = torch.autograd.grad(wanted.sum(), into)
    for ours, theirs in zip(grads, wanted, strict=True):
        assert (ours.double() - theirs).abs().max() <= bound * max(1.0, float(theirs.abs().max()))


def test_equal_sets_are_held_once():
    again = IndexSet.from_offsets(range(-5, 6), N)
    listed = IndexSet.from_csr(again.indptr, again.indices, N)
    stack = IndexSet.stack([SETS[0], SETS[1], again, listed, SETS[1], SETS[0]])
    assert len(stack.sets) == 2
    assert stack.which.tolist() == [[0, 1, 0, 0, 1, 0]]
    assert len(set(stack.handles.ravel().tolist())) == 2
    eight = fc.patterns.per_head(["window:radius=3", "cantor"] * 4).index_set(N, causal=True)
    assert (len(eight.sets), eight.shape) == (2, (1, 8))
    assert stack[0, 3] is SETS[0]
    assert stack.nnz == 4 * SETS[0].nnz + 2 * SETS[1].nnz
    assert stack == IndexSet.stack([SETS[0], SETS[1], SETS[0], SETS[0], SETS[1], SETS[0]])
    assert stack.to_mask().shape == (1, 6, N, N)
    with pytest.raises(KeyIndexError):
        stack[0, 6]


def test_copies_and_pickles():
    stack = IndexSet.stack([SETS[0], SETS[1]])
    assert copy.deepcopy(stack) is stack
    again = pickle.loads(pickle.dumps(stack))
    assert again == stack
    q, k, v = tensors()
    heads = [t[:, :2] for t in (q, k, v)]
    assert torch.equal(sparse_attention(*heads, again), sparse_attention(*heads, stack))


def test_the_sets_live_as_long_as_the_graph():
    q, k, v = tensors()
    stack = IndexSet.stack([[IndexSet.from_offsets(range(i + 1), N) for i in range(H)]])
    out = sparse_attention(q, k, v, stack)
    del stack
    gc.collect()
    out.sum().backward()
    assert q.grad is not None


def test_last_rows_and_dropout():
    q, k, v = tensors()
    stack = IndexSet.stack([[SETS[i] for i in STACKS["every head"][0]]])
    whole = sparse_attention(q, k, v, stack)
    torch.testing.assert_close(sparse_attention(q[:, :, -3:], k, v, stack), whole[:, :, -3:])
    torch.testing.assert_close(sparse_attention(q[:, :, 5:9], k, v, stack, q_offset=5), whole[:, :, 5:9])
    same = IndexSet.stack([[SETS[0]] * H])
    dropped = []
    for index_set in (same, same):
        torch.manual_seed(1)
        dropped.append(sparse_attention(q, k, v, index_set, dropout_p=0.5))
    assert torch.equal(*dropped)
    mixed = IndexSet.stack([[SETS[0], SETS[1]] * 3])
    ones = torch.ones(1, H, N, D, dtype=torch.float64)
    heads = sparse_attention(ones, ones, ones, mixed, dropout_p=0.5)
    assert not torch.equal(heads[0, 0], heads[0, 2])


@pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
def test_block_masks_with_batch_and_heads():
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def mask_mod(b, h, i, j):
        return (i - j).abs() <= 2 + 3 * h + b

    mask = create_block_mask(mask_mod, B, H, N, N, device="cpu", BLOCK_SIZE=16)
    stack = IndexSet.from_block_mask(mask)
    assert stack.shape == (B, H)
    q, k, v = (drawn(B, H, N, D, seed=i) for i in range(3))
    torch.testing.assert_close(
        sparse_attention(q, k, v, stack), flex_attention(q, k, v, block_mask=mask), rtol=0, atol=1e-12
    )


def test_packed_documents_that_differ_by_row():
    starts = [[0, 10, N], [0, 30, 41, N]]
    stack = IndexSet.stack([[IndexSet.from_segments(s, causal=True)] for s in starts])
    q, k, v = tensors()
    found = sparse_attention(q, k, v, stack)
    for b, s in enumerate(starts):
        for first, last in itertools.pairwise(s):
            part = [t[b : b + 1, :, first:last] for t in (q, k, v)]
            wanted = torch.nn.functional.scaled_dot_product_attention(*part, is_causal=True, enable_gqa=True)
            torch.testing.assert_close(found[b : b + 1, :, first:last], wanted, rtol=0, atol=1e-12)


def test_a_layer_with_a_pattern_for_each_head():
    patterns = fc.patterns.per_head(["window:radius=4", "window:radius=4", "cantor", "cantor"])
    torch.manual_seed(0)
    layer = FractalAttention(32, 4, patterns, causal=True).double().eval()
    x = drawn(2, N, 32)
    whole = layer(x)
    assert len(layer.prepare(N).sets) == 2
    cache, steps = KeyValueCache(), []
    for first, last in ((0, 20), (20, 21), (21, N)):
        steps.append(layer(x[:, first:last], cache=cache))
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=0, atol=1e-12)
    for h, name in enumerate(["window:radius=4", "cantor"]):
        single = FractalAttention(32, 4, name, causal=True).double().eval()
        single.load_state_dict(layer.state_dict())
        q, k, v = layer._projected(x)
        one = sparse_attention(q, k, v, single.prepare(N))
        both = sparse_attention(q, k, v, layer.prepare(N))
        torch.testing.assert_close(both[:, 2 * h : 2 * h + 2], one[:, 2 * h : 2 * h + 2], rtol=0, atol=1e-12)
    assert "per_head" in repr(layer)


def test_under_a_compiler_and_functional_transforms():
    q, k, v = tensors(torch.float32)
    stack = IndexSet.stack([[SETS[i] for i in STACKS["within groups"][0]]])
    compiled = torch.compile(lambda a: sparse_attention(a, k, v, stack), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(q), sparse_attention(q, k, v, stack))
    many = drawn(3, B, H, N, D, dtype=torch.float32)
    mapped = torch.func.vmap(lambda a: sparse_attention(a, k.detach(), v.detach(), stack))(many)
    for one, found in zip(many, mapped, strict=True):
        assert torch.equal(found, sparse_attention(one, k.detach(), v.detach(), stack))


@pytest.mark.parametrize("number", range(len(SETS)))
@pytest.mark.parametrize("heads", [1, H])
def test_biases_of_edges_that_differ_by_entry(number, heads):
    index_set = SETS[number]
    q, k, v = tensors()
    bias = drawn(B, heads, index_set.nnz, seed=4).requires_grad_()
    found = sparse_attention(q, k, v, index_set, edge_bias=bias)
    parts = [sparse_attention(q[b : b + 1], k[b : b + 1], v[b : b + 1], index_set, edge_bias=bias[b]) for b in range(B)]
    wanted = torch.cat(parts)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    weights = drawn(*wanted.shape, seed=7)
    for ours, theirs in zip(*(torch.autograd.grad(r, [q, k, v, bias], weights) for r in (found, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    one = sparse_attention(q, k, v, index_set, edge_bias=bias[:1])
    assert torch.equal(one, sparse_attention(q, k, v, index_set, edge_bias=bias[0]))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("starts", [[0, 4, 9, 24, 42, 48], [0, 9, 9, 24, 42, 48], [0, 2, 12, 13, 30, 48]])
def test_biases_of_edges_of_rows_that_share_few_keys(starts, causal):
    # Keys of a tile with a gap as wide as the padding behind them are not in a row.
    index_set = IndexSet.from_segments([0, 9, 9, 24, 42, 48], starts, causal=causal)
    listed = IndexSet.from_csr(index_set.indptr, index_set.indices, index_set.n_keys)
    q, k, v = tensors()
    bias = drawn(H, index_set.nnz, seed=5).requires_grad_()
    found = [sparse_attention(q, k, v, one, edge_bias=bias) for one in (index_set, listed)]
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
    for ours, theirs in zip(*(torch.autograd.grad(out.square().sum(), [q, k, v, bias]) for out in found), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_one_step_of_a_batch_whose_caches_differ_in_length():
    lengths = [7, 30]
    rows = [[IndexSet.from_runs([0, 1], [0], [length], N)] for length in lengths]
    q, k, v = tensors()
    found = sparse_attention(q[:, :, :1], k, v, IndexSet.stack(rows))
    for b, length in enumerate(lengths):
        part = (q[b : b + 1, :, :1], k[b : b + 1, :, :length], v[b : b + 1, :, :length])
        wanted = torch.nn.functional.scaled_dot_product_attention(*part, enable_gqa=True)
        torch.testing.assert_close(found[b : b + 1], wanted, rtol=0, atol=1e-12)


WRONG = [
    (lambda: IndexSet.stack([]), DTypeError, "sets"),
    (lambda: IndexSet.stack(SETS[0]), DTypeError, "sets"),
    (lambda: IndexSet.stack([1]), DTypeError, "sets"),
    (lambda: IndexSet.stack([[SETS[0]], []]), DTypeError, "sets"),
    (lambda: IndexSet.stack([[SETS[0]], [SETS[0], SETS[1]]]), ShapeError, "sets"),
    (lambda: IndexSet.stack([SETS[0], IndexSet.from_offsets([0], N + 1)]), InvalidArgumentError, "sets"),
    (lambda: attend([[SETS[0]] * 3]), ShapeError, "index_set"),
    (lambda: attend([[SETS[0]]] * 3), ShapeError, "index_set"),
    (lambda: attend([[IndexSet.from_offsets([0], N + 1)]]), ShapeError, "index_set"),
    (lambda: attend([[SETS[0]]], edge_bias=torch.zeros(SETS[0].nnz)), InvalidArgumentError, "edge_bias"),
    (lambda: attend([[SETS[0]]], q_offset=1), InvalidArgumentError, "q_offset"),
    (lambda: attend([[SETS[0]]], return_stats=True), InvalidArgumentError, "return_stats"),
    (lambda: fc.nn.attention_stats(*tensors()[:2], IndexSet.stack([SETS[0]])), DTypeError, "index_set"),
    (lambda: fc.patterns.per_head("window"), DTypeError, "patterns"),
    (lambda: fc.patterns.per_head([]), DTypeError, "patterns"),
    (lambda: fc.patterns.per_head([7]), DTypeError, "pattern"),
    (lambda: FractalAttention(32, 4, fc.patterns.per_head(["window"] * 3)), ShapeError, "pattern"),
]


def attend(sets, **more):
    q = torch.zeros(B, H, N, D)
    return sparse_attention(q, q, q, IndexSet.stack(sets), **more)


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_refused(number):
    call, error, named = WRONG[number]
    with pytest.raises(error, match=named):
        call()
