"""An environment of CPython 3.12 for the peers that need one, made once and kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fractal_core.bench.peers import PeerError

__all__ = ["PEERS", "cache", "find_python", "hilbertsfc_python"]

PEERS = ("hilbertsfc==0.5.1", "numba==0.68.1", "numpy==2.5.5")
"""What the environment holds."""

_NEEDED = (3, 12)


def cache() -> Path:
    """Folder for what the bench keeps between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(home) if home else Path.home() / ".cache") / "fractal-core" / "bench"


def find_python() -> Path:
    """An interpreter of CPython 3.12 on this machine: on PATH, or among pyenv's.

    Raises:
        PeerError: There is none.
    """
    if sys.version_info[:2] == _NEEDED:
        return Path(sys.executable)
    name = "python{}.{}".format(*_NEEDED)
    candidates = [Path(found)] if (found := shutil.which(name)) else []
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip()
        candidates += sorted(Path(root).glob("versions/3.12*/bin/python"))
    for candidate in candidates:
        if _runs(candidate):
            return candidate
    raise PeerError("needs CPython 3.12 (python3.12 on PATH, or one of pyenv's)")


def _runs(python: Path) -> bool:
    """Whether it starts, and is 3.12: pyenv's shims exist for versions that are not chosen."""
    code = "import sys; sys.exit(sys.version_info[:2] != (3, 12))"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def hilbertsfc_python() -> Path:
    """The interpreter of the environment that has hilbertsfc and numba; made when it is not there.

    Raises:
        PeerError: No CPython 3.12, no uv, or the installation failed.
    """
    folder = cache() / "-".join(spec.replace("==", "-") for spec in PEERS)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "installed"
    if done.exists():
        return python
    base = find_python()
    uv = shutil.which("uv")
    if uv is None:
        raise PeerError("needs uv on PATH, to make an environment of CPython 3.12")
    env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": str(folder)}
    for words in (["venv", "--clear", "--python", str(base), str(folder)], ["pip", "install", *PEERS]):
        ran = subprocess.run([uv, "--quiet", *words], capture_output=True, text=True, env=env, check=False)
        if ran.returncode:
            raise PeerError(f"uv {words[0]} failed: {(ran.stderr.strip().splitlines() or ['no message'])[-1]}")
    done.touch()
    return python
