"""One problem of attention: its inputs, and the calls on them that are timed."""

from __future__ import annotations

import torch
from torch import Tensor

from fractal_core.bench.clock import Call
from fractal_core.bench.peers import Attend
from fractal_core.index_sets import IndexSet
from fractal_core.nn import sparse_attention

__all__ = ["HEADS", "WIDTH", "Case"]

HEADS, WIDTH = 4, 64


class Case:
    """Inputs of one problem, B1, drawn from a seed, and the calls on them.

    Args:
        index_set: Which keys each query attends to.
        heads: H.
        width: D.
        dtype: Of q, k, v and the gradient of the output.
    """

    def __init__(
        self, index_set: IndexSet, heads: int = HEADS, width: int = WIDTH, dtype: torch.dtype = torch.float32
    ) -> None:
        generator = torch.Generator().manual_seed(0)

        def drawn(n: int) -> Tensor:
            return torch.randn(1, heads, n, width, generator=generator).to(dtype)

        self.index_set = index_set
        self.q = drawn(index_set.n_queries).requires_grad_()
        self.k, self.v = (drawn(index_set.n_keys).requires_grad_() for _ in range(2))
        self.grad = drawn(index_set.n_queries)
        self.flops = 4 * width * heads * index_set.nnz
        """Of a forward pass; a backward pass has two and a half times as many."""

    def ours(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Sparse attention through the public function."""
        return sparse_attention(q, k, v, self.index_set)

    def forward(self, attend: Attend) -> Call:
        """A forward pass without gradients."""
        q, k, v = (x.detach() for x in (self.q, self.k, self.v))

        def call() -> Tensor:
            with torch.no_grad():
                return attend(q, k, v)

        return call

    def training(self, attend: Attend) -> Call:
        """A forward pass and the gradients of q, k and v through autograd."""

        def call() -> object:
            return torch.autograd.grad(attend(self.q, self.k, self.v), (self.q, self.k, self.v), self.grad)

        return call

    def backward(self, attend: Attend) -> Call:
        """The gradients alone, of one forward pass."""
        out = attend(self.q, self.k, self.v)
        inputs = (self.q, self.k, self.v)
        return lambda: torch.autograd.grad(out, inputs, self.grad, retain_graph=True)
