"""What the process asks of the GPU: from the environment at first, then as set here."""

from __future__ import annotations

import math
from typing import NamedTuple

from fractal_core import _native
from fractal_core._arguments import flag, integer, real
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.gpu.extension import need

__all__ = ["Options", "options", "set_options"]

_MOST_SECONDS, _MOST_BYTES = 1e6, 2**50
_FLAGS = ("allow_software", "allow_noncompliant", "validate", "require")


class Options(NamedTuple):
    """Which adapter is used, and how."""

    adapter: str | None = None
    """Its number in `adapters()`, or a part of its name; None takes the best. `FRACTAL_CORE_ADAPTER`."""
    api: str | None = None
    """"vulkan", "metal" or "dx12"; None tries what the system has. `FRACTAL_CORE_GPU_API`."""
    allow_software: bool = False
    """Whether an adapter that computes on the CPU may be taken. `FRACTAL_CORE_ALLOW_SOFTWARE`."""
    allow_noncompliant: bool = False
    """Whether drivers that pass no conformance tests are listed. `FRACTAL_CORE_ALLOW_NONCOMPLIANT`."""
    validate: bool = False
    """Whether the graphics API's own validation is on, where it is installed. `FRACTAL_CORE_VALIDATE`."""
    timeout: float = 60.0
    """Seconds that a wait may take. `FRACTAL_CORE_GPU_TIMEOUT`."""
    pool_bytes: int | None = None
    """Bytes of unused memory that are kept; None is 512 MiB at most. `FRACTAL_CORE_POOL_MB`, in MiB."""
    mapped_bytes: int = 2**30
    """Bytes of results that stay in the GPU's memory; what is beyond is copied. `FRACTAL_CORE_MAPPED_MB`, in MiB."""
    on_fork: str = "reopen"
    """What a forked child does that asks for the GPU: "reopen" its own device, or "error". `FRACTAL_CORE_FORK`."""
    require: bool = False
    """Whether a missing GPU is an error where the CPU could do the work. `FRACTAL_CORE_REQUIRE_GPU`."""


def options() -> Options:
    """The options of this process.

    Raises:
        InvalidArgumentError: A variable of the environment that says something else than it may.
        GpuUnavailableError: A build without the GPU.
    """
    need()
    return Options(**_native.gpu_options())


def set_options(**changes: object) -> Options:
    """Sets some of the options; another adapter is opened at the next call, and arrays on the old one are lost.

    Args:
        changes: Fields of `Options`.

    Returns:
        The options before, so that `set_options(**before._asdict())` puts them back.

    Raises:
        InvalidArgumentError: An unknown name, or a value out of range.
        DTypeError: A value of another type.
        GpuUnavailableError: A build without the GPU.
    """
    before = options()
    unknown = [name for name in changes if name not in Options._fields]
    if unknown:
        raise InvalidArgumentError(unknown[0], repr(changes[unknown[0]]), f"one of {', '.join(Options._fields)}")
    _native.set_gpu_options({**before._asdict(), **{name: _checked(name, value) for name, value in changes.items()}})
    return before


def _checked(name: str, value: object) -> object:
    if name in _FLAGS:
        return flag(name, value)
    if name == "timeout":
        seconds = real(name, value)
        if not (math.isfinite(seconds) and 0.001 <= seconds <= _MOST_SECONDS):
            raise InvalidArgumentError(name, seconds, f"0.001 to {_MOST_SECONDS:.0f} seconds")
        return seconds
    if name == "mapped_bytes" or (name == "pool_bytes" and value is not None):
        return integer(name, value, 0, _MOST_BYTES)  # pyright: ignore[reportArgumentType]
    if name == "on_fork" or value is not None:
        if name == "adapter" and not isinstance(value, (bool, str)):
            return str(integer(name, value, 0, 2**31))  # pyright: ignore[reportArgumentType]
        if not isinstance(value, str):
            raise DTypeError(name, repr(value), "a str")
    return value
