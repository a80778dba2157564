"""All errors of the package: one base class, and each also a builtin error, so that either can be caught."""

from __future__ import annotations

__all__ = [
    "DTypeError",
    "FractalError",
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
    """A pattern that is unknown, taken, or did not load; the message names the distribution and the reason."""
