"""Resident memory of this process, now and at its highest."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["peak_bytes", "resident_bytes"]

_STATUS = Path("/proc/self/status")


def _status(field: str) -> int | None:
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def _peak_of_rusage() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_bytes() -> int | None:
    """Highest resident size so far, bytes; None where the system does not say.

    On Linux the figure is this program's own: `getrusage` would also count what the parent held when it started us.
    """
    return _status("VmHWM") or _peak_of_rusage()


def resident_bytes() -> int | None:
    """Resident size now, bytes; the highest so far where only that is known."""
    return _status("VmRSS") or _peak_of_rusage()
