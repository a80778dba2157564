"""`fractal-core info`: this installation, and what it finds on this machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from fractal_core import _native, patterns
from fractal_core.cli.console import console, facts, print_json
from fractal_core.errors import GpuError

__all__ = ["collect", "run"]


def _version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _torch() -> dict[str, object]:
    if find_spec("torch") is None:
        return {"version": None}
    import torch

    from fractal_core._torch.threads import reason

    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "executor": reason(),
    }


def _native_facts() -> dict[str, object]:
    """Facts about the extension."""
    return dict(_native.thread_info())


def _gpu() -> dict[str, object]:
    """What adapters there are; opens none."""
    from fractal_core import gpu

    if not gpu.built():
        return {"built": False, "adapters": []}
    try:
        return {"built": True, "adapters": [adapter._asdict() for adapter in gpu.adapters()]}
    except GpuError as error:
        return {"built": True, "adapters": [], "error": str(error)}


def _adapters(found: Any) -> str:  # noqa: ANN401
    """The adapters, as `_gpu` found them, in a line each."""
    if not found["built"]:
        return "not in this build (cargo feature `gpu`)"
    if not found["adapters"]:
        return found.get("error") or "no adapter found; `fractal-core doctor` says what to install"
    return "\n".join(
        f"{a['name']} ({a['kind']}, {a['api']})" + (f": not used: {a['rejected']}" if a["rejected"] else "")
        for a in found["adapters"]
    )


def collect() -> dict[str, object]:
    """All facts as plain values: the form of `--json`. Imports torch and every plug-in."""
    known = [patterns.info(name) for name in patterns.names()]
    return {
        "version": version("fractal-attn"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "native": _native_facts(),
        "torch": _torch(),
        "gpu": _gpu(),
        "packages": {name: _version_of(name) for name in ("numpy", "matplotlib", "typer", "rich")},
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith("FRACTAL_CORE_")},
        "patterns": {p.name: {"origin": p.origin, "target": p.target, "error": p.error} for p in known},
        "unreadable": list(patterns.unreadable()),
    }


def run(*, as_json: bool) -> None:
    """Prints the facts."""
    found = collect()
    if as_json:
        print_json(found)
        return
    known = [patterns.info(name) for name in patterns.names()]
    torch, native = _torch(), _native_facts()
    pool = "alone in a forked child" if native["forked"] else f"our own pool of {native['threads']}"
    rows: dict[str, object] = {
        "version": found["version"],
        "python": f"{found['python']} on {found['platform']}",
        "processor": f"{found['machine']}, {found['cpu_count']} logical cores",
    }
    rows["SIMD level"] = native["simd"]
    rows["calls from NumPy"] = pool
    if torch["version"] is None:
        rows["torch"] = 'not installed (pip install "fractal-attn[torch]")'
    else:
        rows["torch"] = f"{torch['version']}, {torch['threads']} threads"
        rows["calls from torch"] = torch["executor"]
    rows["GPU"] = _adapters(found["gpu"])
    rows["patterns"] = ", ".join(p.name for p in known if p.origin == "built-in")
    out = console()
    out.print(facts("fractal_core", rows))
    plugins = {p.name: f"{p.origin}: " + (p.error or "loaded") for p in known if p.origin != "built-in"}
    out.print()
    out.print(facts("plug-ins", dict(plugins)) if plugins else "plug-ins: none installed")
    for what in patterns.unreadable():
        out.print(f"not read: {what}", markup=False, soft_wrap=True)
