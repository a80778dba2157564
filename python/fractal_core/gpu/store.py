"""Costs that were measured once, in a file of the user's cache folder, by machine and driver."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fractal_core.gpu.costs import Cost
from fractal_core.gpu.router import DEVICES

__all__ = ["folder", "load", "save"]

_NAME = "routes.json"


def folder() -> Path:
    """`FRACTAL_CORE_CACHE_DIR`, or the folder for caches that the system names."""
    if given := os.environ.get("FRACTAL_CORE_CACHE_DIR"):
        return Path(given)
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "fractal_core"


def load(machine: str) -> dict[str, dict[str, Cost]]:
    """The costs of a machine by op and device; none where the file is missing or holds something else."""
    ops: Any = _read().get(machine)
    found: dict[str, dict[str, Cost]] = {}
    for op, costs in ops.items() if isinstance(ops, dict) else ():
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            found[op] = {
                device: Cost(float(costs[device]["fixed"]), {k: float(v) for k, v in costs[device]["rates"].items()})
                for device in DEVICES
            }
    return found


def save(machine: str, op: str, costs: Mapping[str, Cost]) -> None:
    """Adds the costs of an op. A folder that cannot be written is left alone: the costs hold for this process then."""
    everything = _read()
    machines = {name: ops for name, ops in everything.items() if isinstance(ops, dict)}
    machines.setdefault(machine, {})[op] = {
        device: {"fixed": cost.fixed, "rates": dict(cost.rates)} for device, cost in costs.items()
    }
    with contextlib.suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder(), prefix=_NAME)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(machines, file, indent=1)
            Path(name).replace(folder() / _NAME)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _read() -> dict[str, Any]:
    try:
        found = json.loads((folder() / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
