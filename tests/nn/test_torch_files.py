"""Index sets in `torch.save`, in the workers of a DataLoader, and in copied modules."""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING

import fractal_core as fc
import pytest
import torch
from fractal_core.nn import FractalAttention, sparse_attention
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from torch import Tensor


def sets() -> list[fc.IndexSet]:
    return [
        fc.pattern("window").index_set(24),
        fc.IndexSet.from_segments([0, 10, 24], causal=True),
        fc.pattern("hilbert").index_set(24),
    ]


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.index_set = sets()[2]
        self.layer = FractalAttention(8, 2, "window")

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return sparse_attention(x[None], x[None], x[None], self.index_set)[0]


class Sets(Dataset[fc.IndexSet]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, at: int) -> fc.IndexSet:
        return sets()[at % 3]


@pytest.mark.parametrize("weights_only", [True, False])
def test_saved_sets_give_bit_equal_attention(weights_only: bool) -> None:
    file = io.BytesIO()
    torch.save({"sets": sets(), "x": torch.ones(2)}, file)
    file.seek(0)
    x = torch.randn(3, 1, 2, 24, 8)
    for got, expected in zip(torch.load(file, weights_only=weights_only)["sets"], sets(), strict=True):
        assert torch.equal(sparse_attention(*x, got), sparse_attention(*x, expected))
        assert (got.runs is None, got.offsets is None) == (expected.runs is None, expected.offsets is None)


def test_the_workers_of_a_loader_return_sets() -> None:
    loader = DataLoader(Sets(), batch_size=3, num_workers=2, collate_fn=list)
    for batch in loader:
        assert batch == sets()


def test_copied_and_saved_modules_give_bit_equal_attention() -> None:
    module, x = Layer(), torch.randn(2, 24, 8)
    expected = module(x)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for copied in (copy.deepcopy(module), AveragedModel(module), torch.load(file, weights_only=False)):
        assert torch.equal(copied(x), expected)
