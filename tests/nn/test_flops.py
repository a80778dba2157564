"""torch's FLOP counter sees the attention ops, whenever it is imported."""

from __future__ import annotations

import subprocess
import sys

import fractal_core as fc
import pytest
import torch
from fractal_core.nn import sparse_attention

PROGRAM = """
import sys
import torch
{first}
{second}
from torch.utils.flop_counter import FlopCounterMode

index_set = fc.pattern("window", radius=2).index_set(10)
q = torch.randn(2, 4, 10, 8)
with FlopCounterMode(display=False) as counter:
    fc.nn.sparse_attention(q, q, q, index_set)
assert counter.get_total_flops() == 2 * 4 * index_set.nnz * 2 * (8 + 8), counter.get_total_flops()
"""
OURS, COUNTER = "import fractal_core as fc; fc.nn", "import torch.utils.flop_counter"


@pytest.mark.parametrize("imports", [(OURS, COUNTER), (COUNTER, OURS)])
def test_either_import_first(imports):
    first, second = imports
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first, second=second)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("lists", [False, True])
def test_forward_and_backward(random_qkv, random_mask, lists):
    from torch.utils.flop_counter import FlopCounterMode

    q, k, v = random_qkv()
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    keys = torch.from_numpy(index_set.to_padded())[None, None] if lists else index_set
    edges = q.shape[0] * q.shape[1] * index_set.nnz
    with FlopCounterMode(display=False) as counter:
        out = sparse_attention(q, k, v, keys)
        assert counter.get_total_flops() == 2 * edges * (5 + 3)
        out.sum().backward()
    assert counter.get_total_flops() == 2 * edges * (5 + 3) + 2 * edges * (3 * 5 + 2 * 3)
