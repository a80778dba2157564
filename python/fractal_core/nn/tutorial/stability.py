"""Logarithm, exponential and softmax that stay finite, with their gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from fractal_core._arguments import integer
from fractal_core.errors import InvalidArgumentError

__all__ = ["NumericalStability"]


class NumericalStability:
    """Bounded elementary functions."""

    EPS = 1e-6
    """The smallest argument of a logarithm."""

    @staticmethod
    def stable_log(x: Tensor, eps: float = EPS) -> Tensor:
        """log(max(x, eps)); below eps the value is constant and the gradient 0."""
        if not eps > 0.0:
            raise InvalidArgumentError("eps", eps, "a number above 0")
        return torch.log(torch.clamp(x, min=eps))

    @staticmethod
    def stable_exp(x: Tensor, max_val: float = 20.0) -> Tensor:
        """exp(x) with x clamped to -max_val .. max_val; outside the gradient is 0."""
        if not max_val > 0.0:
            raise InvalidArgumentError("max_val", max_val, "a number above 0")
        return torch.exp(torch.clamp(x, -max_val, max_val))

    @staticmethod
    def stable_softmax(x: Tensor, dim: int = -1, temperature: float | Tensor = 1.0) -> Tensor:
        """softmax(x / temperature), exact: the weights of a row sum to 1 within rounding.

        Entries of -inf are masked: weight 0, gradient 0. A fully masked row gives 0 and gradient 0.

        Args:
            x: scores, any shape, floating.
            dim: the axis that sums to 1.
            temperature: above 0; a tensor that broadcasts to x keeps its gradient.

        Returns:
            The shape of x.

        Raises:
            InvalidArgumentError: a temperature that is not above 0, or a dim that x does not have.
            DTypeError: a dim that is no integer.
        """
        dim = integer("dim", dim, -max(x.ndim, 1), max(x.ndim, 1) - 1)
        bad = bool((temperature <= 0).any()) if isinstance(temperature, Tensor) else not temperature > 0.0
        if bad:
            raise InvalidArgumentError("temperature", temperature, "above 0")
        masked = torch.isneginf(x)
        empty = masked.all(dim=dim, keepdim=True)
        # masked scores are taken out before the division, whose gradient by the temperature would be 0 * inf
        scores = (x.masked_fill(masked, 0.0) / temperature).masked_fill(masked & ~empty, -torch.inf)
        return torch.softmax(scores, dim=dim).masked_fill(empty, 0.0)
