"""The one way of printing: Rich for people, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Generator
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["ACCENT", "bytes_text", "console", "digits", "facts", "json_alone", "print_json"]

ACCENT = "cyan"


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console on the current stdout or stderr; a quiet one prints nothing."""
    return Console(stderr=stderr, quiet=quiet, highlight=False)


_kept: list[TextIO] = []
"""The real stdout, while `json_alone` has it."""


@contextlib.contextmanager
def json_alone(wanted: bool) -> Generator[None]:
    """Inside it stdout carries only what `print_json` writes: what a plug-in prints goes to stderr.

    That holds for the file descriptor too, so for native code and for child processes.
    """
    if not wanted:
        yield
        return
    with contextlib.ExitStack() as undo:
        sys.stdout.flush()
        real = sys.stdout
        try:
            out, err = sys.stdout.fileno(), sys.stderr.fileno()
        except (AttributeError, OSError, ValueError):
            pass  # a stream of Python's own, which has no descriptor
        else:
            copy = os.dup(out)
            real = undo.enter_context(open(copy, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors))
            os.dup2(err, out)
            undo.callback(os.dup2, copy, out)
        _kept.append(real)
        undo.callback(_kept.pop)
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    out = _kept[-1] if _kept else sys.stdout
    json.dump(value, out, indent=2, ensure_ascii=False)
    out.write("\n")
    out.flush()


def facts(title: str, rows: dict[str, object]) -> Table:
    """A table of two columns: names and values."""
    table = Table(
        title=escape(title), title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2, 0, 0)
    )
    table.add_column(style=ACCENT, no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(escape(name), escape(str(value)))
    return table


def bytes_text(count: float) -> str:
    """A number of bytes in a readable unit."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def digits(x: float) -> str:
    """Three digits, and no more precision than that; `none` for infinity."""
    if math.isinf(x):
        return "none"
    if abs(x) >= 99.5:
        return f"{x:.0f}"
    return f"{x:.1f}" if abs(x) >= 9.95 else f"{x:.2f}"
