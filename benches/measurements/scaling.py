"""How attention behaves with length, threads and memory: slopes, crossovers, decoding, planning."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from fractal_core.bench.case import HEADS, WIDTH, Case
from fractal_core.bench.clock import SHORT, Call, Times, interleaved
from fractal_core.bench.peers import causal, dense
from fractal_core.index_sets import IndexSet
from fractal_core.nn import sparse_attention
from fractal_core.patterns import create

from benches.measurements.attention import random_keys
from benches.report.results import Crossover, Row
from benches.settings import Settings

__all__ = ["crossover", "decode", "lengths", "planning", "slope", "threads"]

LENGTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)


def threads(
    settings: Settings, *, n: int = 4096, radius: int = 64, heads: int = HEADS, width: int = WIDTH
) -> Iterator[Row]:
    """The op alone within a training step whose other ops keep their threads: all threads against one."""
    many = torch.get_num_threads()
    index_set = create("window", radius=radius).index_set(n)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, heads * width, generator=generator)
    weight = (torch.randn(heads * width, 3 * heads * width, generator=generator) / 16).requires_grad_()
    square = torch.randn(width, width, generator=generator)

    def step(count: int) -> float:
        y = (x @ weight).view(1, n, 3, heads, width).permute(2, 0, 3, 1, 4)
        q, k, v = (y[i].detach().requires_grad_() for i in range(3))
        torch.set_num_threads(count)
        start = time.perf_counter()
        out = sparse_attention(q, k, v, index_set)
        took = time.perf_counter() - start
        torch.set_num_threads(many)
        grad = out.detach() @ square
        torch.set_num_threads(count)
        start = time.perf_counter()
        torch.autograd.grad(out, (q, k, v), grad)
        took += time.perf_counter() - start
        torch.set_num_threads(many)
        return took

    seconds: dict[str, list[float]] = {"one": [], "many": []}
    step(many)
    for _ in range(settings.count(25)):
        for name, count in (("one", 1), ("many", many)):
            seconds[name].append(step(count))
    yield Row.faster(
        "threads/step",
        f"the op inside a training step, window ±{radius}, n = {n}, forward + backward, {many} threads",
        "itself on one thread",
        Times(seconds),
        ours="many",
        theirs="one",
        bar=1.7,
        limit=float(many),
        note="a torch matmul runs before each direction, on all threads",
    )


def crossover(settings: Settings, *, lengths: Sequence[int] = LENGTHS, width: int = WIDTH) -> Iterator[Row]:
    """The first length at which 64 keys a query beat dense SDPA, forward, through the public call."""
    ratios: list[float] = []
    for n in lengths:
        case = Case(create("window", radius=32).index_set(n), width=width)
        times = interleaved(
            {"ours": case.forward(case.ours), "dense": case.forward(dense)}, settings.count(15), least=SHORT
        )
        ratios.append(times.ratio("ours", "dense").value)
    found = Crossover.of(
        "window:radius=32", peer="SDPA dense", dtype="float32", direction="forward", scanned=lengths, ratios=ratios
    )
    scan = ", ".join(f"{n}: {ratio:.2f}" for n, ratio in zip(lengths, ratios, strict=True))
    yield Row(
        "crossover/window",
        "n from which a window of 65 keys beats dense SDPA, forward",
        "SDPA dense",
        "tokens",
        float(found.tokens) if found.tokens is not None else math.inf,
        bar=256,
        at_most=True,
        note=f"times as fast at n: {scan}",
    )


def decode(
    settings: Settings, *, cached: int = 65_536, heads: int = 8, width: int = WIDTH, steps: int = 16
) -> Iterator[Row]:
    """Queries one after the other, each over the cache up to it, with its row of the pattern made on the way."""
    pattern = create("window:radius=64|cantor:base=5")
    generator = torch.Generator().manual_seed(0)
    k, v = torch.randn(2, 1, heads, cached, width, generator=generator)
    q = torch.randn(steps, 1, heads, 1, width, generator=generator)
    lengths = range(cached - steps + 1, cached + 1)
    keys = pattern.index_set(1, cached, causal=True).nnz

    @torch.no_grad()
    def ours() -> None:
        for one, n in zip(q, lengths, strict=True):
            sparse_attention(one, k[:, :, :n], v[:, :, :n], pattern.index_set(1, n, causal=True))

    @torch.no_grad()
    def theirs() -> None:
        for one, n in zip(q, lengths, strict=True):
            dense(one, k[:, :, :n], v[:, :, :n])

    yield Row.faster(
        "decode/step",
        f"{steps} steps of one query, {cached} cached tokens, {heads} heads, window 64 ∪ Cantor b = 5 ({keys} keys)",
        "SDPA over the cache",
        interleaved({"ours": ours, "dense": theirs}, settings.count(15)),
        theirs="dense",
        bar=100,
        limit=cached / keys,
        note="SDPA reads the whole cache before ours begins; the limit is keys read; a process of its own",
    )


def slope(
    settings: Settings, *, lengths: Sequence[int] = (4096, 8192, 16_384, 32_768, 65_536), width: int = WIDTH
) -> Iterator[Row]:
    """The log-log slope of time by length at a fixed number of keys."""
    window = {n: create("window", radius=64).index_set(n) for n in lengths}
    yield _slope(settings, "window", "window ±64, forward + backward", window, width=width, bar=1.1)
    lists = {n: random_keys(n, 64) for n in lengths}
    yield _slope(settings, "random", "random lists K = 64, forward + backward", lists, width=width)


def _slope(
    settings: Settings, name: str, what: str, sets: Mapping[int, IndexSet], *, width: int, bar: float | None = None
) -> Row:
    cases = {str(n): Case(index_set, width=width) for n, index_set in sets.items()}
    times = interleaved({key: case.training(case.ours) for key, case in cases.items()}, settings.count(5))
    medians = [times.ms(key) for key in cases]
    value = float(np.polyfit(np.log(list(sets)), np.log(medians), 1)[0])
    shown = ", ".join(f"{n}: {ms:.1f} ms" for n, ms in zip(sets, medians, strict=True))
    lengths = f"n = {min(sets)} to {max(sets)}"
    return Row(
        f"slope/{name}", f"{what}, {lengths}", "time ∝ n", "slope", value, bar=bar, at_most=True, limit=1.0, note=shown
    )


def planning(settings: Settings, *, n: int = 4096, width: int = WIDTH) -> Iterator[Row]:
    """What the first call on an index set costs beyond the second, as a share of the second."""
    offsets = create("window", radius=64).index_set(n).offsets
    lists = random_keys(n, 64)
    window = create("window", radius=64).index_set(n)
    makers = {
        "offsets": (f"window ±64 from offsets, n = {n}", lambda: IndexSet.from_offsets(offsets, n), 0.1),  # pyright: ignore[reportArgumentType]
        "csr": (f"random lists K = 64 from CSR, n = {n}", lambda: _again(lists), 1.5),
        "listed": (f"window ±64 from CSR, n = {n}", lambda: _again(window), None),
    }
    for name, (what, make, bar) in makers.items():
        case = Case(make(), width=width)
        case.forward(case.ours)()
        cold: list[float] = []
        warm: list[float] = []
        for _ in range(settings.count(15) + 1):
            case.index_set = make()
            for into in (cold, warm):
                start = time.perf_counter()
                case.forward(case.ours)()
                into.append(time.perf_counter() - start)
        pairs = [(a - b) / b for a, b in zip(cold[1:], warm[1:], strict=True)]
        first, second = statistics.median(cold[1:]), statistics.median(warm[1:])
        yield Row(
            f"planning/{name}",
            f"planning, {what}",
            "its own forward pass",
            "x",
            (first - second) / second,
            min(pairs),
            max(pairs),
            1e3 * (first - second),
            1e3 * second,
            bar,
            at_most=True,
            note="first call less the second, on a fresh set each time",
        )


def _again(index_set: IndexSet) -> IndexSet:
    """The same rows as a set that has no plan yet."""
    return IndexSet.from_csr(index_set.indptr, index_set.indices, index_set.n_keys)


def lengths(
    settings: Settings,
    *,
    scanned: Sequence[int] = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192),
    width: int = WIDTH,
) -> Iterator[Crossover]:
    """Where dense attention stops being faster, over patterns, dtypes and directions."""
    patterns = {"window:radius=64": False, "window:radius=32|cantor:base=4": True, "random:k=64": True}
    for dtype in (torch.float32, torch.bfloat16):
        for training in (False, True):
            ratios: dict[str, list[float]] = {pattern: [] for pattern in patterns}
            for n in scanned:
                cases = {
                    p: Case(create(p).index_set(n, causal=c), width=width, dtype=dtype) for p, c in patterns.items()
                }
                calls: dict[str, Call] = {}
                for pattern, case in cases.items():
                    make = case.training if training else case.forward
                    calls[pattern] = make(case.ours)
                    calls.setdefault(
                        "causal" if patterns[pattern] else "dense", make(causal if patterns[pattern] else dense)
                    )
                times = interleaved(calls, settings.count(5), least=SHORT)
                for pattern, is_causal in patterns.items():
                    ratios[pattern].append(times.ratio(pattern, "causal" if is_causal else "dense").value)
            for pattern, is_causal in patterns.items():
                peer = "SDPA, is_causal=True" if is_causal else "SDPA dense"
                direction = "forward + backward" if training else "forward"
                kind = str(dtype).removeprefix("torch.")
                yield Crossover.of(
                    pattern, peer=peer, dtype=kind, direction=direction, scanned=scanned, ratios=ratios[pattern]
                )
