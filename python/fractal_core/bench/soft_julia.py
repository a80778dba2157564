"""The soft Julia field and its gradients against torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fractal_core.bench.clock import interleaved
from fractal_core.bench.results import Row
from fractal_core.bench.settings import Settings
from fractal_core.nn.fields import julia_soft_escape

__all__ = ["soft_julia", "torch_soft_julia"]


def torch_soft_julia(parts: tuple[Tensor, ...], steps: int) -> Tensor:
    """The soft escape count out of torch's elementwise ops; the orbit stops where its squares could overflow.

    Args:
        parts: re, im of the points, re, im of c, radius, smoothness.
        steps: Iterations.
    """
    re, im, c_re, c_im, radius, smoothness = parts
    stop = float(radius.detach()) + 24 / float(smoothness.detach())
    survival, total = torch.ones_like(re), torch.zeros_like(re)
    for _ in range(steps):
        modulus = torch.sqrt(re * re + im * im)
        survival = survival * torch.sigmoid((radius - modulus) * smoothness)
        total = total + survival
        inside = modulus.detach() < stop
        re, im = torch.where(inside, re * re - im * im + c_re, re), torch.where(inside, 2 * re * im + c_im, im)
    return total


def soft_julia(settings: Settings, *, points: int = 65_536, steps: int = 64) -> Iterator[Row]:
    """The soft field and its gradients by points, c, radius and smoothness against torch's autograd."""
    c, radius, smoothness = -0.7 + 0.27j, 2.0, 2.0
    rng = np.random.default_rng(0)
    drawn = rng.uniform(-1.6, 1.6, points) + 1j * rng.uniform(-1.6, 1.6, points)
    for dtype, bar in ((np.complex64, 15.0), (np.complex128, 15.0)):
        z: Any = drawn.astype(dtype)
        seed = torch.from_numpy(np.ones_like(z.real))
        leaves = tuple(
            torch.as_tensor(x, dtype=seed.dtype).requires_grad_()
            for x in (z.real.copy(), z.imag.copy(), c.real, c.imag, radius, smoothness)
        )

        start = torch.from_numpy(z)
        inputs = (start.requires_grad_(), torch.tensor(c, dtype=start.dtype).requires_grad_())

        def ours(inputs: tuple[Tensor, ...] = (*inputs, *leaves[4:]), seed: Tensor = seed) -> None:
            torch.autograd.grad(julia_soft_escape(*inputs, steps), inputs, seed)

        def theirs(leaves: tuple[Tensor, ...] = leaves, seed: Tensor = seed) -> None:
            torch.autograd.grad(torch_soft_julia(leaves, steps), leaves, seed)

        times = interleaved({"ours": ours, "torch": theirs}, settings.count(25))
        real = "float32" if dtype is np.complex64 else "float64"
        yield Row.faster(
            f"soft-julia/{real}",
            f"soft Julia, {points} points × {steps}, {real}, forward + backward",
            "torch autograd, vectorised",
            times,
            theirs="torch",
            bar=bar,
            note="torch's elementwise ops run in between",
        )
