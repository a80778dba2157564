"""Sparse attention against dense SDPA, in one process, interleaved: medians and ratios.

    python benches/attention.py [--rounds 7]

B1 H4 D64, f32, window of 64 to both sides, n = 4096, torch's default threads and environment. Forward and
forward + backward; the op inside a training step (a matmul before it) with one and two threads; growth of the peak
memory of the op against its inputs, outputs and plan.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import fractal_core as fc
import torch
import torch.nn.functional as F  # noqa: N812
from fractal_core.nn._threads import reason

HEADS, WIDTH = 4, 64


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call, one of each in every round after a round that warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                times[name].append(1e3 * (time.perf_counter() - start))
    return times


def show(title: str, times: dict[str, list[float]], base: str) -> None:
    print(title)
    reference = statistics.median(times[base])
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"[{min(values):.2f} … {max(values):.2f}]"
        print(f"  {name:<28} {median:9.2f} ms  {spread:<20} {reference / median:7.2f} x {base}")


def backward(call: Callable[[], torch.Tensor], inputs: list[torch.Tensor]) -> None:
    for tensor in inputs:
        tensor.grad = None
    call().sum().backward()


def memory(n: int) -> None:
    q, k, v = (torch.randn(1, HEADS, n, WIDTH, requires_grad=True) for _ in range(3))
    index_set = fc.pattern("window", radius=64).index_set(n)
    small = fc.pattern("window", radius=4).index_set(64)
    backward(lambda: fc.nn.sparse_attention(*(x[:, :, :64] for x in (q, k, v)), small), [])
    for tensor in (q, k, v):
        tensor.grad = None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out = fc.nn.sparse_attention(q, k, v, index_set)
    torch.autograd.grad(out, (q, k, v), torch.ones_like(out))
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    plan = index_set.report().index_bytes
    tensors = 8 * q.numel() * 4 + HEADS * n * 4 + plan  # q k v out, and a gradient of each
    print(f"memory, forward + backward, n = {n}: peak grew {growth / 2**20:.1f} MiB; inputs, outputs, gradients and")
    print(f"  plan are {tensors / 2**20:.1f} MiB (inputs were there before): ratio {growth / tensors:.2f}")


def main() -> None:
    """Runs every comparison and prints it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; our calls run on {reason()}")
    memory(65_536)
    n = 4096
    q, k, v = (torch.randn(1, HEADS, n, WIDTH, requires_grad=True) for _ in range(3))
    sets = {
        "window 64": fc.pattern("window", radius=64).index_set(n),
        "random 64": fc.pattern("random", k=64, seed=0).index_set(n),
    }
    calls: dict[str, Callable[[], torch.Tensor]] = {"dense SDPA": lambda: F.scaled_dot_product_attention(q, k, v)}
    for name, index_set in sets.items():
        calls[name] = lambda index_set=index_set: fc.nn.sparse_attention(q, k, v, index_set)
    with torch.no_grad():
        show(f"forward, n = {n}", interleaved(dict(calls), rounds), "dense SDPA")
    both = {name: (lambda call=call: backward(call, [q, k, v])) for name, call in calls.items()}
    show(f"forward + backward, n = {n}", interleaved(both, rounds), "dense SDPA")

    threads = torch.get_num_threads()
    x = torch.randn(n, HEADS * WIDTH)
    weight = torch.randn(HEADS * WIDTH, 3 * HEADS * WIDTH) / 16
    weight.requires_grad_()

    def step(count: int) -> float:
        """Milliseconds of the op alone, forward and backward, within a step whose other ops keep their threads."""
        torch.set_num_threads(threads)
        y = (x @ weight).view(1, n, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
        parts = [y[i].detach().requires_grad_() for i in range(3)]
        torch.set_num_threads(count)
        start = time.perf_counter()
        out = fc.nn.sparse_attention(parts[0], parts[1], parts[2], sets["window 64"])
        forward = time.perf_counter() - start
        torch.set_num_threads(threads)
        grad = out @ torch.ones(WIDTH, WIDTH)
        torch.set_num_threads(count)
        start = time.perf_counter()
        torch.autograd.grad(out, parts, grad)
        return 1e3 * (forward + time.perf_counter() - start)

    times: dict[str, list[float]] = {"1 thread": [], f"{threads} threads": []}
    for number in range(4 * rounds):
        for name, count in (("1 thread", 1), (f"{threads} threads", threads)):
            elapsed = step(count)
            if number >= rounds:
                times[name].append(elapsed)
    torch.set_num_threads(threads)
    show("the op inside a training step, forward + backward", times, "1 thread")


if __name__ == "__main__":
    main()
