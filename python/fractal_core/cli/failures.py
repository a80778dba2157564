"""How a command ends: one line on stderr and an exit code, never a traceback for what the user can fix."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NoReturn, ParamSpec

import typer

from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, PluginError

__all__ = ["FAILURE", "INTERRUPTED", "USAGE", "MissingExtraError", "blamed", "fail", "failure_of", "guarded", "need"]

FAILURE, USAGE, INTERRUPTED = 1, 2, 130

_P = ParamSpec("_P")


class MissingExtraError(FractalError):
    """An optional dependency that a command needs is not installed."""


def need(module: str, extra: str) -> None:
    """Checks, without importing it, that an optional dependency is installed.

    Raises:
        MissingExtraError: It is not; the message names the extra.
    """
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise MissingExtraError(f'this command needs {module}: pip install "fractal-attn[{extra}]"')


def failure_of(name: str, error: Exception) -> str:
    """The message of a pattern's own exception, with the pattern's name, which a typed error has already."""
    if isinstance(error, FractalError):
        return str(error)
    return f"pattern {name!r} failed: {type(error).__name__}: {error}"


@contextmanager
def blamed(name: str) -> Generator[None]:
    """Guards calls into a pattern: whatever it raises becomes a PluginError that names it."""
    try:
        yield
    except (FractalError, MemoryError):
        raise
    except Exception as error:
        raise PluginError(failure_of(name, error)) from error


def fail(message: object, code: int) -> NoReturn:
    """Says what went wrong in one line on stderr and ends the command."""
    text = " ".join(str(message).split())
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\x1b[1;31merror:\x1b[0m {text}" if colour else f"error: {text}", file=sys.stderr)
    raise typer.Exit(code)


def guarded(command: Callable[_P, None]) -> Callable[_P, None]:
    """A command whose expected failures end in one line and their exit code."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (InvalidArgumentError, DTypeError, PluginError) as error:
            fail(error, USAGE)
        except (FractalError, OSError) as error:
            fail(error, FAILURE)
        except KeyboardInterrupt:
            fail("interrupted", INTERRUPTED)

    return run
