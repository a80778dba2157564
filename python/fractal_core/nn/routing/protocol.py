"""What a router is given and gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from fractal_core.errors import DTypeError, ShapeError

__all__ = ["Router", "RouterFactory", "Routing", "checked"]

RouterFactory: TypeAlias = Callable[[int], nn.Module]
"""Makes a router for tokens of a size."""


class Routing(NamedTuple):
    """The decision of a router for one layer."""

    keep: Tensor | None
    """(B, N) bool: the tokens that the layer computes; None for all."""
    gate: Tensor
    """(B, N), the dtype of x: the factor of each token's update, 0 where it is not kept. The router learns by it."""
    loss: Tensor
    """(): what the router wants added to the training loss; 0 where it wants nothing."""
    state: Tensor | None = None
    """What the router of the next layer is to be given, such as the probability that a sample still runs."""
    at_most: int | None = None
    """Tokens kept of a sample, at most, where that is known without looking: shapes are then static."""


class Router(Protocol):
    """Decides which tokens a layer computes. Routers are `nn.Module`s, one for each layer, and hold no hidden state.

    In eval mode a router is deterministic, and its decision for a sample does not depend on other samples. With
    causal=True no decision depends on later tokens; a router that breaks this in training says so.
    """

    def __call__(
        self, x: Tensor, *, state: Tensor | None = None, mask: Tensor | None = None, causal: bool = True
    ) -> Routing:
        """Decide.

        Args:
            x: (B, N, E), the tokens as the layer sees them; N may be 0.
            state: the state that the router of the layer before gave; None at the first layer.
            mask: (B, N) bool, False where a token is padding, which counts neither for rates nor for losses.
            causal: whether a decision may depend on tokens up to its own alone.
        """
        ...


def checked(routing: object, x: Tensor) -> Routing:
    """A router's result, if it is one for x: routers may be anybody's.

    Raises:
        DTypeError: another type, or a tensor of another dtype, than `Routing` names.
        ShapeError: a tensor of another shape.
    """
    if not isinstance(routing, Routing):
        raise DTypeError("router", f"a {type(routing).__name__} from its forward", "a fractal_core.nn.Routing")
    expected = {"keep": (torch.bool, x.shape[:2]), "gate": (x.dtype, x.shape[:2]), "loss": (x.dtype, ())}
    for field, (dtype, shape) in expected.items():
        if field == "keep" and routing.keep is None:
            continue
        tensor = getattr(routing, field)
        if not isinstance(tensor, Tensor) or (field != "loss" and tensor.dtype != dtype):
            found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise DTypeError("router", f"a {field} of {found}", f"a tensor of {dtype}")
        if tensor.shape != shape:
            raise ShapeError("router", f"a {field} of shape {tuple(tensor.shape)}", tuple(shape))
    return routing
