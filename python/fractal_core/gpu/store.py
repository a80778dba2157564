"""Costs that were measured once, in a file of the user's cache folder, by machine and driver."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from fractal_core._files import written
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
    found: dict[str, dict[str, Cost]] = {}
    for op, costs in _machines().get(machine, {}).items():
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            found[op] = {device: _cost(costs[device]) for device in DEVICES}
    return found


def _cost(kept: Any) -> Cost:  # noqa: ANN401
    rates: Iterable[tuple[str, Any]] = kept["rates"].items()
    return Cost(float(kept["fixed"]), {name: float(rate) for name, rate in rates})


def save(machine: str, op: str, costs: Mapping[str, Cost]) -> None:
    """Adds the costs of an op. A folder that cannot be written is left alone: the costs hold for this process then."""
    machines = _machines()
    machines.setdefault(machine, {})[op] = {
        device: {"fixed": cost.fixed, "rates": dict(cost.rates)} for device, cost in costs.items()
    }
    with contextlib.suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        with written(folder() / _NAME) as file:
            file.write(json.dumps(machines, indent=1).encode())


def _machines() -> dict[str, dict[str, Any]]:
    """What the file holds, by machine and op; what is of another form is left out."""
    try:
        found: Any = json.loads((folder() / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    machines = cast("dict[str, Any]", found)
    return {name: cast("dict[str, Any]", ops) for name, ops in machines.items() if isinstance(ops, dict)}
