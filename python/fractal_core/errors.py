"""All errors of the package: one base class, and each also a builtin error, so that either can be caught."""

from __future__ import annotations

__all__ = [
    "DTypeError",
    "FractalError",
    "GpuDeviceLostError",
    "GpuError",
    "GpuForkError",
    "GpuOutOfMemoryError",
    "GpuShaderError",
    "GpuTimeoutError",
    "GpuUnavailableError",
    "GpuValidationError",
    "InvalidArgumentError",
    "KeyIndexError",
    "OutOfMemoryError",
    "PluginError",
    "ShapeError",
]


class FractalError(Exception):
    """Base class of all errors of this package."""


class _ArgumentError(FractalError):
    """A refused argument: which one, what was given, and what is allowed."""

    def __init__(self, argument: str, given: object, allowed: object) -> None:
        super().__init__(argument, given, allowed)
        self.argument = argument
        self.given = given
        self.allowed = allowed

    def __str__(self) -> str:
        try:
            given = str(self.given)
        except ValueError:  # an integer with more digits than Python converts to text
            given = "an integer of thousands of digits"
        return f"{self.argument}: got {given}; allowed: {self.allowed}"


class InvalidArgumentError(_ArgumentError, ValueError):
    """A value outside its range, or not finite."""


class ShapeError(InvalidArgumentError):
    """Array shapes that do not fit together."""


class DTypeError(_ArgumentError, TypeError):
    """An element type that is not taken."""


class KeyIndexError(InvalidArgumentError, IndexError):
    """An index that points outside of its array."""


class OutOfMemoryError(_ArgumentError, MemoryError):
    """A size that takes more memory than the system has; nothing was changed, and the process goes on."""


class PluginError(FractalError, LookupError):
    """A pattern or part that is unknown, taken, or did not load; the message names the distribution and the reason."""


class GpuError(FractalError, RuntimeError):
    """Base class of what goes wrong with a GPU; the CPU and the process go on."""


class GpuUnavailableError(GpuError):
    """No adapter that may be used, or one that computes wrong; the message says what was found, and why not."""


class GpuShaderError(GpuError):
    """A shader that the driver refuses."""


class GpuValidationError(GpuError):
    """A call that the graphics API refuses: a mistake of this package."""


class GpuOutOfMemoryError(GpuError, OutOfMemoryError):
    """The GPU has no memory left, even without what was kept for later."""


class GpuDeviceLostError(GpuError):
    """The device is gone, with what lay in its memory; the next call opens it anew."""


class GpuTimeoutError(GpuError, TimeoutError):
    """The GPU did not finish in time; what it does goes on."""


class GpuForkError(GpuError):
    """Something of the GPU that a forked child inherited and cannot use."""
