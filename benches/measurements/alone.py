"""Measurements in a fresh process: `python -m benches.measurements.alone WHAT ARGUMENTS` prints JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from fractal_core.bench.case import HEADS, WIDTH, Case
from fractal_core.bench.peers import PeerError
from fractal_core.patterns import create

from benches.measurements import model, scaling
from benches.measurements.attention import shares
from benches.peers.analysis import PEER, need_analyzer
from benches.processes import answer, environment
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["all_heads", "avx2", "decode", "import_time", "memory"]

_MODULE = "benches.measurements.alone"
_IMPORT_MS = 150.0


def avx2(settings: Settings, *, n: int = 4096) -> Iterator[Row]:
    """The window at the AVX2 level, of the AVX2 peak."""
    rows = [
        Row(f"level-avx2/{direction}", f"window ±64, n = {n}, {direction}", "FMA peak of avx2", "of peak", bar=0.5)
        for direction in ("forward", "backward")
    ]
    yield from _measured(rows, ["shares", settings.count(25), n], environment(FRACTAL_CORE_SIMD="avx2"))


def decode(settings: Settings, *, cached: int = 65_536, heads: int = 8, width: int = WIDTH) -> Iterator[Row]:
    """One query against a long cache: steps of 0.1 ms are slower in the large heap that other measurements leave."""
    what = f"steps of one query, {cached} cached tokens, {heads} heads"
    rows = [Row("decode/step", what, "SDPA over the cache", "x", bar=100)]
    yield from _measured(rows, ["decode", settings.count(15), cached, heads, width], environment())


def all_heads(
    settings: Settings, *, layers: int = 30, heads: int = 9, n: int = 541, vocabulary: int = 49_152
) -> Iterator[Row]:
    """All heads of a model of SmolLM2's shape, against the original's own call a head."""
    row = Row(model.NAME, model.label(layers, heads, n), PEER, bar=20)
    try:
        need_analyzer()
    except PeerError as error:
        yield replace(row, note=str(error))
        return
    yield from _measured([row], ["model", settings.count(2), layers, heads, n, vocabulary], environment())


def _measured(rows: Sequence[Row], words: Sequence[object], env: Mapping[str, str]) -> Iterator[Row]:
    """What this module prints in a fresh process, or else the rows without a value, with the reason."""
    try:
        found = answer([_MODULE, *map(str, words)], env)
    except PeerError as error:
        yield from (replace(row, note=str(error)) for row in rows)
        return
    yield from map(Row.from_dict, found)


def memory(settings: Settings, *, n: int = 65_536, width: int = WIDTH) -> Iterator[Row]:
    """Growth of the resident memory over a forward and backward pass, against the arrays that must exist."""
    del settings  # once is enough: nothing is timed
    what = f"window 64 ∪ Cantor b = 5, n = {n}, causal, forward + backward: growth of the peak memory"
    peer = "inputs + outputs + gradients + index"
    try:
        grown, needed = answer([_MODULE, "memory", str(n), str(width)], environment())
    except PeerError as error:
        yield Row("memory/growth", what, peer, "x", bar=1.2, at_most=True, note=str(error))
        return
    note = f"grew {grown / 2**20:.0f} MiB; the arrays are {needed / 2**20:.0f} MiB; a fresh process"
    yield Row("memory/growth", what, peer, "x", grown / needed, bar=1.2, at_most=True, limit=1.0, note=note)


def import_time(settings: Settings) -> Iterator[Row]:
    """What `import fractal_core` costs beyond NumPy, in fresh interpreters."""
    import statistics
    import subprocess

    def cost() -> float:
        words = [sys.executable, "-X", "importtime", "-c", "import numpy; import fractal_core, fractal_core._native"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        lines = (line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line)
        total = {name.strip(): int(whole) / 1e3 for _, whole, name in lines if whole.strip().isdigit()}
        return total["fractal_core"] + total["fractal_core._native"]

    costs = [cost() for _ in range(settings.count(9))]
    what = "import fractal_core, beyond NumPy"
    yield Row(
        "import/time",
        what,
        "a fixed limit",
        "ms",
        statistics.median(costs),
        min(costs),
        max(costs),
        bar=_IMPORT_MS,
        at_most=True,
    )


def _resident() -> tuple[int, int]:
    """Bytes that this process holds now, and held at most."""
    status = Path("/proc/self/status")
    if not status.exists():
        raise PeerError("needs /proc/self/status, to see the resident memory")
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024, int(fields["VmHWM"].split()[0]) * 1024


def _growth(n: int, width: int) -> tuple[int, int]:
    """Bytes that the peak grew by, and bytes of the arrays that a training step has."""
    pattern = create("window:radius=64|cantor:base=5")
    small = Case(pattern.index_set(64, causal=True), width=width)
    small.training(small.ours)()
    before, _ = _resident()
    case = Case(pattern.index_set(n, causal=True), width=width)
    out = case.ours(case.q, case.k, case.v)
    gradients = torch.autograd.grad(out, (case.q, case.k, case.v), case.grad)
    _, peak = _resident()
    tensors = (case.q, case.k, case.v, case.grad, out, *gradients)
    held = sum(x.numel() * x.element_size() for x in tensors) + 4 * HEADS * n
    return peak - before, held + case.index_set.report(layers=1).index_bytes


def main() -> None:
    """Prints the result of one measurement as JSON."""
    what, *numbers = sys.argv[1:]
    if what == "shares":
        rounds, n = map(int, numbers)
        print(json.dumps([row.to_dict() for row in shares(Settings(rounds), n=n)]))
    elif what == "decode":
        rounds, cached, heads, width = map(int, numbers)
        rows = scaling.decode(Settings(rounds), cached=cached, heads=heads, width=width)
        print(json.dumps([row.to_dict() for row in rows]))
    elif what == "model":
        rounds, layers, heads, n, vocabulary = map(int, numbers)
        rows = model.all_heads(Settings(rounds), layers=layers, heads=heads, n=n, vocabulary=vocabulary)
        print(json.dumps([row.to_dict() for row in rows]))
    else:
        n, width = map(int, numbers)
        print(json.dumps(_growth(n, width)))


if __name__ == "__main__":
    main()
