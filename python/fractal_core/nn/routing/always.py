"""The router that keeps everything: the plain stack, as a control."""

from __future__ import annotations

from torch import Tensor, nn

from fractal_core._arguments import INT32_MAX, integer
from fractal_core.nn.routing.protocol import Routing

__all__ = ["AlwaysRouter"]


class AlwaysRouter(nn.Module):
    """Keeps every token, with gate 1; it has no parameters and no loss.

    Args:
        dims: E, size of the tokens.

    Raises:
        InvalidArgumentError: dims is below 1.
        DTypeError: dims is no integer.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = integer("dims", dims, 1, INT32_MAX)

    def forward(
        self, x: Tensor, *, state: Tensor | None = None, mask: Tensor | None = None, causal: bool = True
    ) -> Routing:
        """As `Router`."""
        del mask, causal
        return Routing(None, x.new_ones(x.shape[:2]), x.new_zeros(()), state)
