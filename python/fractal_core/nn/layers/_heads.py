"""What layers of several heads share: projections, and tokens checked.

Letters: B batch, N tokens, E features, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core._torch import checks
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.gpu import route
from fractal_core.nn._tokens import tokens

__all__ = ["HeadLayer"]


class HeadLayer(nn.Module):
    """Projections to queries, keys and values, and back.

    Args:
        dims: E, a multiple of head.
        head: H.
        bias: the projections have a bias.
        project: False leaves the projections out.
        device: where attention is computed, as for `sparse_attention`.
    """

    def __init__(self, dims: int, head: int, *, bias: bool, device: str, project: bool = True) -> None:
        super().__init__()
        self.dims = integer("dims", dims, 1, INT32_MAX)
        self.head = integer("head", head, 1, INT32_MAX)
        if self.dims % self.head:
            raise InvalidArgumentError("head", self.head, f"a divisor of dims = {self.dims}")
        self.head_dim = self.dims // self.head
        self.device = route.checked(device)
        self.project = flag("project", project)
        bias = flag("bias", bias)
        for name in ("q", "k", "v", "out"):
            made = nn.Linear(self.dims, self.dims, bias=bias) if self.project else nn.Identity()
            self.add_module(name, made)

    q: nn.Module
    k: nn.Module
    v: nn.Module
    out: nn.Module

    def reset_parameters(self) -> None:
        """Reset the projections: Xavier-uniform weights, biases 0."""
        for layer in (self.q, self.k, self.v, self.out):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                    nn.init.zeros_(layer.bias)

    def tokens(self, argument: str, value: Tensor, batch: int | None = None) -> Tensor:
        """`value` if it is tokens of this layer, (B, N, E), on the CPU and in the dtype of its parameters."""
        value = tokens(argument, value, self.dims, batch)
        checks.on_cpu(argument, value)
        if isinstance(self.q, nn.Linear) and not torch.is_autocast_enabled("cpu"):
            dtype = self.q.weight.dtype
            if value.dtype != dtype:
                raise DTypeError(argument, value.dtype, f"the dtype of the parameters, {dtype}")
        return value
