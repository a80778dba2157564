"""Prints how much faster the soft Julia field trains than its vectorised torch version, interleaved in one run.

Forward and backward of 65 536 points and 64 iterations, gradients by points, c, radius and smoothness: torch's own ops,
our torch op, and the NumPy functions, whose threads share the cores with torch's own that spin between the calls.

usage: python benches/soft_julia.py [runs]
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import torch
from fractal_core import fields
from fractal_core.nn.fields import julia_soft_escape

LIMIT = 15
POINTS, STEPS = 65_536, 64
C, RADIUS, SMOOTHNESS = -0.7 + 0.27j, 2.0, 2.0


def by_torch(re, im, c_re, c_im, radius, smoothness):
    """The same field out of torch's elementwise ops; the orbit stops where the next squares could overflow."""
    survival, total = torch.ones_like(re), torch.zeros_like(re)
    for _ in range(STEPS):
        modulus = torch.sqrt(re * re + im * im)
        survival = survival * torch.sigmoid((radius - modulus) * smoothness)
        total = total + survival
        inside = modulus.detach() < RADIUS + 24 / SMOOTHNESS
        re, im = torch.where(inside, re * re - im * im + c_re, re), torch.where(inside, 2 * re * im + c_im, im)
    return total


def measure(dtype, runs):
    """Medians in milliseconds: torch's, our op's, the NumPy functions'; and the median difference of the values."""
    rng = np.random.default_rng(0)
    points = (rng.uniform(-1.6, 1.6, POINTS) + 1j * rng.uniform(-1.6, 1.6, POINTS)).astype(dtype)
    grad = np.ones(POINTS, dtype=points.real.dtype)
    real, complex_ = torch.from_numpy(grad).dtype, torch.from_numpy(points).dtype
    start = [points.real.copy(), points.imag.copy(), C.real, C.imag, RADIUS, SMOOTHNESS]
    leaves = [torch.as_tensor(x, dtype=real).requires_grad_() for x in start]
    z, c = (torch.as_tensor(x, dtype=complex_).requires_grad_() for x in (points, C))

    def in_torch():
        value = by_torch(*leaves)
        torch.autograd.grad(value, leaves, torch.from_numpy(grad))
        return value.detach().numpy()

    def op():
        value = julia_soft_escape(z, c, *leaves[4:], STEPS)
        torch.autograd.grad(value, [z, c, *leaves[4:]], torch.from_numpy(grad))
        return value.detach().numpy()

    def functions():
        value = fields.julia_soft_escape(points, C, STEPS, radius=RADIUS, smoothness=SMOOTHNESS)
        fields.julia_soft_escape_vjp(grad, points, C, STEPS, radius=RADIUS, smoothness=SMOOTHNESS)
        return value

    calls = (in_torch, op, functions)
    times = {call: [] for call in calls}
    values = {}
    for _ in range(runs + 1):
        for call in calls:
            begin = time.perf_counter()
            values[call] = call()
            times[call].append(time.perf_counter() - begin)
    # The first round warms up.
    ms = [1e3 * statistics.median(times[call][1:]) for call in calls]
    return *ms, np.median(np.abs(values[op] - values[in_torch]))


def main() -> int:
    """Print a line a dtype; 1 when a ratio is under its limit."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    worst = float("inf")
    for dtype in (np.complex64, np.complex128):
        theirs, op, functions, difference = measure(dtype, runs)
        worst = min(worst, theirs / op)
        print(
            f"soft Julia {np.dtype(dtype).name}, {POINTS} points x {STEPS} iterations, forward+backward: "
            f"torch autograd {theirs:.0f} ms, our op {op:.1f} ms, ratio {theirs / op:.1f} (limit {LIMIT}); the "
            f"NumPy functions {functions:.1f} ms, ratio {theirs / functions:.1f}; median difference {difference:.1e}"
        )
    return int(worst < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
