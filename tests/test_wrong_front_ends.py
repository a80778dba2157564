"""Wrong calls of the front ends of index sets: each gives the typed error with the argument's name."""

import numpy as np
import pytest
from fractal_core import IndexSet
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, KeyIndexError, ShapeError


def runs(indptr=(0, 1), starts=(0,), lengths=(2,), n_keys=4):
    return IndexSet.from_runs(indptr, starts, lengths, n_keys)


def blocks(mask=((True, False),), size=4, *lengths):
    return IndexSet.from_blocks(mask, size, *lengths)


WRONG = [
    ("cu_seqlens_q", InvalidArgumentError, lambda: IndexSet.from_segments([1, 4])),
    ("cu_seqlens_q", InvalidArgumentError, lambda: IndexSet.from_segments([0, 4, 3])),
    ("cu_seqlens_q", InvalidArgumentError, lambda: IndexSet.from_segments([0, -1, 3])),
    ("cu_seqlens_q", InvalidArgumentError, lambda: IndexSet.from_segments([0, 0, -1])),
    ("cu_seqlens_q", InvalidArgumentError, lambda: IndexSet.from_segments([])),
    ("cu_seqlens_q", InvalidArgumentError, lambda: IndexSet.from_segments([0, 2**31])),
    ("cu_seqlens_q", ShapeError, lambda: IndexSet.from_segments([[0, 4]])),
    ("cu_seqlens_q", DTypeError, lambda: IndexSet.from_segments([0.0, 4.0])),
    ("cu_seqlens_q", DTypeError, lambda: IndexSet.from_segments(None)),
    ("cu_seqlens_k", InvalidArgumentError, lambda: IndexSet.from_segments([0, 4], [1, 4])),
    ("cu_seqlens_k", InvalidArgumentError, lambda: IndexSet.from_segments([0, 4], [0, -1])),
    ("cu_seqlens_k", ShapeError, lambda: IndexSet.from_segments([0, 2, 4], [0, 4])),
    ("cu_seqlens_k", ShapeError, lambda: IndexSet.from_segments([0, 4], 4)),
    ("cu_seqlens_k", DTypeError, lambda: IndexSet.from_segments([0, 4], np.array([False, True]))),
    ("causal", DTypeError, lambda: IndexSet.from_segments([0, 4], causal=1)),
    ("indptr", InvalidArgumentError, lambda: runs(indptr=[1, 1])),
    ("indptr", InvalidArgumentError, lambda: runs(indptr=[0, 1, 0])),
    ("indptr", ShapeError, lambda: runs(indptr=[0, 2])),
    ("indptr", ShapeError, lambda: runs(indptr=[0])),
    ("indptr", DTypeError, lambda: runs(indptr=[0.0, 1.0])),
    ("starts", KeyIndexError, lambda: runs(starts=[4])),
    ("starts", KeyIndexError, lambda: runs(starts=[-1])),
    ("starts", InvalidArgumentError, lambda: runs(indptr=[0, 2], starts=[0, 1], lengths=[2, 1])),
    ("starts", InvalidArgumentError, lambda: runs(indptr=[0, 2], starts=[3, 0], lengths=[1, 1])),
    ("starts", ShapeError, lambda: runs(starts=[[0]])),
    ("lengths", InvalidArgumentError, lambda: runs(lengths=[0])),
    ("lengths", InvalidArgumentError, lambda: runs(lengths=[-3])),
    ("lengths", KeyIndexError, lambda: runs(lengths=[5])),
    ("lengths", KeyIndexError, lambda: runs(starts=[3], lengths=[2**62])),
    ("lengths", ShapeError, lambda: runs(lengths=[1, 1])),
    ("lengths", DTypeError, lambda: runs(lengths=["2"])),
    ("n_keys", InvalidArgumentError, lambda: runs(n_keys=-1)),
    ("n_keys", InvalidArgumentError, lambda: runs(n_keys=2**31)),
    ("mask", DTypeError, lambda: blocks([[1, 0]])),
    ("mask", ShapeError, lambda: blocks([True, False])),
    ("mask", ShapeError, lambda: blocks(np.ones((1, 2, 2), dtype=bool))),
    ("mask", ShapeError, lambda: blocks(((True,),), 4, 5, 4)),
    ("mask", ShapeError, lambda: blocks(((True, True),), 4, 4, 4)),
    ("block_size", InvalidArgumentError, lambda: blocks(size=0)),
    ("block_size", InvalidArgumentError, lambda: blocks(size=(4, 2**31))),
    ("block_size", ShapeError, lambda: blocks(size=(4, 4, 4))),
    ("block_size", DTypeError, lambda: blocks(size=4.0)),
    ("n_queries", InvalidArgumentError, lambda: blocks(((True, False),), 4, -1, 8)),
    ("n_keys", DTypeError, lambda: blocks(((True, False),), 4, 4, "8")),
    ("index_set", InvalidArgumentError, lambda: IndexSet.from_segments([0, 10**5]).indptr),
]


def check(argument, kind, call):
    with pytest.raises(kind, match=rf"^{argument}") as caught:
        call()
    assert type(caught.value) is kind
    assert isinstance(caught.value, FractalError)
    assert caught.value.argument == argument
    assert str(caught.value) == f"{argument}: got {caught.value.given}; allowed: {caught.value.allowed}"


@pytest.mark.parametrize(
    ("argument", "kind", "call"), WRONG, ids=[f"{n}-{argument}" for n, (argument, *_) in enumerate(WRONG)]
)
def test_wrong_call(argument, kind, call):
    check(argument, kind, call)


def test_wrong_block_masks():
    torch = pytest.importorskip("torch")
    from torch.nn.attention.flex_attention import BlockMask, create_block_mask

    def all_pairs(b, h, q, k):
        return q >= 0

    check("block_mask", DTypeError, lambda: IndexSet.from_block_mask(np.ones((4, 4), dtype=bool)))
    assert IndexSet.from_block_mask(create_block_mask(all_pairs, 2, 3, 8, 8, "cpu", 4)).shape == (2, 3)
    counts, columns = torch.full((1, 1, 1), 2, dtype=torch.int32), torch.zeros(1, 1, 1, 2, dtype=torch.int32)
    twice = BlockMask.from_kv_blocks(counts, columns, BLOCK_SIZE=4, mask_mod=all_pairs, seq_lengths=(4, 8))
    check("block_mask", InvalidArgumentError, lambda: IndexSet.from_block_mask(twice))
    beyond = BlockMask.from_kv_blocks(
        counts,
        columns + torch.tensor([0, 7], dtype=torch.int32),
        BLOCK_SIZE=4,
        mask_mod=all_pairs,
        seq_lengths=(4, 8),
        compute_q_blocks=False,
    )
    check("block_mask", KeyIndexError, lambda: IndexSet.from_block_mask(beyond))
    longer = BlockMask.from_kv_blocks(counts // 2, columns, BLOCK_SIZE=4, mask_mod=all_pairs, seq_lengths=(9, 8))
    check("block_mask", ShapeError, lambda: IndexSet.from_block_mask(longer))
    check("block_size", ShapeError, lambda: IndexSet.from_segments([0, 4]).to_block_mask((4,)))
