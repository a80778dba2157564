"""The one way of printing: Rich for people, JSON for programs."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["ACCENT", "bytes_text", "console", "facts", "print_json"]

ACCENT = "cyan"


def console(*, stderr: bool = False) -> Console:
    """A console on the present stdout or stderr."""
    return Console(stderr=stderr, highlight=False)


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def facts(title: str, rows: dict[str, object]) -> Table:
    """A table of two columns: what, and its value."""
    table = Table(
        title=escape(title), title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2, 0, 0)
    )
    table.add_column(style=ACCENT, no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(escape(name), escape(str(value)))
    return table


def bytes_text(count: float) -> str:
    """A number of bytes in the unit that reads best."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
