"""Attention over segments, runs and blocks against dense masked attention; block masks there and back."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core import IndexSet
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, create_mask


def diagonals(n):
    rng = np.random.default_rng(3)
    return IndexSet.from_mask(rng.random((n, n)) < 0.1)


SETS = {
    "segments": IndexSet.from_segments([0, 5, 5, 40, 77], [0, 9, 30, 50, 77]),
    "causal segments": IndexSet.from_segments([0, 5, 40, 77], causal=True),
    "blocks": IndexSet.from_blocks(np.random.default_rng(1).random((5, 5)) < 0.5, 16, 77, 77),
    "small blocks": IndexSet.from_blocks(np.random.default_rng(2).random((26, 16)) < 0.4, (3, 5), 77, 77),
    "runs": IndexSet.from_runs(np.arange(78), np.arange(77) // 3, np.full(77, 50), 77),
    "no run": IndexSet.from_runs(np.zeros(78, int), [], [], 77),
    "ordered": IndexSet.from_segments([0, 30, 77]).with_order(np.random.default_rng(4).permutation(77)),
    "listed": diagonals(77),
    "offsets": IndexSet.from_offsets([-40, -3, 0, 1, 2, 60], 77),
    "other lengths": IndexSet.from_offsets([0, 1, 5], 50, 77),
}


@pytest.mark.parametrize("name", SETS)
def test_forward_and_backward(name, dense, random_qkv):
    index_set = SETS[name]
    n_queries, n_keys = index_set.shape
    given = random_qkv(n_queries=n_queries, n_keys=n_keys)
    bias = torch.randn(4, index_set.nnz, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    mask = torch.from_numpy(index_set.to_mask())
    added = torch.zeros(4, n_queries, n_keys, dtype=torch.float64)
    added[:, mask] = bias
    for edge_bias, full_bias in [(None, None), (bias, added)]:
        out, lse = fc.nn.sparse_attention(*given, index_set, edge_bias=edge_bias, return_lse=True)
        expected, expected_lse = dense(*given, mask, bias=full_bias)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(lse, expected_lse, rtol=0, atol=1e-12)
        grads = torch.autograd.grad((out * out).sum() + lse[lse.isfinite()].sum(), given)
        wanted = torch.autograd.grad((expected * expected).sum() + expected_lse[lse.isfinite()].sum(), given)
        for one, other in zip(grads, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("size", [1, 16, (8, 32), 128])
def test_block_mask_is_what_torch_makes(name, size):
    index_set = SETS[name]
    n_queries, n_keys = index_set.shape
    mask = torch.from_numpy(index_set.to_mask())
    made = index_set.to_block_mask(size)
    expected = create_block_mask(lambda b, h, q, k: mask[q, k], None, None, n_queries, n_keys, "cpu", size)
    for part in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices"):
        assert torch.equal(getattr(made, part), getattr(expected, part)), part
    assert made.seq_lengths == expected.seq_lengths
    assert made.BLOCK_SIZE == expected.BLOCK_SIZE
    asked = create_mask(made.mask_mod, None, None, n_queries + 3, n_keys + 5, device="cpu")[0, 0]
    assert torch.equal(asked[:n_queries, :n_keys], mask)
    assert not asked[n_queries:].any()
    assert not asked[:, n_keys:].any()
    for there in (made, expected):
        assert IndexSet.from_block_mask(there) == index_set


def test_full_blocks_are_not_asked():
    def never(b, h, q, k):
        raise AssertionError("full blocks need no mask_mod")

    one, none = torch.ones(1, 1, 2, dtype=torch.int32), torch.zeros(1, 1, 2, dtype=torch.int32)
    columns = torch.tensor([[[[1, 0], [0, 1]]]], dtype=torch.int32)
    given = BlockMask.from_kv_blocks(none, columns, one, columns, BLOCK_SIZE=8, mask_mod=never, seq_lengths=(16, 12))
    made = IndexSet.from_block_mask(given)
    assert made == IndexSet.from_blocks([[False, True], [True, False]], 8, 16, 12)
    assert made.runs is not None


def test_mask_mod_is_not_asked_beyond_the_ends():
    documents = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])

    def same(b, h, q, k):
        return documents[q] == documents[k]

    block_mask = create_block_mask(same, None, None, 10, 10, "cpu", 4)
    assert IndexSet.from_block_mask(block_mask) == IndexSet.from_segments([0, 3, 5, 10])


def test_long_sets_become_block_masks_without_a_dense_mask():
    n = 1_000_000
    made = IndexSet.from_offsets(range(64), n).to_block_mask(4096)
    assert made.kv_num_blocks.sum() == 2 * 245 - 1
    assert made.full_kv_num_blocks.sum() == 0
    made = IndexSet.from_segments([0, n // 2, n]).to_block_mask(n // 8)
    assert made.full_kv_num_blocks.sum() == 32
    assert made.kv_num_blocks.sum() == 0


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flex_attention_agrees(random_qkv):
    from torch.nn.attention.flex_attention import flex_attention

    n = 128
    q, k, v = (t.detach().float() for t in random_qkv(n_queries=n, n_keys=n, kv_heads=4, dim=16, value_dim=16))
    index_set = IndexSet.from_segments([0, 33, 100, n], causal=True) | IndexSet.from_offsets([0, 64], n)
    expected = flex_attention(q, k, v, block_mask=index_set.to_block_mask(32))
    torch.testing.assert_close(fc.nn.sparse_attention(q, k, v, index_set), expected, rtol=0, atol=1e-5)
