"""Saved programs give the same numbers in another process that has made other sets."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn import FractalAttention, _travel, na2d, sparse_attention
from torch import Tensor, nn

if TYPE_CHECKING:
    from pathlib import Path

SETS = {
    "offsets": fc.pattern("window").index_set(24),
    "runs": fc.IndexSet.from_segments([0, 10, 24], causal=True),
    "ordered rows": fc.pattern("hilbert").index_set(24),
    "other offsets": fc.IndexSet.from_offsets([0, 1, 3], 24, 24, -2),
}

LOADER = """
import sys
import fractal_core as fc
import fractal_core.nn
import torch
alive = [fc.IndexSet.from_offsets([0], 24) for _ in range(300)]
kind, path = sys.argv[1:]
x, expected = torch.load(path + ".data")
program = torch.export.load(path).module() if kind == "export" else torch.jit.load(path)
for _ in range(2):
    assert torch.equal(program(x), expected)
"""


class Sparse(nn.Module):
    def __init__(self, index_set: fc.IndexSet) -> None:
        super().__init__()
        self.index_set = index_set

    def forward(self, x: Tensor) -> Tensor:
        return sparse_attention(x, x, x, self.index_set)


class Neighbours(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return na2d(x, x, x, 3)


PROGRAMS = {
    **{name: (Sparse(index_set), (1, 2, 24, 8)) for name, index_set in SETS.items()},
    "na2d": (Neighbours(), (1, 6, 5, 2, 8)),
    "layer": (FractalAttention(8, 2, "window").eval(), (1, 24, 8)),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", ["export", "trace"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_saved_program_gives_equal_numbers_beside_other_sets(name: str, kind: str, tmp_path: Path) -> None:
    module, shape = PROGRAMS[name]
    x = torch.randn(shape)
    path = str(tmp_path / "program.pt2")
    with torch.no_grad():
        torch.save((x, module(x)), path + ".data")
        if kind == "export":
            torch.export.save(torch.export.export(module, (x,)), path)
        else:
            torch.jit.save(torch.jit.trace(module, (x,)), path)
    subprocess.run([sys.executable, "-c", LOADER, kind, path], check=True)


@pytest.mark.parametrize("name", SETS)
def test_words_of_a_set_give_its_numbers_and_gradients(name: str) -> None:
    q = torch.randn(1, 2, 24, 8, requires_grad=True)
    out, *_ = torch.ops.fractal_core.attention(
        q, q, q, _travel.packed(SETS[name]), None, None, None, None, 8**-0.5, 0.0
    )
    (grad,) = torch.autograd.grad(out.square().sum(), q)
    expected = sparse_attention(q, q, q, SETS[name])
    assert torch.equal(out, expected)
    assert torch.equal(grad, torch.autograd.grad(expected.square().sum(), q)[0])


def test_words_that_were_changed_are_refused() -> None:
    q = torch.randn(1, 2, 24, 8)
    given = _travel.packed(fc.IndexSet.from_offsets([0, 7], 24))
    for at in (0, 1, 5, 11):
        words = given.clone()
        words[at] += 1
        with pytest.raises(InvalidArgumentError, match="index_set"):
            torch.ops.fractal_core.attention(q, q, q, words, None, None, None, None, 1.0, 0.0)
