"""The soft Julia field with gradients as one side of a pair of processes computes it, ours and torch's.

Reads the name of a dtype a line and prints the seconds that the field and its gradients took. `python -m
benches.workers.soft_julia SIDE POINTS STEPS`: in one process the call that follows torch's would give back to the
system what torch's graph had freed, which takes longer than the field.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benches.workers.julia import awake

C, RADIUS, SMOOTHNESS = -0.7 + 0.27j, 2.0, 2.0
DTYPES = {"float32": np.complex64, "float64": np.complex128}


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


def ours(points: Tensor, steps: int) -> Callable[[], object]:
    """The field by this package, with the gradients of points, c, radius and smoothness."""
    from fractal_core.nn.fields import julia_soft_escape

    numbers = (
        torch.tensor(C, dtype=points.dtype),
        *(torch.tensor(x, dtype=points.real.dtype) for x in (RADIUS, SMOOTHNESS)),
    )
    inputs = tuple(x.requires_grad_() for x in (points, *numbers))
    seed = torch.ones_like(points.real)
    return lambda: torch.autograd.grad(julia_soft_escape(*inputs, steps), inputs, seed)


def theirs(points: Tensor, steps: int) -> Callable[[], object]:
    """The same by torch's autograd."""
    real = points.real.dtype
    numbers = (torch.tensor(x, dtype=real) for x in (C.real, C.imag, RADIUS, SMOOTHNESS))
    leaves = tuple(x.requires_grad_() for x in (points.real.clone(), points.imag.clone(), *numbers))
    seed = torch.ones_like(points.real)
    return lambda: torch.autograd.grad(torch_soft_julia(leaves, steps), leaves, seed)


SIDES = {"ours": ours, "torch": theirs}


def main() -> None:
    """Serves until the input ends."""
    side, points, steps = sys.argv[1:]
    rng = np.random.default_rng(0)
    drawn = rng.uniform(-1.6, 1.6, int(points)) + 1j * rng.uniform(-1.6, 1.6, int(points))
    calls = {name: SIDES[side](torch.from_numpy(drawn.astype(dtype)), int(steps)) for name, dtype in DTYPES.items()}
    for line in sys.stdin:
        print(awake(calls[line.strip()]), flush=True)


if __name__ == "__main__":
    main()
