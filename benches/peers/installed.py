"""Whether a peer's package is there."""

from __future__ import annotations

from importlib.util import find_spec

from fractal_core.bench.peers import PeerError

__all__ = ["need"]


def need(module: str, distribution: str) -> None:
    """Checks that a peer's package is installed.

    Raises:
        PeerError: It is not.
    """
    if find_spec(module) is None:
        raise PeerError(f"needs {distribution}: `make bench` installs it")
