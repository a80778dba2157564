"""Calls that need no gradient: the same values through an op of their own."""

import fractal_core as fc
import pytest
import torch
from fractal_core.nn import ops, sparse_attention


@pytest.fixture
def call(random_qkv, random_mask):
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    return random_qkv(), index_set


def recorded(f):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        f()
    return {event.key for event in profile.key_averages() if event.key.startswith("fractal_core::")}


def test_values_are_those_of_the_op_with_gradients(call):
    (q, k, v), index_set = call
    wanted, wanted_lse = sparse_attention(q, k, v, index_set, return_lse=True)
    assert wanted.requires_grad
    with torch.no_grad():
        out, lse = sparse_attention(q, k, v, index_set, return_lse=True)
    assert not out.requires_grad
    assert torch.equal(out, wanted)
    assert torch.equal(lse, wanted_lse)


def test_which_op_runs(call):
    (q, k, v), index_set = call
    bias = torch.zeros(9, dtype=torch.float64, requires_grad=True)
    plain = [t.detach() for t in (q, k, v)]
    with torch.no_grad():
        assert recorded(lambda: sparse_attention(q, k, v, index_set)) == {"fractal_core::attention_forward"}
    assert recorded(lambda: sparse_attention(*plain, index_set)) == {"fractal_core::attention_forward"}
    assert recorded(lambda: sparse_attention(q, k, v, index_set)) == {"fractal_core::attention"}
    assert recorded(lambda: sparse_attention(*plain, index_set, bias=bias)) == {"fractal_core::attention"}
    assert sparse_attention(*plain, index_set, bias=bias).requires_grad


def test_both_ops_take_the_same_arguments():
    one, other = ops.attention._schema, ops.attention_forward._schema
    assert [(a.name, str(a.type)) for a in one.arguments] == [(a.name, str(a.type)) for a in other.arguments]
    assert len(one.returns) == len(other.returns) + 1 == 3


def test_compiles_whole(call):
    (q, k, v), index_set = call
    compiled = torch.compile(lambda *t: sparse_attention(*t, index_set) * 2, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert torch.equal(compiled(q, k, v), sparse_attention(q, k, v, index_set) * 2)
