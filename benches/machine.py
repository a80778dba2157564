"""The machine, the software and the load that figures belong to."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from fractal_core import _native  # pyright: ignore[reportPrivateUsage]
from fractal_core._torch.threads import executor  # pyright: ignore[reportPrivateUsage]
from fractal_core.bench.compare import running

__all__ = ["cores_obtained", "facts", "fma_chains", "level", "load", "processor"]

_PACKAGES = ("fractal-attn", "torch", "numpy", "numba", "local-attention", "numpy-hilbert-curve")


def facts() -> dict[str, Any]:
    """Plain values: processor, SIMD level, threads, versions, load."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        **running(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "environment": _environment(os.environ),
        "load": load(),
        "cores_obtained": cores_obtained(),
    }


def cores_obtained() -> float:
    """Cores that the threads of the peak loop had, processor time over time: below their number on a busy machine."""
    tasks = 32 * torch.get_num_threads()
    fma_chains(100_000, tasks)
    start, spent = time.perf_counter(), time.process_time()
    fma_chains(400_000, tasks)
    return round((time.process_time() - spent) / (time.perf_counter() - start), 2)


def level() -> str:
    """The SIMD level of this process's kernels."""
    return str(_native.thread_info()["simd"])


def fma_chains(steps: int, tasks: int) -> int:
    """Runs chains of FMAs on the threads and the pool of our calls from torch, and gives their operations."""
    return _native.fma_chains(steps, tasks, executor(), torch.get_num_threads())


def load() -> list[float] | None:
    """Load averages over 1, 5 and 15 minutes, None where the system has none."""
    try:
        return [round(x, 2) for x in os.getloadavg()]
    except (AttributeError, OSError):
        return None


def processor() -> str:
    """The processor's name as the system knows it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        words = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        known = {name.strip(): value.strip() for name, value in words.items()}
        if "model name" in known:
            where = [f"{part} {known[part]}" for part in ("cpu family", "model") if part in known]
            return ", ".join([known["model name"], *where])
    if platform.system() == "Darwin":
        words = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def _environment(names: Iterable[str]) -> dict[str, str]:
    """Variables that change how kernels and their peers run."""
    starts = ("FRACTAL_CORE_", "OMP_", "KMP_", "MKL_", "NUMBA_")
    return {name: os.environ[name] for name in sorted(names) if name.startswith(starts)}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
